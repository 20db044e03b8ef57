"""What boosting remembers of its best model, and weights."""

from tests.mutants.mutation import Mutation

_STOPPING = "workloads/early_stopping.py"
_TESTS = "tests/workloads/test_early_stopping.py"

MUTATIONS = (
    Mutation(
        "noise-ends-a-run",
        _STOPPING,
        "_DEVIATIONS = 2.0",
        "_DEVIATIONS = 0.0",
        (f"{_TESTS}::test_under_privacy_only_what_is_beyond_the_noise_ends_a_run",),
    ),
    Mutation(
        "what-is-remembered-may-be-anything",
        _STOPPING,
        "if type(value) is not int or not least <= value < 2**31:",
        "if type(value) is str:",
        (f"{_TESTS}::test_what_no_run_remembers_is_refused",),
    ),
    Mutation(
        "the-last-model-is-left",
        "workloads/trees/greedy.py",
        "trees = Trees.of(state.arrays).first(iteration * self._goal.num_at_once)",
        "trees = Trees.of(state.arrays)",
        (f"{_TESTS}::test_grown_trees_are_cut_back_to_the_best",),
    ),
)
