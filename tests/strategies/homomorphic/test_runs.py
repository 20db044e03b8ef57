"""Whole runs with encrypted updates, in one process, beside the same runs under masks."""

import pytest

from app.config.load import load_config
from app.node.admission import ProposedRun, check
from app.node.policy import PolicyError, load_policy
from app.preflight.plan_words import plan_rows
from app.preflight.run_plan import PlanError, plan_run
from app.simulation.in_process import simulate
from strategies.homomorphic import arithmetic
from strategies.homomorphic import scheme as scheme_module
from strategies.homomorphic.config import HomomorphicConfig
from strategies.homomorphic.scheme import Scheme
from strategies.masked import attempt as attempt_module
from strategies.masked.config import Graph, SecAggConfig
from strategies.masked.encryption import bind
from strategies.masked.settings import SecAggSettings
from strategies.refusals import Reason, RequestRefusedError
from strategies.registry import AGGREGATIONS, aggregation_of
from strategies.rounds.attempt import RunStoppedError
from strategies.secagg.client import role as role_module
from strategies.secagg.messages import MaskedInput
from strategies.secagg.server.disputes import Disputes
from strategies.secagg.server.key_role import KeyRole
from strategies.secagg.server.outcome import MismatchError
from tests.kits.private_kit import policy, write_policy
from tests.kits.secure_kit import assert_same, other, secure_run, through_codec
from tests.kits.traced import with_faults

# 32 * 1300 + 1 = 41,601 parameters, just over the 5 * 8,192 of one polynomial at 32 bits.
LARGE = "task.model=mlp task.hidden=1300"


@pytest.fixture
def run_config(tmp_path):
    given = secure_run(tmp_path)
    return given | {
        "aggregation": "homomorphic",
        "num-rounds": 1,
        "overrides": f"rounds.deadline_seconds=60 task.training.num_steps=2 {LARGE}",
    }


@pytest.fixture
def noted(monkeypatch):
    """Return the seeds that keys and errors were drawn from, and those of the protocol."""
    drawn, seeds = [], []

    class Noting(scheme_module.Keystream):
        def __init__(self, key: bytes, *rest: bytes) -> None:
            drawn.append(key)
            super().__init__(key, *rest)

    sharing = role_module.share_secrets

    def noting(attempt, roster, own, *rest):
        seeds.append(own.self_seed + own.mask_seed + own.share_seed)
        return sharing(attempt, roster, own, *rest)

    monkeypatch.setattr(scheme_module, "Keystream", Noting)
    monkeypatch.setattr(role_module, "share_secrets", noting)
    return drawn, seeds


def test_the_model_is_that_of_secagg_bit_for_bit(run_config, noted):
    """And no key comes from a seed that is shared: the server opens those of the survivors."""
    drawn, seeds = noted
    encrypted = simulate(run_config, 3)
    # Of a key and of errors: of the round, and of the last evaluation, which has no update.
    assert len(drawn) == len(set(drawn)) == 4 * 3
    assert len(seeds) == 2 * 3
    assert not any(key in seed for key in drawn for seed in seeds)
    masked = simulate(other(run_config, "-masked", aggregation="secagg"), 3)
    assert len(drawn) == 12
    assert_same(encrypted.arrays, masked.arrays)
    assert encrypted.metrics == masked.metrics
    clear = simulate(through_codec(run_config), 3)
    assert_same(encrypted.arrays, clear.arrays)


def test_a_small_update_stays_under_masks(run_config, noted, monkeypatch):
    run_config["overrides"] = run_config["overrides"].replace(LARGE, "")
    seen = []
    decode = MaskedInput.decode.__func__
    monkeypatch.setattr(
        MaskedInput,
        "decode",
        classmethod(lambda cls, data: seen.append(cls) or decode(cls, data)),
    )
    encrypted = simulate(run_config, 3)
    assert_same(
        encrypted.arrays, simulate(other(run_config, "x", aggregation="secagg"), 3).arrays
    )
    assert noted[0] == []
    assert set(seen) == {MaskedInput}


def test_a_sum_that_does_not_match_stops_the_run_and_the_model_stands(run_config, monkeypatch):
    def mismatch(*_):
        raise MismatchError("the mean square of the errors is 7 of what is due")

    monkeypatch.setattr(Scheme, "decrypt", mismatch)
    with pytest.raises(RunStoppedError, match=r"round 1: keys and ciphertexts do not match .*"):
        simulate(run_config, 3)
    assert "MismatchError" in vars(attempt_module)


def test_a_deployment_without_identities_is_refused():
    """Two sums of keys of one attempt would differ by a key, and nobody looks at views."""
    config = HomomorphicConfig()
    with pytest.raises(
        ValueError, match=r"identities=false with .* take aggregation.identities=true"
    ):
        config.check_place(None)
    config.check_place(5)
    HomomorphicConfig(identities=True, min_survivors=4).check_place(None)
    SecAggConfig().check_place(None)


