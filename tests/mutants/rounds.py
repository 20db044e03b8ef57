"""The round loop: who is asked again, for how long, and what attempts a plan pays for."""

from tests.mutants.mutation import Mutation

_FAILURES = "strategies/rounds/failures.py"
_CLOSING = "strategies/rounds/closing.py"
_SILENT = ("tests/strategies/rounds/test_silent_clients.py",)
_STOPS = ("tests/strategies/rounds/test_stops.py",)
_GRID = ("tests/strategies/rounds/test_grid.py",)
_ATTEMPTS = "tests/runs/private/test_attempts.py"
_KEYS = f"{_ATTEMPTS}::test_a_client_that_sends_keys_and_never_trains_costs_two_waits_in_all"
_ONCE = f"{_ATTEMPTS}::test_without_spare_attempts_the_run_stops_and_nodes_are_charged_once"
_USED = f"{_ATTEMPTS}::test_the_run_stops_when_its_spare_attempts_are_used_up"
_NOISE = f"{_ATTEMPTS}::test_noise_is_calibrated_for_spare_attempts_too"
_AGREE = f"{_ATTEMPTS}::test_a_spare_attempt_is_planned_charged_and_reported"
_DIVERGENCE = "tests/strategies/rounds/test_divergence.py"
_COHORTS = "tests/runs/private/test_cohorts.py"
_RESUMED = ("tests/runs/private/test_resumed_attempts.py",)

MUTATIONS = (
    Mutation(
        "a-silent-client-is-asked-for-ever",
        _FAILURES,
        "self._silences[node] >= self._max_silent",
        "self._silences[node] < 0",
        _SILENT,
    ),
    Mutation(
        "a-client-that-asks-again-stays-out",
        _FAILURES,
        "node in self.left_out and not self.left_out[node].is_for_good",
        "node not in activations",
        _SILENT,
    ),
    Mutation(
        "a-restart-undoes-a-refusal-for-good",
        _FAILURES,
        "node in self.left_out and not self.left_out[node].is_for_good",
        "node in self.left_out",
        _SILENT,
    ),
    Mutation(
        "keys-alone-count-as-an-answer",
        "strategies/masked/attempt.py",
        "takes[kinds[node]](node,",
        "self._answered.add(node) or takes[kinds[node]](node,",
        (_KEYS,),
    ),
    Mutation(
        "spare-attempts-are-not-asked-for",
        _CLOSING,
        "            self._require_paid(server_round)\n",
        "",
        (_ONCE,),
    ),
    Mutation(
        "one-attempt-more-than-is-paid-for",
        "strategies/codec/run_state.py",
        "if updates <= terms.num_updates and",
        "if updates <= terms.num_updates + 1 and",
        (_USED,),
    ),
    Mutation(
        "noise-is-not-calibrated-for-spare-attempts",
        "privacy/plan/terms.py",
        "return self.num_rounds + self.spare_attempts",
        "return self.num_rounds",
        (_NOISE,),
    ),
    Mutation(
        "metrics-of-spare-attempts-are-not-paid-for",
        "privacy/plan/terms.py",
        "return due + self.spare_attempts if",
        "return due if",
        (_AGREE,),
    ),
    Mutation(
        "a-killed-round-is-forgotten",
        "strategies/rounds/strategy.py",
        "        asked.tell_release()\n",
        "",
        _RESUMED,
    ),
    Mutation(
        "a-stop-loses-the-liars",
        "strategies/masked/attempt.py",
        "error.failures = self._failures | self._named(known)",
        "error.failures = self._failures",
        _STOPS,
    ),
    Mutation(
        "a-trip-always-waits-in-full",
        "strategies/rounds/deadlines.py",
        "return min(full, max(",
        "return max(full, max(",
        _GRID,
    ),
    Mutation(
        "too-few-answers-are-not-waited-for",
        "strategies/rounds/transport.py",
        "self.limit if num_good >= self.enough else self.full",
        "self.limit",
        _GRID,
    ),
    Mutation(
        "a-private-run-is-resumed-without-its-summary",
        "app/results/run_folder.py",
        '            raise RunFolderError(\n                f"{file}: {type(error)',
        "            return dict(last)\n            raise RunFolderError(\n"
        '                f"{file}: {type(error)',
        _RESUMED,
    ),
    Mutation(
        "losses-are-not-looked-at",
        "strategies/rounds/divergence.py",
        "loss > _TIMES_WORSE * least",
        "loss < 0",
        (f"{_DIVERGENCE}::test_losses_are_compared_with_the_untrained_models",),
    ),
    Mutation(
        "cohorts-amplify-though-a-client-is-left-out",
        "strategies/rounds/cohort.py",
        "drawable = 0 if left_out else len(nodes)",
        "drawable = len(nodes)",
        (f"{_COHORTS}::test_nothing_is_amplified_once_a_client_is_left_out",),
    ),
    Mutation(
        "cohorts-amplify-by-the-whole-population",
        "privacy/plan/plan.py",
        "binom.cdf(least - 1, num_drawable, q)",
        "binom.cdf(least - 1, terms.population, q)",
        (f"{_COHORTS}::test_a_report_amplifies_by_the_nodes_that_were_drawn_among",),
    ),
    Mutation(
        "keys-that-fail-are-taken-for-charged",
        _CLOSING,
        "        if not self._has_released:\n            return\n",
        "",
        _RESUMED,
    ),
)
