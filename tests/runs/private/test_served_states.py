"""States of a malicious server: in place of a discriminator, and of a centre that is set.

Through the real handlers, at a node as in a deployment: what it refuses it has not charged, and
what it answers it has.
"""

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from app.builders.workload import build_workload
from app.config.load import load_config
from app.simulation.in_process import InProcessGrid, make_clients, simulate
from strategies.rounds.observer import ClosedRound, Observer
from strategies.rounds.records import model_request
from tasks.records import LocalData
from tests.kits.real_node import RealNode, real_node
from tests.tasks.test_mnist import contents, write
from workloads.base import Workload
from workloads.values import Query, State

_PRIVATE = (
    "privacy.noise_multiplier=2 privacy.delta=1e-3 privacy.population=4 privacy.clip_norm=0.5"
    " privacy.sampling_rate=1 privacy.expected_batch_size=100 privacy.learning_rate=1"
)


class Served:
    """One node of a deployment, and a server that sends it any state."""

    def __init__(self, folder: Path, monkeypatch, task: str, algorithm: str, free: str) -> None:
        private = _PRIVATE if algorithm != "gan" else _PRIVATE.rpartition(" ")[0]
        run_config = {
            "task": task,
            "algorithm": algorithm,
            "privacy": "example_central",
            "aggregation": "plain",
            "num-rounds": 5,
            "overrides": f"{private} {free}",
        }
        self.node: RealNode = real_node(folder, monkeypatch, run_config, "example_central")
        self.workload: Workload = build_workload(load_config(run_config))
        # Flower's messages take their sender from a grid.
        InProcessGrid({})

    def ask(self, state: State, number: int = 1, kind: str = "train") -> Message:
        content: RecordDict = model_request(state, Query(number), ConfigRecord({}))
        return self.node.answer(Message(content, dst_node_id=1003, message_type=kind))

    def refuses(self, state: State, number: int = 1) -> str:
        """Return the reason of a refusal that has cost the node nothing."""
        before = self.node.charges()
        reply = self.ask(state, number)
        assert reply.has_error()
        assert self.node.charges() == before
        return reply.error.reason


def changed(state: State, name: str, values: np.ndarray) -> State:
    return State({**state.arrays, name: values}, state.header)


@pytest.fixture
def judged(tmp_path, monkeypatch) -> Served:
    return Served(tmp_path, monkeypatch, "digits", "gan", "algorithm.made_up_batch=20")


@pytest.fixture
def centred(tmp_path, monkeypatch) -> Served:
    served = Served(tmp_path, monkeypatch, "mnist", "fedadam", "task.model=scattering")
    data = write(tmp_path, contents())
    served.node._context["node_config"] |= {"data-path": str(data), "num-partitions": 4}
    return served


def test_what_is_no_discriminator_is_refused_and_costs_nothing(judged):
    whole = judged.workload.initial_state()
    state = judged.workload.asked(whole)
    name, values = next(iter(state.arrays.items()))
    for wrong in (
        whole,
        State({}),
        changed(state, name, values[:1]),
        changed(state, name, np.full_like(values, np.nan)),
        # Finite as it comes, and endless as it is loaded.
        changed(state, name, np.full(values.shape, 1e300)),
        State(state.arrays, {"more": 1}),
    ):
        assert judged.refuses(wrong) == "model_refused"
    assert judged.node.charges() == []
    assert not judged.ask(state).has_error()
    assert judged.node.charges() == [(1, 0)]


def test_an_evaluation_of_a_discriminator_gives_nothing_and_costs_nothing(judged):
    state = judged.workload.asked(judged.workload.initial_state())
    reply = judged.ask(state, kind="evaluate")
    assert not reply.has_error()
    (vector,) = reply.content.array_records["update"].values()
    (scalars,) = reply.content.array_records["sums"].values()
    assert vector.numpy().shape == scalars.numpy().shape == (0,)
    assert judged.node.charges() == []


def test_a_centre_of_zeros_is_paid_for_each_time(centred):
    """Each is the release of one round, and no round gives more than one."""
    state = centred.workload.initial_state()
    for number in (1, 2, 3):
        reply = centred.ask(state, number)
        assert not reply.has_error()
        assert centred.node.charges() == [(n, 0) for n in range(1, number + 1)]
    # So is another answer in one round, which has noise of its own.
    assert not centred.ask(state, 3).has_error()
    assert len(centred.node.charges()) == 4
    centre = state.arrays["centre"]
    for wrong in (centre[:7], np.full_like(centre, np.inf), np.zeros((2, len(centre)))):
        assert centred.refuses(changed(state, "centre", wrong), 4) == "model_refused"


class Heard(Observer):
    """The sums that were released."""

    def __init__(self) -> None:
        self.totals: list[np.ndarray] = []

    def round_closed(self, closed: ClosedRound) -> None:
        self.totals.append(closed.aggregate.total)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "algorithm", "free"),
    [
        ("digits", "gan", "algorithm.made_up_batch=20"),
        ("mnist", "fedadam", "task.model=scattering"),
    ],
)
def test_a_masked_sum_has_the_noise_that_is_paid_for(tmp_path, task, algorithm, free):
    """Of a discriminator's gradients, of inputs, and of gradients off their centre.

    Nodes without a record add noise alone, T = 3 and c = 1: four have twice the variance that
    two must have. With 9,610 numbers and more, 4 % are 5.5 standard errors.
    """
    private = _PRIVATE.rpartition(" ")[0]
    run_config = {
        "task": task,
        "algorithm": algorithm,
        "privacy": "example_distributed",
        "num-rounds": 2,
        "output-dir": str(tmp_path / "run"),
        "overrides": f"{private} {free} aggregation.min_survivors=3",
    }
    nobody = build_workload(load_config(run_config)).task.made_up(0)
    clients = make_clients(run_config, 4, [LocalData(nobody, nobody)] * 4)
    heard = Heard()
    simulate(run_config, 4, clients, (heard,), task_has_records=False)
    assert len(heard.totals) == 2
    for total in heard.totals:

        def accepted(multiplier: float, found: float = float(total.std())) -> bool:
            return abs(found / (0.5 * multiplier * sqrt(4 / 2)) - 1) < 0.04

        assert accepted(2)
        assert not accepted(0.7 * 2)
        assert not accepted(1.3 * 2)