def test_a_contribution_that_cannot_be_encrypted_stops_the_run_and_says_why():
    """But where keys were dealt a round ago for another form: then it begins with new ones."""
    settings = SecAggSettings(
        run_id=1,
        parameters=HomomorphicConfig().parameters(5),
        coding=None,
        config_hash=bytes(32),
        disputes=Disputes(1),
        name="homomorphic",
        encryption=HomomorphicConfig().encryption,
    )
    role = settings.new_role(1, 0, (32, 50_000, 7), 5)
    assert isinstance(role, KeyRole)
    assert settings.encryption_for(role, (32, 10, 7), 5).num_bytes == 2 * 189
    for form, why in (((6, 50_000, 7), "modulus_bits=6"), ((32, 50_000, 9000), "9000 scalars")):
        with pytest.raises(RunStoppedError, match=f"aggregation=homomorphic: {why}"):
            settings.encryption_for(role, form, 5)
    masked = settings.new_role(1, 0, (32, 40_000, 7), 5)
    assert not isinstance(masked, KeyRole)
    assert settings.encryption_for(masked, (32, 50_000, 7), 5) is None


def test_everyone_shares_with_everyone():
    """One share of a sum is over all whose keys are in it, so each node holds one of each."""
    for num_simulated in (None, 5, 1000):
        assert not HomomorphicConfig().is_sparse(num_simulated)
        assert not HomomorphicConfig().parameters(num_simulated).is_sparse
    assert SecAggConfig().is_sparse(1000)
    assert "max_dropout_fraction" in HomomorphicConfig().idle_keys(is_private=False)
    with pytest.raises(
        ValueError, match=r"graph=sparse with .* take aggregation.graph=complete"
    ):
        HomomorphicConfig(graph=Graph.sparse)


def test_both_halves_ask_where_they_run(run_config, monkeypatch):
    from types import SimpleNamespace

    from strategies.masked.aggregation import serve
    from strategies.masked.client import answer

    side = SimpleNamespace(config=HomomorphicConfig(), num_simulated=None)
    with pytest.raises(ValueError, match="identities=false"):
        serve(side, "homomorphic")
    with pytest.raises(RequestRefusedError) as refused:
        answer(None, side)
    assert refused.value.reason is Reason.CONFIG_REFUSED


@pytest.mark.parametrize(
    ("bits", "length", "encrypted"),
    [
        (32, 5 * 8192, True),
        (32, 5 * 8192 - 1, False),
        (16, 11 * 8192, True),
        (16, 11 * 8192 - 1, False),
        (64, 10**6, False),
        (63, 10**6, True),
        (8, 10**6, True),
        (7, 10**6, False),
        (32, 0, False),
    ],
)
def test_what_is_shorter_than_its_key_stays_under_masks(bits, length, encrypted):
    assert HomomorphicConfig().encryption.pays_for(bits, length, 50) is encrypted
    assert SecAggConfig().encryption is None


@pytest.mark.slow
def test_sums_of_few_values_stay_under_masks(run_config, noted):
    """Four bits of three nodes are six of a sum; the first round, which goes whole, is not."""
    run_config["num-rounds"] = 2
    run_config["overrides"] += " aggregation.codec.value_bits=4"
    simulate(run_config, 3)
    # Keys for the second round were dealt by the form of the first: they are not used.
    assert len(noted[0]) == (2 + 1) * 3


def test_the_masks_are_bound_to_the_encryption():
    scheme = HomomorphicConfig().encryption.scheme
    plan = plan_of({"aggregation": "secagg"})
    codec = plan[1]
    bound = [
        bind(codec, bytes(32), bytes(32), one)
        for one in (
            None,
            scheme((32, 50_000, 7), 5),
            scheme((32, 50_001, 7), 5),
            scheme((32, 50_000, 7), 6),
            scheme((31, 50_000, 7), 5),
            scheme((32, 50_000, 8), 5),
        )
    ]
    assert len({one.codec for one in bound}) == 6
    assert {one.model for one in bound} == {bytes(32)}


def plan_of(changes, overrides=LARGE):
    from app.builders.run import exact_codec
    from app.builders.workload import build_workload

    given = {"task": "breast_cancer", "num-rounds": 3, "overrides": overrides}
    config = load_config(given | changes)
    workload = build_workload(config)
    return config, exact_codec(config, workload, workload.longest())


