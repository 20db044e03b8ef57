"""Workloads of times: what one record adds, what is coded, and what the server makes of it."""

from tests.mutants.mutation import Mutation

_FOLDER, _TESTS = "workloads/survival", "tests/workloads/survival"
_BOUND, _NOISE = f"{_TESTS}/test_bound.py", f"{_TESTS}/test_noise.py"
_HAZARDS = "tests/tasks/csv/test_hazards.py"
_COX = f"{_TESTS}/test_cox.py"

MUTATIONS = (
    Mutation(
        "who-is-censored-counts-as-an-event",
        "tasks/hazards.py",
        "return survived, is_event & (first < times) & (times <= last)",
        "return survived, (first < times) & (times <= last)",
        (f"{_HAZARDS}::test_the_loss_is_the_likelihood_of_each_interval",),
    ),
    Mutation(
        "a-hazards-loss-couples-records",
        "tasks/hazards.py",
        "    return losses.sum(dim=1)\n",
        "    return losses.sum(dim=1) + losses.mean()\n",
        (f"{_HAZARDS}::test_a_record_is_trained_on_and_scored_alone",),
    ),
    Mutation(
        "an-event-is-counted-as-censored-too",
        f"{_FOLDER}/kaplan_meier.py",
        "        rows[np.arange(len(records)), self._cells(records)] = 1.0\n",
        "        rows[np.arange(len(records)), self._cells(records)] = 1.0\n"
        "        rows[:, -1] += 1.0\n",
        (f"{_BOUND}::test_every_term_is_one_count",),
    ),
    Mutation(
        "the-curves-noise-is-told-too-small",
        f"{_FOLDER}/curves.py",
        "noise**2 * _noise_factor(counts, end)",
        "(0.7 * noise) ** 2 * _noise_factor(counts, end)",
        (f"{_NOISE}::test_the_error_of_noise_is_what_the_noise_does_and_no_less",),
    ),
    Mutation(
        "the-tests-noise-is-told-too-small",
        f"{_FOLDER}/curves.py",
        "noise**2 * _noise_covariance(share, rate, used)",
        "(0.7 * noise) ** 2 * _noise_covariance(share, rate, used)",
        (f"{_NOISE}::test_the_tests_variance_of_noise_is_that_of_its_derivatives",),
    ),
    Mutation(
        "times-are-merged-by-records-alone",
        f"{_FOLDER}/cells.py",
        "leaving >= least and (events == 1 or events >= least)",
        "leaving >= least",
        (f"{_TESTS}/test_cells.py",),
    ),
    Mutation(
        "hazards-are-not-cut",
        f"{_FOLDER}/pooled.py",
        "np.exp(np.minimum(height, CUT))\n        leaves",
        "np.exp(np.minimum(height, 40.0))\n        leaves",
        (f"{_COX}::test_no_entry_of_a_record_is_larger_than_what_fits",),
    ),
    Mutation(
        "hazards-are-coded-by-the-node",
        f"{_FOLDER}/pooled.py",
        "            whole = _coded(entry, unit)\n",
        "            whole = _coded(entry, unit)\n            whole[:1] += len(entry)\n",
        (f"{_COX}::test_pooled_however_records_are_spread_the_fit_is_the_same_bit_for_bit",),
    ),
    Mutation(
        "one-event-passes-for-several",
        f"{_FOLDER}/pooled.py",
        "if not all((np.rint(arrays[name]) == arrays[name]).all() for name in _COUNTS):",
        "if False:",
        (f"{_TESTS}/test_cox_refusals.py::test_a_state_that_a_server_made_up_is_refused",),
    ),
    Mutation(
        "a-node-takes-any-times-from-the-server",
        f"{_FOLDER}/pooled.py",
        'if not (arrays["leaving"] >= self._least).all():',
        'if not (arrays["leaving"] >= 0).all():',
        (f"{_TESTS}/test_cox_refusals.py::test_a_state_that_a_server_made_up_is_refused",),
    ),
    Mutation(
        "sums-of-another-cohort-are-taken",
        f"{_FOLDER}/pooled.py",
        "if not is_as_counted(state, opened):",
        "if False:",
        (f"{_COX}::test_a_fit_begins_anew_when_other_records_take_part",),
    ),
    Mutation(
        "who-stays-longer-has-the-event-at-the-end",
        "tasks/csv/encoder.py",
        "return self._longest, 0.0",
        "return self._longest, found[1]",
        ("tests/tasks/csv/test_survival.py",),
    ),
)
