"""Scores of held-out records: how far one record moves them, and what is said of them."""

from tests.mutants.mutation import Mutation

_SCORING = "tests/workloads/test_scoring.py"
_EVALUATION = "tests/workloads/test_evaluation.py"
_SPREAD = "tests/workloads/test_spread.py"
_SCORES = "workloads/scoring"

MUTATIONS = (
    Mutation(
        "the-own-bin-is-not-in-the-bound-of-a-clients-scores",
        "workloads/base.py",
        "return sqrt(counts + self.setup.counts_participants)",
        "return sqrt(counts)",
        (_SPREAD,),
    ),
    Mutation(
        "participants-are-counted-without-their-owners-consent",
        "app/node/admission.py",
        "if proposed.shows_spread and SPREAD not in policy.exact:",
        "if False:",
        (_SPREAD,),
    ),
    Mutation(
        "participants-are-counted-where-records-are-hidden",
        "app/config/rules.py",
        'not private.mode.hides_records,\n        f"{name}: it is no sum',
        'True,\n        f"{name}: it is no sum',
        (_SPREAD,),
    ),
    Mutation(
        "the-bin-is-not-in-the-bound-of-the-scores",
        "workloads/base.py",
        "(bins.per_record if bins else 0)",
        "0",
        (f"{_SCORING}::test_one_record_moves_the_scores_by_no_more_than_is_accounted",),
    ),
    Mutation(
        "another-clients-scores-count-as-none",
        "privacy/plan/plan.py",
        "bound = min(sqrt(2) * bound, sqrt(k))",
        "bound = min(bound, sqrt(k))",
        (f"{_SCORING}::test_the_plan_knows_how_far_a_client_moves_the_scores",),
    ),
    Mutation(
        "a-record-is-in-many-bins-under-privacy",
        "workloads/scoring/bins.py",
        "return ConfusionBins(num_classes) if is_private else OneVsRestBins(num_classes, num)",
        "return OneVsRestBins(num_classes, num)",
        (f"{_EVALUATION}::test_under_privacy_a_record_is_in_one_bin",),
    ),
    Mutation(
        "the-area-does-not-know-of-the-noise",
        f"{_SCORES}/area.py",
        "by_noise = noise * sqrt(",
        "by_noise = 0.7 * noise * sqrt(",
        (f"{_EVALUATION}::test_the_error_by_noise_is_that_of_noised_counts",),
    ),
    Mutation(
        "rows-of-one-record-are-shown",
        f"{_SCORES}/rows.py",
        "return own.sum() >= least and not (is_small.any() and not noise)",
        "return own.sum() >= 1",
        (f"{_EVALUATION}::test_no_row_shows_one_or_two_records_of_a_class",),
    ),
)
