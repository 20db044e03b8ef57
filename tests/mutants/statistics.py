"""Descriptive statistics: what one record adds, what is hidden, and how sure a figure is."""

from tests.mutants.mutation import Mutation

_LAYOUT = "workloads/statistics/layout.py"
_HIDING = "workloads/statistics/hiding.py"
_BOUND = "tests/workloads/statistics/test_bound.py"
_HIDDEN = "tests/workloads/statistics/test_hiding.py"
_NOISE = "tests/workloads/statistics/test_noise.py"

MUTATIONS = (
    Mutation(
        "squares-are-not-in-the-bound",
        _LAYOUT,
        "square = 1 + len(self.variables) + 2 * k + len(self.pairs)",
        "square = 1 + len(self.variables) + k + len(self.pairs)",
        (f"{_BOUND}::test_the_worst_record_is_as_long_as_the_bound",),
    ),
    Mutation(
        "a-number-beyond-its-bounds-is-not-cut",
        "workloads/statistics/variables.py",
        "return np.clip((clipped - self.centre) / self.half, -1.0, 1.0)",
        "return (values - self.centre) / self.half",
        (f"{_BOUND}::test_no_record_is_longer_than_the_bound",),
    ),
    Mutation(
        "a-hidden-cell-stands-alone-in-its-line",
        _HIDING,
        "hidden.sum() < 2 or counts[hidden].sum() - hidden.sum() + 1 < min_cell",
        "False",
        (f"{_HIDDEN}::test_a_line",),
    ),
    Mutation(
        "all-lines-together-may-fix-a-hidden-cell",
        _HIDING,
        "can_shrink = values > min(1.0, float(values.min()))",
        "can_shrink = values > 0",
        (f"{_HIDDEN}::test_no_hidden_cell_of_a_table_follows_from_the_others",),
    ),
    Mutation(
        "errors-forget-the-noise-of-the-count",
        "workloads/statistics/estimates.py",
        "mean_error = each * sqrt(1 + 2 * mean**2)",
        "mean_error = 0.7 * each",
        (f"{_NOISE}::test_errors_of_numbers_fit_the_noise",),
    ),
    Mutation(
        "the-report-knows-the-noise-of-t-nodes-only",
        "strategies/codec/private_codec.py",
        "noise = unit * self._deviation(context.num_survivors)",
        "noise = unit * self._deviation(self.plan.terms.min_survivors)",
        (f"{_NOISE}::test_the_server_knows_the_noise_that_is_in_its_sum",),
    ),
)
