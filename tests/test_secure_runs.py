"""Whole runs with secure aggregation, in one process, through the real client handlers."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message
from flwr.serverapp.strategy import FedMedian, Krum

import app.node
from app.build import RunFacts, build_strategy
from app.config import ConfigError, load_config
from app.in_process import InProcessGrid, make_clients, simulate
from app.server import run
from strategies.base import RunStoppedError
from strategies.contribution import to_arrays, to_parameters
from strategies.grid import PollingGrid
from strategies.secagg.messages import MaskedInput
from strategies.secure import SecAgg
from strategies.secure_wire import unwrap

FAST = "rounds.deadline_seconds=0.3 task.training.num_steps=3"


@pytest.fixture
def run_config(tmp_path):
    return {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": 3,
        "deterministic": True,
        "output-dir": str(tmp_path / "run"),
        "overrides": FAST,
    }


def other(run_config, name, **changes):
    return {**run_config, "output-dir": run_config["output-dir"] + name, **changes}


def in_clear(run_config, name="-clear", free=""):
    overrides = f"{run_config['overrides']} {free}"
    return other(run_config, name, aggregation="plain", overrides=overrides)


def through_codec(run_config, name="-codec"):
    return in_clear(run_config, name, "aggregation.through_codec=true")


def assert_same(first: ArrayRecord, second: ArrayRecord):
    for name in first:
        np.testing.assert_array_equal(first[name].numpy(), second[name].numpy())


def with_faults(run_config, num_nodes, fault):
    """Return real clients behind ``fault(message, real) -> reply or None``."""
    clients = make_clients(run_config, num_nodes)
    return {n: lambda m, real=real: fault(m, real) for n, real in clients.items()}


def kind_of(message: Message) -> str:
    return message.metadata.message_type


class Traced:
    """Runs over a grid that remembers the trips and every message both ways."""

    def __init__(self, run_config, num_nodes, fault=lambda message, real: real(message)):
        app.node.simulate_in_this_process()
        self.messages: list[tuple[Message, Message | None]] = []

        def note(message, real):
            reply = fault(message, real)
            self.messages.append((message, reply))
            return reply

        clients = with_faults(run_config, num_nodes, note)
        self.grid = PollingGrid(InProcessGrid(clients), settle_seconds=0)
        self.outcome = run(self.grid, load_config(run_config), run_id=1, simulated=True)

    def kinds(self) -> Counter[str]:
        return Counter(kind_of(message) for message, _ in self.messages)


@pytest.mark.parametrize("task", ["digits", "breast_cancer"])
@pytest.mark.parametrize("algorithm", ["fedavg", "fedadam"])
def test_the_model_is_that_of_plain_through_the_codec_bit_for_bit(run_config, task, algorithm):
    run_config |= {"task": task, "algorithm": algorithm}
    secure, clear = simulate(run_config, 5), simulate(through_codec(run_config), 5)
    assert_same(secure.arrays, clear.arrays)
    assert secure.metrics == clear.metrics


def test_heart_is_the_same_bit_for_bit(run_config, data_dir):
    run_config |= {"task": "heart", "data-dir": str(data_dir / "heart")}
    secure, clear = simulate(run_config, 4), simulate(through_codec(run_config), 4)
    assert_same(secure.arrays, clear.arrays)


def test_one_round_is_within_n_steps_of_plain_floats(run_config):
    run_config |= {"num-rounds": 1}
    free = "aggregation.codec.max_weight_examples=100 aggregation.codec.modulus_bits=24"
    secure = simulate({**run_config, "overrides": f"{FAST} {free}"}, 5)
    clear = simulate(in_clear(run_config), 5)
    step = 8.0 * 5 / 2**23
    for name in secure.arrays:
        difference = np.abs(secure.arrays[name].numpy() - clear.arrays[name].numpy()).max()
        assert 0 < difference <= 5 * step


def test_five_rounds_and_a_masked_evaluation_take_fourteen_trips(run_config):
    traced = Traced(run_config | {"num-rounds": 5}, 4)
    assert traced.grid.num_trips == 14
    assert traced.kinds() == {
        "train.advert": 4,
        "train.share": 4,
        "train": 20,
        "train.unmask": 24,
        "evaluate": 4,
    }


def test_no_reply_holds_anything_but_protocol_bytes(run_config):
    traced = Traced(run_config, 4)
    for message, reply in traced.messages:
        assert reply is not None
        assert set(reply.content) == {"secagg"}, kind_of(message)


def test_masked_inputs_look_like_noise_and_repeat_nothing(run_config):
    traced = Traced(run_config, 4)
    payloads = [
        np.frombuffer(MaskedInput.decode(unwrap(reply.content)).update, np.uint8)
        for message, reply in traced.messages
        if kind_of(message) == "train"
    ]
    assert len({payload.tobytes() for payload in payloads}) == 12
    values = np.concatenate(payloads).astype(float)
    # 12 x 31 x 4 uniform bytes: the mean's deviation is 73.9 / sqrt(1488) = 1.92; nine of
    # those are passed with probability below 1e-18.
    assert abs(values.mean() - 127.5) < 9 * 1.92


STAGES = ["train.advert", "train.share", "train", "train.unmask"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_dropout_at_any_stage_is_survived(run_config, stage):
    """Node 1004 of five falls silent at one stage of the first round, and comes back."""
    gone = iter([True])

    def fault(message, real):
        if message.metadata.dst_node_id == 1004 and kind_of(message) == stage:
            return None if next(gone, False) else real(message)
        return real(message)

    traced = Traced(run_config, 5, fault)
    assert traced.outcome.num_rounds == 3
    assert traced.outcome.metrics["accuracy"] > 0.6
    rounds = {m.content["config"]["server-round"] for m, _ in traced.messages if _is_model(m)}
    assert rounds == {1, 2, 3, 4}
    again = [
        message.content["config"]["server-round"]
        for message, reply in traced.messages
        if message.metadata.dst_node_id == 1004 and kind_of(message) == "train" and reply
    ]
    assert again[-1] == 3


def _is_model(message: Message) -> bool:
    return kind_of(message) in ("train", "evaluate")


def test_the_sum_without_a_dropout_is_that_of_the_others(run_config):
    """A node that shares its keys and then never answers: the mean is over the other four."""

    def fault(message, real):
        silent = message.metadata.dst_node_id == 1004 and kind_of(message) == "train"
        return None if silent else real(message)

    run_config |= {"num-rounds": 1}
    secure = simulate(run_config, 5, with_faults(run_config, 5, fault))
    clear_config = through_codec(run_config)
    clear = simulate(clear_config, 5, with_faults(clear_config, 5, fault))
    assert_same(secure.arrays, clear.arrays)


def test_below_the_threshold_nothing_is_opened_and_the_next_attempt_is_fresh(run_config):
    """Two of four fall silent once (t = 3): no unmask request may follow that attempt."""
    silent = Counter()

    def fault(message, real):
        node = message.metadata.dst_node_id
        if kind_of(message) == "train" and node in (1002, 1003) and not silent[node]:
            silent[node] += 1
            return None
        return real(message)

    run_config |= {"num-rounds": 1}
    traced = Traced(run_config, 4, fault)
    kinds = [kind_of(message) for message, _ in traced.messages]
    second_bootstrap = [i for i, kind in enumerate(kinds) if kind == "train.advert"][4]
    assert "train.unmask" not in kinds[:second_bootstrap]
    straight = simulate(other(run_config, "-straight"), 4)
    assert_same(traced.outcome.arrays, straight.arrays)


def test_a_run_that_never_reaches_the_threshold_stops_and_leaves_the_model(run_config):
    def fault(message, real):
        gone = message.metadata.dst_node_id in (1002, 1003) and kind_of(message) == "train"
        return None if gone else real(message)

    with pytest.raises(RunStoppedError, match=r"round 1: too few clients"):
        simulate(run_config, 4, with_faults(run_config, 4, fault))


def test_a_node_that_lost_its_state_rejoins(run_config):
    """Its context is emptied before the second round: it refuses, and is back in the third."""
    run_config["num-rounds"] = 4
    clients = make_clients(run_config, 5)
    fresh = make_clients(run_config, 5)[1003]
    real = clients[1003]
    lost = {"now": False}

    def forgetful(message):
        if _is_model(message) and message.content["config"]["server-round"] == 2:
            lost["now"] = True
        return (fresh if lost["now"] else real)(message)

    grid = PollingGrid(InProcessGrid(clients | {1003: forgetful}))
    app.node.simulate_in_this_process()
    outcome = run(grid, load_config(run_config), 1, simulated=True)
    assert outcome.num_rounds == 4
    text = (Path(run_config["output-dir"]) / "metrics.jsonl").read_text()
    failures = [line for line in text.splitlines() if "secagg_unknown_attempt" in line]
    assert len(failures) == 1
    assert '"round": 2' in failures[0]


def test_a_node_that_joins_later_takes_part_from_the_next_round(run_config):
    run_config["num-rounds"] = 4
    clients = make_clients(run_config, 5)
    inner = InProcessGrid({n: c for n, c in clients.items() if n != 1004})

    def joins(message):
        if _is_model(message):
            inner._clients.setdefault(1004, clients[1004])
        return clients[1000](message)

    inner._clients[1000] = joins
    app.node.simulate_in_this_process()
    run(PollingGrid(inner), load_config(run_config), 1, simulated=True)
    rounds = [
        message.content["config"]["server-round"]
        for message in inner.sent
        if message.metadata.dst_node_id == 1004 and _is_model(message)
    ]
    assert rounds == [3, 4, 5] or rounds == [2, 3, 4, 5]


def test_cohorts_that_change_cost_no_trips_of_their_own(run_config):
    run_config |= {"num-rounds": 5}
    run_config["overrides"] += " rounds.cohort_fraction=0.6"
    traced = Traced(run_config, 8)
    assert traced.grid.num_trips == 14
    cohorts = {
        number: {
            m.metadata.dst_node_id
            for m, _ in traced.messages
            if kind_of(m) == "train" and m.content["config"]["server-round"] == number
        }
        for number in range(1, 6)
    }
    assert all(len(cohort) == 5 for cohort in cohorts.values())
    assert len({frozenset(cohort) for cohort in cohorts.values()}) > 1


def test_a_server_that_shows_one_node_another_model_hears_nothing(run_config):
    def fault(message, real):
        if kind_of(message) == "train" and message.metadata.dst_node_id == 1001:
            changed = {n: v + 1 for n, v in to_parameters(message.content["arrays"]).items()}
            content = type(message.content)(dict(message.content))
            content["arrays"] = to_arrays(changed)
            message = _with_content(message, content)
        return real(message)

    with pytest.raises(RunStoppedError):
        simulate(run_config, 3, with_faults(run_config, 3, fault))


def _with_content(message: Message, content) -> Message:
    changed = Message.__new__(Message)
    changed.__dict__.update(message.__dict__)
    changed.__dict__["_content"] = content
    return changed


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ("aggregation.threshold=2", "threshold=2 with 4 members"),
        ("aggregation.threshold=5", "more than the members"),
        ("aggregation.max_colluding=3", "a cohort of 4 is under max_colluding + 2 = 5"),
        ("aggregation.min_survivors=5", "under min_survivors=5"),
        ("aggregation.min_survivors=2", "min_survivors=2 is under threshold=3"),
    ],
)
def test_numbers_that_do_not_fit_the_cohort_are_refused_before_any_trip(
    run_config, free, expected
):
    run_config["overrides"] += f" {free}"
    with pytest.raises(RunStoppedError) as info:
        Traced(run_config, 4)
    assert expected in str(info.value)


def test_a_modulus_that_is_too_small_is_refused_before_any_trip(run_config):
    run_config["overrides"] += " aggregation.codec.modulus_bits=8"
    sent = []

    def fault(message, real):
        sent.append(message)
        return real(message)

    clients = with_faults(run_config, 200, fault)
    with pytest.raises(RunStoppedError, match=r"modulus_bits=8 .* take modulus_bits="):
        simulate(run_config, 200, clients)
    assert sent == []


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ("aggregation.codec.modulus_bits=7", "modulus_bits=7: must be from 8 to 48"),
        ("aggregation.codec.clip_range=0", "clip_range=0.0: must be above 0"),
        ("aggregation.codec.max_weight_examples=0", "must be at least 1"),
        ("aggregation.min_survivors=1", "one client's sum is its update"),
        ("aggregation.secrets_seconds=1", "must be at least twice"),
        ("aggregation.consistency_check=true", "signatures need aggregation.identities=true"),
        ("aggregation.max_dropout_fraction=1", "must be in [0, 1)"),
    ],
)
def test_wrong_numbers_are_refused_when_composed(free, expected):
    with pytest.raises(ConfigError) as info:
        load_config({"aggregation": "secagg", "overrides": free})
    assert expected in str(info.value)


@pytest.mark.parametrize("inner", [FedMedian(), Krum()])
def test_a_strategy_that_needs_single_updates_is_refused(inner):
    settings = build_strategy(
        load_config({"aggregation": "secagg"}), RunFacts(1, 5, 10)
    )._settings
    with pytest.raises(ValueError, match="looks at single updates"):
        SecAgg(inner, 2, settings)


def test_clipped_entries_are_counted_under_the_mask(run_config, caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    run_config["overrides"] += " aggregation.codec.clip_range=1e-4"
    simulate(run_config | {"num-rounds": 1}, 4)
    assert "out of aggregation.codec.clip_range were clipped" in caplog.text


def test_a_diverged_client_is_a_zero_that_is_counted(run_config, caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    run_config["overrides"] += " task.model=mlp task.training.learning_rate=1e30"
    with pytest.raises(RunStoppedError, match="diverged on every client"):
        simulate(run_config, 4)
    assert "4 clients diverged and went in as zero" in caplog.text


@pytest.mark.parametrize(("num_nodes", "says"), [(2, True), (3, True), (4, False)])
def test_a_cohort_that_survives_no_dropout_is_told_so(run_config, caplog, num_nodes, says):
    logging.getLogger("flwr").addHandler(caplog.handler)
    simulate(run_config | {"num-rounds": 1}, num_nodes)
    assert ("a round fails if one of them drops out" in caplog.text) == says


def test_two_simulated_clients_work_and_two_real_ones_do_not(run_config, caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    assert simulate(run_config, 2).num_rounds == 3
    assert "each can tell the other's update" in caplog.text
    config = load_config(run_config)
    with pytest.raises(ValueError, match=r"under max_colluding \+ 2 = 3"):
        build_strategy(config, RunFacts(1, None, 10))._settings.terms.shape(2)


def test_more_weight_than_the_cap_does_not_count(run_config):
    run_config["overrides"] += " task.partition.scheme=size_skew task.partition.alpha=0.3"
    capped = {**run_config}
    capped["overrides"] += " aggregation.codec.max_weight_examples=10"
    models = [simulate(run_config, 4), simulate(other(capped, "-capped"), 4)]
    assert any(
        (models[0].arrays[n].numpy() != models[1].arrays[n].numpy()).any()
        for n in models[0].arrays
    )
