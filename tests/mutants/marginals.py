"""A synthetic table: what one record adds, where a state may put it, and what is drawn."""

from tests.mutants.mutation import Mutation

_WORKLOAD = "workloads/marginals/marginals.py"
_TESTS = "tests/workloads/marginals"
_BOUND = f"{_TESTS}/test_bound.py"

MUTATIONS = (
    Mutation(
        "pairs-are-weighed-like-single-columns",
        _WORKLOAD,
        "return 1 / sqrt(len(layout.columns) if singles else len(layout.pairs))",
        "return 1 / sqrt(len(layout.columns))",
        (f"{_BOUND}::test_every_record_is_of_length_1_under_every_state",),
    ),
    Mutation(
        "a-state-may-name-a-group-of-the-next-table",
        _WORKLOAD,
        "if found.min() < 0 or found.max() >= most:",
        "if found.min() < 0:",
        (f"{_BOUND}::test_a_state_that_would_put_records_elsewhere_is_refused",),
    ),
    Mutation(
        "groups-of-pairs-are-not-held-against-the-owners-bins",
        "app/node/admission.py",
        'for name in ("interaction_bins", "max_groups"))',
        'for name in ("interaction_bins",))',
        (f"{_TESTS}/test_rules.py",),
    ),
    Mutation(
        "the-noise-of-pairs-is-told-as-if-it-were-that-of-single-columns",
        _WORKLOAD,
        'hypot(before * header["table_noise"], noise) / (before + 1)',
        'hypot(before * header["table_noise"], noise) / (before + 2)',
        (f"{_TESTS}/test_runs.py::test_the_server_knows_the_noise_that_is_in_its_sums",),
    ),
    Mutation(
        "a-missing-value-is-drawn-where-the-schema-knows-none",
        "workloads/marginals/synthesis.py",
        "allowed[-1] = False",
        "allowed[-1] = True",
        (
            f"{_TESTS}/test_synthesis.py::test_what_is_never_missing_in_a_file_is_never_drawn_so",
        ),
    ),
)