def test_the_plan_says_bytes_and_both_costs():
    found = {
        name: plan_run(plan_of({"aggregation": name}, f"{LARGE} rounds.min_clients=5")[0])
        for name in ("homomorphic", "secagg")
    }
    ours, masked = found["homomorphic"], found["secagg"]
    num_scalars, rest = divmod(masked.bytes_up - 4 * 41_601, 8)
    scheme = HomomorphicConfig().encryption.scheme((32, 41_601, num_scalars), 5)
    assert not rest
    assert ours.bytes_up == scheme.num_bytes
    assert ours.num_trips == masked.num_trips
    # Two entries a polynomial: 16 kB for each of 4 peers, both ways.
    assert ours.key_bytes - masked.key_bytes == pytest.approx(8 * 16_384, rel=0.2)
    (work,) = [text for name, text in plan_rows(ours) if name == "work"]
    assert "aggregation=secagg" in work
    assert f"modulus_bits={scheme.slots.widest_bits} takes no more bytes" in work
    assert not masked.work
    small = plan_run(plan_of({"aggregation": "homomorphic"}, "")[0])
    assert "masked, as under secagg" in small.work
    assert small.bytes_up < 5000


def test_long_updates_ask_for_numba(monkeypatch):
    monkeypatch.setattr(arithmetic, "has_numba", lambda: False)
    config = HomomorphicConfig()
    config.check_update(32, 1_000_000)
    config.check_update(64, 2_000_000)
    with pytest.raises(ValueError, match="numba"):
        config.check_update(4, 1_000_001)
    with pytest.raises(
        ValueError, match="install the extra `numba`, or take aggregation=secagg"
    ):
        config.check_update(32, 1_000_001)
    with pytest.raises(PlanError, match="1,002,241 numbers, but without numba"):
        plan_run(plan_of({"aggregation": "homomorphic"}, "task.model=mlp task.hidden=31320")[0])
    monkeypatch.setattr(arithmetic, "has_numba", lambda: True)
    config.check_update(32, 25_000_000)
    SecAggConfig().check_update(32, 25_000_000)


def test_compiling_is_left_until_it_pays(monkeypatch):
    monkeypatch.setattr(arithmetic, "_counter", arithmetic._Counter())
    monkeypatch.setattr(arithmetic, "has_numba", lambda: True)
    monkeypatch.setattr(arithmetic, "compiled_arithmetic", lambda: "compiled")
    assert [arithmetic.arithmetic_for(200) for _ in range(3)] == [
        arithmetic.NUMPY,
        arithmetic.NUMPY,
        "compiled",
    ]
    monkeypatch.setattr(arithmetic, "has_numba", lambda: False)
    assert arithmetic.arithmetic_for(10_000) is arithmetic.NUMPY


def test_a_policy_takes_it_for_one_that_hides_contributions(tmp_path):
    found = AGGREGATIONS["homomorphic"]
    assert not found.sees_contributions
    assert aggregation_of(HomomorphicConfig()) is found
    file = write_policy(
        tmp_path / "policy.yaml",
        policy(
            "none", min_survivors=3, unit="client", privacy=["none"], require_identities=True
        ),
    )
    proposed = ProposedRun(
        task="breast_cancer",
        privacy="none",
        aggregation="homomorphic",
        sees_contributions=found.sees_contributions,
        unit=None,
        min_survivors=5,
        max_colluding=1,
        identities=False,
        is_sparse=False,
        is_classical=False,
        noise_multiplier=None,
        epsilon=None,
        delta=None,
    )
    with pytest.raises(PolicyError, match="require_identities=true"):
        check(load_policy(file), proposed)


@pytest.mark.slow
def test_a_private_run_has_the_epsilon_of_secagg(run_config):
    """Noise is in the update before it is encrypted; the encryption adds none to the sum."""
    overrides = (
        "privacy.population=10 privacy.epsilon=5 privacy.delta=1e-5 aggregation.min_survivors=7"
    )
    plans = [
        plan_run(
            load_config(
                {
                    "task": "breast_cancer",
                    "num-rounds": 3,
                    "privacy": "client_distributed",
                    "aggregation": name,
                    "overrides": f"{overrides} rounds.min_clients=10",
                }
            )
        )
        for name in ("homomorphic", "secagg")
    ]
    assert plans[0].guarantee == plans[1].guarantee
    assert plans[0].adversaries == plans[1].adversaries
    assert plans[0].modulus == plans[1].modulus


@pytest.mark.slow
def test_a_node_that_deals_nothing_leaves_a_sum_of_fewer_bits_under_masks(run_config):
    """Eight bits of five nodes are encrypted; of the four that are left they are seven."""

    def silent(message, answer):
        kind = message.metadata.message_type
        gone = message.metadata.dst_node_id == 1004 and ("share" in kind or "unmask" in kind)
        return None if gone else answer(message)

    run_config["num-rounds"] = 2
    run_config["overrides"] = (
        "rounds.deadline_seconds=4 task.training.num_steps=2 task.model=mlp task.hidden=6000"
        " aggregation.codec.value_bits=5 aggregation.min_survivors=4 rounds.min_clients=4"
    )
    assert simulate(run_config, 5, with_faults(run_config, 5, silent)).num_rounds == 2
