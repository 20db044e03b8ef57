"""What boosting remembers of its best model, and weights."""

from tests.mutants.mutation import Mutation

_STOPPING = "workloads/early_stopping.py"
_WEIGHTS = "workloads/record_weights.py"
_TESTS = "tests/workloads/test_early_stopping.py"
_OF_WEIGHTS = "tests/workloads/test_weights.py"
_BOUND = f"{_OF_WEIGHTS}::test_no_record_is_longer_than_the_bound_and_some_come_near"

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
    Mutation(
        "the-bound-does-not-know-the-weights-of-classes",
        _WEIGHTS,
        "return of_class * (1.0 if self.largest_own is None else self.largest_own)",
        "return 1.0 if self.largest_own is None else self.largest_own",
        (_BOUND,),
    ),
    Mutation(
        "the-bound-does-not-know-the-weights-of-records",
        _WEIGHTS,
        "return of_class * (1.0 if self.largest_own is None else self.largest_own)",
        "return of_class",
        (_BOUND,),
    ),
    Mutation(
        "a-weight-beyond-the-largest-counts",
        _WEIGHTS,
        "found *= np.clip(np.nan_to_num(records.weights), 0.0, self.largest_own)",
        "found *= np.maximum(np.nan_to_num(records.weights), 0.0)",
        (_BOUND,),
    ),
    Mutation(
        "weights-do-not-count-where-a-few-carry-a-sum",
        "workloads/trees/growth.py",
        "return (squares > 0) & (total**2 < least * squares)",
        "return (squares > 0) & (np.bincount(nodes, minlength=num_nodes) < least)",
        (f"{_OF_WEIGHTS}::test_a_node_is_silent_where_the_weight_of_a_few_is_nearly_all",),
    ),
)
