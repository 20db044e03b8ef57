"""The audit: what it proves, what it holds that against, and whose records it puts in place."""

from tests.mutants.mutation import Mutation

_ONE_RUN = "tests/privacy/audit/test_one_run.py"
_AUDIT = "tests/app/audit/test_audit.py"

MUTATIONS = (
    Mutation(
        "a-bound-by-guesses-forgets-delta",
        "privacy/audit/one_run.py",
        "at_least + 2 * num_canaries * delta * steepest",
        "at_least + 0 * num_canaries * delta * steepest",
        (f"{_ONE_RUN}::test_a_true_delta_is_seldom_refuted_and_would_be_if_it_were_left_out",),
    ),
    Mutation(
        "a-gambler-knows-the-value-before-it-comes",
        "privacy/audit/mean_bound.py",
        "np.minimum(bets, _BOLDEST / mean) * (values - mean)",
        "np.minimum(bets, _BOLDEST / mean) * np.abs(values - mean)",
        ("tests/privacy/audit/test_mean_bound.py::test_few_values_prove_little",),
    ),
    Mutation(
        "an-audit-attacks-a-weaker-claim-than-it-could",
        "privacy/audit/claim.py",
        "schedule, delta = plan.schedule(colluding=0), plan.terms.delta",
        "schedule, delta = plan.schedule(), plan.terms.delta",
        (f"{_AUDIT}::test_the_claim_counts_the_noise_of_all_who_must_survive",),
    ),
    Mutation(
        "an-audit-takes-the-generator-for-what-nodes-are-asked",
        "app/audit/canaries.py",
        "self._workload.bounded(asked, query",
        "self._workload.bounded(state, query",
        (f"{_AUDIT}::test_canaries_are_seen_where_there_is_hardly_any_noise",),
    ),
    Mutation(
        "records-of-nobody-stand-in-for-a-real-nodes",
        "app/node/session.py",
        "if self.held is not None and not self.settings.simulated:",
        "if self.held is not None and self.settings.simulated is None:",
        (f"{_AUDIT}::test_records_are_held_in_a_simulation_only",),
    ),
)
