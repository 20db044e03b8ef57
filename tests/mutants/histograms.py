"""Workloads of histograms: what one record adds, and what the server makes of it."""

from tests.mutants.mutation import Mutation

_ENTRIES = "workloads/histograms/entries.py"
_LOSSES = "workloads/histograms/losses.py"
_SUMMED = "workloads/histograms/summed.py"
_BOUND = "tests/workloads/histograms/test_bound.py"
_RUNS = "tests/workloads/histograms/test_runs.py"
_CLIENTS = "tests/workloads/histograms/test_clients.py"
_CLIENT_RUNS = "tests/workloads/histograms/test_client_runs.py"
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
    Mutation(
        "a-clients-term-is-cut-by-a-third-too-little",
        _SUMMED,
        "total = one_term(stretched, self.bound()).bounded",
        "total = one_term(stretched, 1.5 * self.bound()).bounded",
        (f"{_CLIENTS}::test_no_client_is_longer_than_the_bound",),
    ),
    Mutation(
        "a-client-is-summed-record-by-record",
        _SUMMED,
        "        if privacy.mode.hides_clients:\n",
        "        if privacy.mode.hides_clients and not len(drawn):\n",
        (f"{_CLIENTS}::test_no_client_is_longer_than_the_bound",),
    ),
    Mutation(
        "a-client-counts-by-its-records",
        _SUMMED,
        "total.in_units_of(max(1, len(drawn)) / _STRETCH)",
        "total.in_units_of(1 / _STRETCH)",
        (f"{_CLIENTS}::test_a_clients_term_is_three_times_the_mean_of_its_records",),
    ),
    Mutation(
        "a-client-without-records-has-no-term",
        _SUMMED,
        "total.in_units_of(max(1, len(drawn)) / _STRETCH)",
        "total.in_units_of(len(drawn) / _STRETCH)",
        (f"{_CLIENTS}::test_a_client_without_records_adds_zeros",),
    ),
    Mutation(
        "the-weights-are-not-in-a-clients-bound",
        _SUMMED,
        "        return self._record_weights.largest\n",
        "        return 1.0\n",
        (f"{_CLIENTS}::test_weights_are_in_the_bound",),
    ),
    Mutation(
        "a-clients-scores-count-by-its-records",
        "workloads/table_model.py",
        "own = total.in_units_of(max(1, len(metric)))",
        "own = total.in_units_of(1)",
        (f"{_CLIENTS}::test_a_clients_scores_are_the_mean_of_its_records",),
    ),
    Mutation(
        "a-clients-own-bin-is-left-out-of-its-scores",
        "workloads/table_model.py",
        "        if self.setup.counts_participants:\n",
        "        if self.setup.counts_participants and not len(metric):\n",
        (f"{_CLIENTS}::test_a_participant_is_counted_by_its_own_accuracy",),
    ),
    Mutation(
        "the-clip-norm-follows-terms-that-have-none",
        "app/config/workload.py",
        "        if private.adaptive is not None:\n            raise",
        "        if private.adaptive is not None and not name:\n            raise",
        (f"{_CLIENT_RUNS}::test_what_has_no_effect_or_no_bound_is_refused",),
    ),
)
