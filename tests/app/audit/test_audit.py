"""An audit: its canaries go the real way, its refusals, and what it says of healthy code."""

import numpy as np
import pytest

from app.audit.audit import AuditError, AuditOptions, audit
from app.audit.canaries import make_canaries
from app.audit.verdict import findings
from app.builders.workload import build_task
from app.config.load import load_config
from app.node.session import NodeSession
from app.node.settings import NodeSettings
from app.simulation.in_process import make_clients, simulate
from privacy.audit.claim import claim_of, epsilon_with, largest_noise
from privacy.plan.plan import PrivacyPlan
from privacy.unit import Unit
from strategies.rounds.observer import Observer
from tasks.records import LocalData
from tests.kits.private_kit import FAST

LOUD = AuditOptions(num_canaries=4, num_runs=6, confidence=0.99)
GENERATOR = {
    "task": "digits",
    "algorithm": "gan",
    "num-rounds": 2,
    "free": "algorithm.made_up_batch=20",
}
CENTRED = {
    "task": "mnist",
    "algorithm": "fedadam",
    "num-rounds": 2,
    "free": "task.model=scattering",
}


def run_config(option="example_distributed", aggregation="secagg", noise=0.6, free="", **keys):
    """Return the run config of a linear model whose claim is loose enough to be attacked."""
    needed = [
        f"privacy.noise_multiplier={noise} privacy.delta=1e-5 privacy.clip_norm=0.1",
        f"privacy.population=4 {FAST}",
    ]
    if option.startswith("example"):
        needed.append("privacy.sampling_rate=1 privacy.expected_batch_size=100")
    if aggregation == "secagg":
        needed.append("aggregation.min_survivors=3")
    # What is given stands in place of what is needed: an audit refuses a key twice.
    given = {word.partition("=")[0] for word in free.split()}
    words = [w for w in " ".join(needed).split() if w.partition("=")[0] not in given]
    return {
        "task": "breast_cancer",
        "privacy": option,
        "aggregation": aggregation,
        "num-rounds": 1,
        "overrides": f"{' '.join(words)} {free}",
        **keys,
    }


def audited(run_config, options=LOUD):
    done = []
    found = audit(run_config, options, done.append)
    assert done == list(range(1, options.num_runs + 1))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "aggregation", "keys"),
    [
        ("example_distributed", "secagg", {}),
        ("example_distributed", "secagg", {"num-rounds": 3}),
        ("example_central", "plain", {}),
        ("example_central", "plain", GENERATOR),
        ("example_distributed", "secagg", CENTRED),
        ("client_distributed", "secagg", {"free": "task.training.num_steps=2"}),
        ("client_central", "plain", {"free": "task.training.num_steps=2"}),
    ],
)
def test_canaries_are_seen_where_there_is_hardly_any_noise(option, aggregation, keys):
    """Each guess is right: the terms are those that the nodes add, in every round."""
    config = run_config(option, aggregation, noise=0.02, **keys)
    options = (
        LOUD
        if option.startswith("example")
        else AuditOptions(num_canaries=None, num_runs=6, confidence=0.99)
    )
    found = audited(config, options)
    assert found.share == 1
    assert found.reach == pytest.approx(1, abs=1e-3)
    assert not found.is_refuted
    assert found.one_run_epsilon < found.claim.epsilon


@pytest.mark.slow
def test_healthy_code_on_a_linear_task_is_not_refuted():
    """Records through the real path; the lower bounds are under what is claimed."""
    found = audited(run_config(), AuditOptions(num_canaries=8, num_runs=20, confidence=0.99))
    claim = found.claim
    assert found.one_run_epsilon < claim.epsilon
    assert found.share_epsilon < claim.epsilon
    assert found.least_share < claim.largest_share
    assert not found.is_refuted
    # 160 guesses, 0.75 expected: fails by chance once in 10^6 audits.
    assert found.share > 0.58


@pytest.mark.slow
def test_a_sampled_run_is_attacked_too():
    config = run_config(noise=0.02)
    config["overrides"] = config["overrides"].replace("sampling_rate=1", "sampling_rate=0.5")
    found = audited(config, AuditOptions(num_canaries=8, num_runs=40, confidence=0.99))
    assert found.claim.largest_share == pytest.approx(0.75, abs=1e-3)
    # Who is in is seen in half of the cases, and no share above 0.75 can be.
    assert 0.6 < found.share < 0.9
    assert not found.is_refuted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "aggregation", "free", "keys", "match"),
    [
        ("example_local", "plain", "", {}, "privacy=example_local: its noise is added before"),
        ("client_local", "plain", "", {}, "privacy=client_local: its noise is added before"),
        (
            "client_central",
            "plain",
            "rounds.cohort_fraction=0.5",
            {},
            r"rounds.cohort_fraction=0.5: .* audit with 1",
        ),
        (
            "client_central",
            "plain",
            "privacy.adaptive_clip.bit_noise=5",
            {},
            "privacy.adaptive_clip.bit_noise above 0",
        ),
        ("example_central", "plain", "", {"deterministic": True}, "deterministic=true"),
        ("example_distributed", "secagg", "aggregation.identities=true", {}, "identities"),
        ("example_central", "plain", "rounds.min_replies=5", {}, "population"),
        (
            "example_central",
            "plain",
            "privacy.sampling_rate=0.05 privacy.noise_multiplier=1e-9",
            {},
            "numbers too extreme to compute with: privacy.noise_multiplier=1e-09",
        ),
        (
            "example_distributed",
            "secagg",
            "aggregation.codec.keep_fraction=0.5",
            {},
            r"keep_fraction=0.5: .* audit with aggregation.codec.keep_fraction=1,",
        ),
        ("client_central", "plain", "", {}, "--canaries 4: under the client unit"),
    ],
)
def test_what_cannot_be_audited_is_refused(option, aggregation, free, keys, match):
    config = run_config(option, aggregation, free=free, **keys)
    if option == "example_local":
        config["overrides"] += " task.training.num_steps=2"
    if "identities" in free:
        config["overrides"] += " aggregation.peers_file=/tmp/peers"
    with pytest.raises(AuditError, match=match) as caught:
        audited(config)
    assert "\n" not in str(caught.value)


