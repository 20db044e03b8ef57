"""Workloads of trees: what one record adds, what a server may send, what a node keeps back."""

from tests.mutants.mutation import Mutation

_RANDOM = "workloads/trees/random_trees.py"
_LOSSES = "workloads/histograms/losses.py"
_TESTS = "tests/workloads/trees"
_SEARCH = f"{_TESTS}/test_bound.py::test_a_search_finds_none_that_is_longer_and_comes_near"
_STATES = f"{_TESTS}/test_states.py::test_what_is_no_tree_is_refused"
_BITS = f"{_TESTS}/test_growth.py::test_the_sum_does_not_depend_on_who_has_which_records"

MUTATIONS = (
    Mutation(
        "leaves-of-many-trees-count-as-one",
        _RANDOM,
        "leaves = sqrt((rest - scalars) / self._num) / self.loss.pair_bound",
        "leaves = sqrt(rest - scalars) / self.loss.pair_bound",
        (_SEARCH,),
    ),
    Mutation(
        "second-derivatives-count-for-more",
        _LOSSES,
        "    hessian_weight = 3.3\n",
        "    hessian_weight = 4.0\n",
        (
            f"{_TESTS}/test_bound.py::test_residual_and_second_derivative_together_are_within"
            "_their_bound",
        ),
    ),
    Mutation(
        "nodes-may-have-two-parents",
        "workloads/trees/ensemble.py",
        "if not np.array_equal(np.sort(reached), np.arange(num)):",
        "if len(reached) > num:",
        (_STATES,),
    ),
    Mutation(
        "trees-of-any-depth",
        "workloads/trees/ensemble.py",
        "        if len(level):\n",
        "        if len(level) > 2**40:\n",
        (f"{_TESTS}/test_states.py::test_a_tree_that_is_too_deep_is_refused",),
    ),
    Mutation(
        "bags-by-row",
        "workloads/trees/bags.py",
        "    found = np.zeros(len(columns), np.uint64)\n",
        "    found = np.arange(len(columns), dtype=np.uint64)\n",
        (_BITS,),
    ),
    Mutation(
        "the-sibling-of-a-small-leaf-is-told",
        "workloads/trees/greedy.py",
        "small[left[either]] = small[left[either] + 1] = True",
        "small[left[either]] |= False",
        (f"{_TESTS}/test_exact_rules.py::test_small_nodes_and_their_siblings_get_zeros",),
    ),
    Mutation(
        "missing-values-always-go-right",
        "workloads/trees/splits.py",
        "left = np.stack([left, left + missing[:, np.newaxis]])",
        "left = np.stack([left, left + 0 * missing[:, np.newaxis]])",
        (f"{_TESTS}/test_growth.py::test_missing_values_go_to_the_side_that_suits_them",),
    ),
)
