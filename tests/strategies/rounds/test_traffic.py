"""The bytes and seconds of trips, as a round's report has them."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from app.simulation.in_process import InProcessGrid
from strategies.rounds.traffic import Traffic
from strategies.rounds.transport import PollingGrid

MODEL = ArrayRecord({"w": Array(np.zeros(1000, np.float32))})
MODEL_BYTES = len(MODEL["w"].data)


@pytest.fixture
def grid():
    """Return a grid of two nodes, of which the second refuses."""

    def answers(message):
        sums = MetricRecord({"a": 1.0, "b": [1.0, 2.0], "c": 3})
        update = ArrayRecord({"u": Array(np.zeros(10, np.float32))})
        return Message(RecordDict({"u": update, "s": sums}), reply_to=message)

    def refuses(message):
        return Message(Error(1000, "data_refused"), reply_to=message)

    return PollingGrid(InProcessGrid({1: answers, 2: refuses}), settle_seconds=0)


def messages(kind="train"):
    own = ({"secagg": ConfigRecord({"bytes": b"12345", "names": ["ab", "c"], "n": []})}, {})
    return [
        Message(RecordDict({"arrays": MODEL, **extra}), dst_node_id=node, message_type=kind)
        for node, extra in zip((1, 2), own, strict=True)
    ]


def test_all_contents_of_both_directions_are_counted_until_they_are_taken(grid):
    update = len(Array(np.zeros(10, np.float32)).data)
    for _ in range(2):
        grid.exchange(messages(), 10.0)
        grid.exchange(messages(), 10.0)
        found = grid.traffic.take()
        assert found["bytes_down"] == 2 * (2 * MODEL_BYTES + 5 + 3)
        assert found["bytes_up"] == 2 * (update + 4 * 8)
    assert grid.traffic.take() == {"bytes_down": 0, "bytes_up": 0, "stage_seconds": {}}


def test_seconds_are_those_of_each_kind_of_trip():
    traffic = Traffic()
    for kind, seconds in (("train", 1.5), ("train.unmask", 0.25), ("train", 2.0)):
        traffic.note(messages(kind), [], seconds)
    traffic.note([], [], 9.0)
    assert traffic.take()["stage_seconds"] == {"train": 3.5, "train.unmask": 0.25}
