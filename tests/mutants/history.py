"""What a run's history does to what it spent and to what it goes on with."""

from tests.mutants.mutation import Mutation

_COHORTS = "tests/runs/private/test_cohorts.py"
_RESUME = "tests/runs/private/test_resume.py"
_KILLED = "tests/app/results/test_killed_anywhere.py"
_VERIFY = "tests/app/results/test_verify.py"
_REHEARSAL = "tests/tasks/training/test_rehearsal.py"

MUTATIONS = (
    Mutation(
        "a-cohort-in-place-of-another-is-drawn-by-coins",
        "strategies/rounds/closing.py",
        "self._cohorts.note_redrawn()",
        "pass",
        (f"{_COHORTS}::test_nothing_is_amplified_once_a_cohort_is_drawn_in_place_of_another",),
    ),
    Mutation(
        "cohorts-that-cannot-close-count-as-drawn",
        "privacy/plan/plan.py",
        "least, q = max(terms.min_survivors, terms.min_cohort), terms.cohort_fraction",
        "least, q = terms.min_survivors, terms.cohort_fraction",
        (f"{_COHORTS}::test_a_cohort_with_which_no_round_could_close_is_drawn_again",),
    ),
    Mutation(
        "a-resumed-run-draws-otherwise",
        "app/results/run_folder.py",
        '_DRAWS = ("cohort_fraction", "min_replies")',
        '_DRAWS = ("min_replies",)',
        (
            f"{_RESUME}::test_past_rounds_are_not_accounted_for_as_if_other_cohorts_had_been_drawn",
        ),
    ),
    Mutation(
        "a-resumed-run-steps-otherwise",
        "app/builders/run.py",
        "rate = facts.learning_rate or learning_rate(config, plan)",
        "rate = learning_rate(config, plan)",
        (f"{_RESUME}::test_a_resumed_run_goes_on_with_the_steps_of_its_first_part",),
    ),
    Mutation(
        "a-model-keeps-what-it-saw",
        "tasks/training/record_gradients.py",
        "        self.kept.restore()\n        loss",
        "        loss",
        (f"{_REHEARSAL}::test_what_a_model_remembers_moves_no_other_records_term",),
    ),
    Mutation(
        "scores-keep-what-a-model-saw",
        "tasks/training/dp_sgd.py",
        "            kept.restore()\n",
        "",
        (f"{_REHEARSAL}::test_scores_are_not_moved_by_what_a_model_remembers",),
    ),
    Mutation(
        "a-round-that-a-kill-kept-from-the-log-stays-out",
        "app/results/log_observer.py",
        "for report in done[num_logged:]:",
        "for report in done[len(done) :]:",
        (f"{_KILLED}::test_a_run_that_was_killed_before_its_last_model_gets_it",),
    ),
    Mutation(
        "the-log-forgets-what-a-failed-round-released",
        "app/results/log_observer.py",
        "self._spent = privacy",
        "self._spent = {}",
        (f"{_VERIFY}::test_what_a_round_that_failed_has_released_counts",),
    ),
)
