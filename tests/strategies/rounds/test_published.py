"""What nodes publish is read with no trust in it, and no round ends for it."""

import logging

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from app.simulation.in_process import InProcessGrid
from strategies.rounds.published import (
    LARGEST_GAIN,
    PUBLISHED,
    PublishedFigures,
    plain_figures,
)

# It gives Flower's messages their sender.
InProcessGrid({})
GOOD = {"epsilon_left": 1.5, "delta": 1e-5, "gain_accuracy": -3.0, "gain_noise": 0.5}


def reply(record) -> Message:
    return Message(RecordDict({PUBLISHED: record}), dst_node_id=1, message_type="train")


def test_figures_are_taken_once_by_node():
    figures = PublishedFigures()
    figures.note({2: reply(MetricRecord(GOOD)), 1: Message(RecordDict(), 1, "train")})
    later = {"epsilon_left": 1.0, "delta": 1e-5}
    figures.note({2: reply(MetricRecord(later))})
    assert figures.take() == {2: GOOD | later}
    assert figures.take() == {}


@pytest.mark.parametrize(
    "record",
    [
        MetricRecord({}),
        MetricRecord(GOOD | {"other": 1.0}),
        MetricRecord({f"x{n}": 1.0 for n in range(1000)}),
        MetricRecord(GOOD | {"delta": float("nan")}),
        MetricRecord(GOOD | {"epsilon_left": float("inf")}),
        MetricRecord(GOOD | {"epsilon_left": 1e30}),
        MetricRecord(GOOD | {"epsilon_left": -1.0}),
        MetricRecord(GOOD | {"epsilon_left": 1}),
        MetricRecord(GOOD | {"epsilon_left": [1.0, 2.0]}),
        MetricRecord(GOOD | {"delta": 1.0}),
        MetricRecord(GOOD | {"gain_noise": 0.0}),
        MetricRecord(GOOD | {"gain_loss": 0.1}),
        # Said to have hardly any noise, or more than any: one node would decide what all say.
        MetricRecord(GOOD | {"gain_noise": 0.004}),
        MetricRecord(GOOD | {"gain_noise": 501.0}),
        MetricRecord(GOOD | {"gain_accuracy": 1e6}),
        MetricRecord(GOOD | {"gain_accuracy": -15.3}),
        MetricRecord({"gain_accuracy": 0.1}),
        MetricRecord({"gain_noise": 0.1}),
        MetricRecord({"epsilon_left": 0.1}),
        MetricRecord({"delta": 0.1}),
        ConfigRecord({"epsilon_left": "1", "delta": "<script>"}),
        ArrayRecord(),
    ],
)
def test_what_is_wrong_is_passed_over(record, caplog):
    figures = PublishedFigures()
    with caplog.at_level(logging.WARNING, "flwr.tacet"):
        figures.note({1: reply(record), 2: reply(MetricRecord(GOOD))})
    assert figures.take() == {2: GOOD}
    [told] = {one.getMessage() for one in caplog.records}
    assert "client 1 publishes what is passed over" in told
    assert "script" not in told


def test_what_stands_in_a_folder_is_read_with_no_trust_either():
    given = {"7": {"a": 1, "b": "x", "c": True, "d": float("inf"), "e": 10**400}, "8": 3}
    assert plain_figures(given) == {"7": {"a": 1.0}, "8": {}}
    assert plain_figures([1]) == {}
    assert plain_figures(None) == {}


@pytest.mark.parametrize("epsilon", [1e-3, 1.0, 100.0])
def test_whatever_a_policy_may_spend_is_taken(epsilon):
    from privacy.noise.bounded_value import bounded_release, noised, scale_of
    from privacy.plan.release import Neighbours
    from privacy.unit import Unit

    release = bounded_release(epsilon, Unit.EXAMPLE, Neighbours.ADD_OR_REMOVE)
    own = {
        "gain_loss": noised(9.0, LARGEST_GAIN, release),
        "gain_noise": scale_of(LARGEST_GAIN, release),
    }
    figures = PublishedFigures()
    figures.note({1: reply(MetricRecord(own))})
    assert figures.take() == {1: own}
