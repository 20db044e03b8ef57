"""Workloads of histograms: what one record adds, and what the server makes of it."""

from tests.mutants.mutation import Mutation

_ENTRIES = "workloads/histograms/entries.py"
_LOSSES = "workloads/histograms/losses.py"
_SUMMED = "workloads/histograms/summed.py"
_BOUND = "tests/workloads/histograms/test_bound.py"
_RUNS = "tests/workloads/histograms/test_runs.py"
_EDGES = "tests/workloads/histograms/test_quantile.py"
_SEARCH = f"{_BOUND}::test_a_search_finds_none_that_is_longer_and_comes_near"

MUTATIONS = (
    Mutation(
        "counts-are-longer-than-their-share",
        _ENTRIES,
        "sqrt(shares.counts / k) / loss.slots_bound",
        "1.01 * sqrt(shares.counts / k) / loss.slots_bound",
        (_SEARCH,),
    ),
    Mutation(
        "softmax-residuals-count-as-logistic",
        _LOSSES,
        "    residual_bound = sqrt(2)\n",
        "    residual_bound = 1.0\n",
        (_SEARCH,),
    ),
    Mutation(
        "curves-of-any-length-in-the-scalars",
        _ENTRIES,
        "shorter = longest / np.sqrt(np.maximum(square, longest**2))",
        "shorter = longest / np.sqrt(np.maximum(longest**2, longest**2 + 0 * square))",
        (f"{_BOUND}::test_no_record_is_longer_than_the_bound",),
    ),
    Mutation(
        "a-numbers-residual-is-not-cut",
        _LOSSES,
        "return np.clip(self._label(targets)[:, np.newaxis] - predicted, -1, 1)",
        "return self._label(targets)[:, np.newaxis] - predicted",
        (f"{_BOUND}::test_no_record_is_longer_than_the_bound",),
    ),
    Mutation(
        "residuals-are-summed-by-the-node",
        _SUMMED,
        "coded = np.rint(found.values * 2.0**FRACTION_BITS)",
        "coded = found.values * 2.0**FRACTION_BITS + rng.random()",
        (f"{_RUNS}::test_the_masked_model_is_the_pooled_one_bit_for_bit",),
    ),
    Mutation(
        "fine-bins-of-all-columns-count-as-one",
        "workloads/histograms/quantile.py",
        "len(self.grid.numbers) ** -0.5",
        "1.01 * len(self.grid.numbers) ** -0.5",
        (f"{_EDGES}::test_no_record_is_longer_than_the_bound_whatever_the_edges",),
    ),
    Mutation(
        "edges-of-a-servers-own",
        "workloads/histograms/quantile.py",
        "        if why := self.grid.objection(edges):\n",
        "        if (why := self.grid.objection(edges)) == 'any':\n",
        (f"{_EDGES}::test_edges_that_are_none_are_refused",),
    ),
    Mutation(
        "silence-is-lost-behind-the-edges",
        "workloads/histograms/quantile.py",
        "other._last = state.arrays[_EDGES].tobytes(), silent",
        "other._last = state.arrays[_EDGES].tobytes(), workload",
        (f"{_EDGES}::test_a_node_keeps_silent_about_small_nodes_of_trees_as_ever",),
    ),
    Mutation(
        "many-pairs-count-as-one",
        _ENTRIES,
        "sqrt(shares.pairs / self._num_tables) / loss.pair_bound",
        "sqrt(shares.pairs) / loss.pair_bound",
        ("tests/workloads/histograms/test_pairs.py::test_no_record_is_longer_than_the_bound",),
    ),
    Mutation(
        "the-server-does-not-know-the-noise",
        "privacy/plan/noise_grid.py",
        "return self.share_deviation * sqrt(terms.min_survivors)",
        "return 0.7 * self.share_deviation * sqrt(terms.min_survivors)",
        (f"{_RUNS}::test_the_server_is_told_the_noise_of_its_sums",),
    ),
)