def test_no_privacy_claims_nothing():
    with pytest.raises(AuditError, match="privacy=none claims nothing"):
        audited({"task": "breast_cancer"})


def test_places_of_a_real_run_are_not_read(tmp_path):
    folders = {name: str(tmp_path / name) for name in ("output-dir", "data-dir")}
    nodes = {"simulation-nodes": str(tmp_path / "nodes.yaml")}
    audited(run_config("example_central", "plain", **folders, **nodes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_made_up_records_need_no_number_of_nodes():
    """A task whose records are those of four hospitals, with T=3 nodes that hold none."""
    found = audited(run_config(noise=0.02, task="heart"))
    assert found.share == 1


def test_a_wrong_size_is_refused():
    for wrong, match in (
        ({"num_canaries": 0}, "--canaries 0"),
        ({"num_runs": 0}, "--repeats 0"),
        ({"confidence": 1.0}, "--confidence 1"),
        # Of two bounds together: each would have 1.
        ({"confidence": 1 - 2**-53}, "--confidence 0.9999999999999998.*no nearer to 1"),
    ):
        values = {"num_canaries": 4, "num_runs": 6, "confidence": 0.9} | wrong
        with pytest.raises(AuditError, match=match):
            AuditOptions(**values)


def test_canaries_are_spread_and_put_in_by_their_coins():
    task = build_task(load_config(run_config()))
    canaries = make_canaries(task, Unit.EXAMPLE, 5, 2)
    coins = np.array([True, True, False, True, True])
    held = canaries.held(coins, 2)
    made = task.made_up(5)
    assert np.array_equal(held[0].train.inputs, made.inputs[[0, 4]])
    assert np.array_equal(held[1].train.targets, made.targets[[1, 3]])
    assert [len(part.test) for part in held] == [0, 0]
    clients = make_canaries(task, Unit.CLIENT, 3, 3)
    alone = [part.train for part in clients.alone()]
    assert [len(part) for part in alone] == [16, 16, 16]
    assert np.array_equal(alone[2].inputs, clients.held(np.ones(3, bool), 3)[2].train.inputs)


def test_records_are_held_in_a_simulation_only():
    config = load_config(run_config())
    nobody = build_task(config).made_up(0)
    with pytest.raises(TypeError, match="outside a simulation"):
        NodeSession(None, config, NodeSettings(), LocalData(nobody, nobody))  # type: ignore[arg-type]


def test_an_observer_hears_the_sum_that_is_released(tmp_path):
    """One held record and hardly any noise: the sum is its clipped gradient."""
    heard = []

    class Ear(Observer):
        def round_closed(self, closed):
            heard.append(closed.aggregate.total)

    config = run_config("example_central", "plain", noise=1e-3)
    config["output-dir"] = str(tmp_path / "run")
    task = build_task(load_config(config))
    held = [
        LocalData(task.made_up(1), task.made_up(0)),
        LocalData(task.made_up(0), task.made_up(0)),
    ]
    simulate(config, 2, make_clients(config, 2, held), (Ear(),))
    assert np.linalg.norm(heard[0]) == pytest.approx(0.1, rel=0.02)


def plan_of(noise, rate=1.0, **keys) -> PrivacyPlan:
    from app.builders.privacy import privacy_plan
    from app.builders.workload import build_workload

    config = run_config(noise=noise, **keys)
    config["overrides"] = config["overrides"].replace("rate=1", f"rate={rate}")
    loaded = load_config(config)
    return privacy_plan(loaded, build_workload(loaded), 31)


def test_the_claim_counts_the_noise_of_all_who_must_survive():
    """Three shares of two: against the server alone the noise is larger by sqrt(3/2)."""
    claim = claim_of(plan_of(0.6))
    alone = claim_of(plan_of(0.6 * 1.5**0.5, free="aggregation.max_colluding=0"))
    assert claim.epsilon == pytest.approx(alone.epsilon, rel=1e-4)
    assert claim.largest_share == pytest.approx(alone.largest_share, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_the_noise_that_a_share_allows_is_that_which_has_it(rate):
    plan, other = plan_of(1.0, rate), plan_of(0.7, rate)
    found = largest_noise(plan, claim_of(other).total_variation)
    assert found == pytest.approx(0.7, rel=5e-3)
    assert epsilon_with(plan, found) == pytest.approx(claim_of(other).epsilon, rel=1e-2)
    assert largest_noise(plan, 1e-9) is None


def test_coins_that_scores_do_not_know_refute_nothing():
    rng = np.random.default_rng(3)
    plan = plan_of(0.6)
    claim = claim_of(plan)
    coins = rng.random((40, 8)) < 0.5
    found = findings(plan, claim, rng.normal(size=coins.shape), coins, 0.99, 1.0)
    assert found.one_run_epsilon == found.share_epsilon == 0
    assert found.largest_noise is None
    assert not found.is_refuted
    known = findings(plan, claim, np.where(coins, 1.0, -1.0), coins, 0.99, 1.0)
    assert known.share == 1
    assert known.is_refuted
    assert known.to_dict()["is_refuted"] is True
    assert known.to_dict()["claim"]["largest_share"] == claim.largest_share
