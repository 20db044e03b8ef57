import logging
import weakref

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from app.simulation.in_process import InProcessGrid
from strategies.refusals import Reason, refusal_reply
from strategies.rounds.transport import PollingGrid
from tests.kits.timed import FakeTime


class SlowGrid(InProcessGrid):
    """Each node's answer is ready at a time of its own."""

    def __init__(self, ready_at: dict[int, float], time: FakeTime):
        super().__init__(dict.fromkeys(ready_at, echo))
        self.ready_at, self.time = ready_at, time

    def pull_messages(self, message_ids):
        ready = [
            i
            for i in message_ids
            if i in self._waiting
            and self.ready_at[self._waiting[i].metadata.dst_node_id] <= self.time.now
        ]
        return super().pull_messages(ready)


def echo(message: Message) -> Message:
    return Message(message.content, reply_to=message)


def messages(nodes: list[int], kind: str = "train") -> list[Message]:
    record = RecordDict({"config": ConfigRecord({"x": 1})})
    return [Message(record, dst_node_id=node, message_type=kind) for node in nodes]


def make(ready_at: dict[int, float]):
    time = FakeTime()
    inner = SlowGrid(ready_at, time)
    return PollingGrid(inner, sleep=time.sleep, clock=time.clock), inner, time


def test_replies_come_in_the_order_asked_whoever_is_fastest():
    grid, _, _ = make({1: 3.0, 2: 1.0, 3: 2.0})
    trip = grid.exchange(messages([3, 1, 2]), deadline_seconds=10)
    assert [reply.metadata.src_node_id for reply in trip.replies] == [3, 1, 2]
    assert trip.silent == []


def test_answers_that_are_there_cost_no_wait():
    grid, _, time = make({1: 0.0, 2: 0.0})
    grid.exchange(messages([1, 2]), deadline_seconds=10)
    assert time.waits == []


def test_waits_start_short_grow_and_stay_bounded():
    grid, _, time = make({1: 60.0})
    grid.exchange(messages([1]), deadline_seconds=100)
    assert time.waits[0] <= 0.05
    assert all(a <= b for a, b in zip(time.waits[:-1], time.waits[1:], strict=False))
    assert max(time.waits) <= 1.0
    assert 60 <= time.now <= 61


@pytest.mark.parametrize("ready_at", [0.1, 1.0, 7.0])
def test_looking_late_costs_little(ready_at):
    grid, _, time = make({1: ready_at})
    grid.exchange(messages([1]), deadline_seconds=100)
    assert ready_at <= time.now <= 1.06 * ready_at + 0.02


def test_the_deadline_ends_the_trip_without_the_stragglers():
    grid, _, time = make({1: 1.0, 2: 1e9, 3: 2.0})
    trip = grid.exchange(messages([1, 2, 3]), deadline_seconds=5)
    assert [r.metadata.src_node_id for r in trip.replies] == [1, 3]
    assert trip.silent == [2]
    assert time.now == pytest.approx(5)


def test_a_message_lives_until_the_deadline():
    grid, inner, _ = make({1: 0.0})
    grid.exchange(messages([1]), deadline_seconds=7)
    assert inner.sent[0].metadata.ttl == 7


def after_an_answer(seconds: float):
    """Return a grid on which node 1 took so long, and node 2 is silent from now on."""
    grid, inner, time = make({1: seconds, 2: 0.0})
    grid.exchange(messages([1, 2]), deadline_seconds=600)
    inner.ready_at |= {1: 0.0, 2: 1e9}
    return grid, inner, time


def waited(
    grid: PollingGrid, time: FakeTime, asked: list[Message], deadline=600.0, enough=0
) -> float:
    before = time.now
    assert grid.exchange(asked, deadline, enough).silent == [2]
    return time.now - before


@pytest.mark.parametrize(
    ("slowest", "deadline", "limit"), [(2, 600, 60), (20, 600, 80), (200, 600, 600), (2, 5, 5)]
)
def test_a_silent_node_costs_a_multiple_of_the_slowest_answer(slowest, deadline, limit):
    grid, inner, time = after_an_answer(slowest)
    spent = waited(grid, time, messages([1, 2]), deadline)
    # Looking late, it saw the answer late by 5 % at most.
    assert limit <= spent <= min(deadline, 1.06 * limit)
    assert [m.metadata.ttl for m in inner.sent[-2:]] == [deadline] * 2


@pytest.mark.parametrize(("enough", "limit"), [(1, 60), (2, 600)])
def test_with_too_few_answers_all_of_the_deadline_is_waited(enough, limit):
    grid, _, time = after_an_answer(2)
    assert waited(grid, time, messages([1, 2]), enough=enough) == limit


def test_who_is_asked_for_the_first_time_has_all_of_the_deadline():
    grid, inner, time = make({1: 2.0, 2: 1e9})
    grid.exchange(messages([1]), deadline_seconds=600)
    inner.ready_at[1] = 0.0
    assert waited(grid, time, messages([1, 2])) == 600
    assert waited(grid, time, messages([1, 2])) == 60


def test_the_slowest_answer_of_all_trips_counts():
    grid, _, time = after_an_answer(20)
    grid.exchange(messages([1]), deadline_seconds=600)
    assert waited(grid, time, messages([1, 2])) >= 80


def test_another_kind_of_message_has_the_whole_deadline():
    grid, _, time = after_an_answer(2)
    assert waited(grid, time, messages([1, 2], "evaluate")) == 600
    # It has been answered now.
    assert waited(grid, time, messages([1, 2], "evaluate")) == 60


def test_a_trip_of_two_kinds_waits_for_the_slower_one():
    grid, inner, time = after_an_answer(20)
    inner.ready_at[1] = time.now + 2
    grid.exchange(messages([1], "train.keys"), deadline_seconds=600)
    assert waited(grid, time, messages([1], "train.keys") + messages([2])) >= 80
    assert waited(grid, time, messages([1], "train.new") + messages([2])) == 600


def test_an_error_is_no_answer_to_learn_from():
    grid, inner, time = make({1: 0.0, 2: 1e9})
    inner._clients[1] = lambda message: refusal_reply(Reason.INTERNAL_ERROR, message)
    assert [waited(grid, time, messages([1, 2])) for _ in range(2)] == [600, 600]


def test_a_trip_that_ended_early_is_told_once(caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    caplog.set_level(logging.INFO, "flwr")
    grid, _, time = after_an_answer(20)
    grid.exchange(messages([1]), deadline_seconds=600)
    assert "a trip ended" not in caplog.text
    for _ in range(2):
        waited(grid, time, messages([1, 2]))
    # A record is there twice if the logger hands it on.
    (told,) = [r.getMessage() for r in set(caplog.records) if "a trip" in r.getMessage()]
    assert "after 8" in told
    assert "rounds.deadline_seconds=600" in told


def test_a_message_that_could_not_be_pushed_is_a_silent_node():
    grid, inner, _ = make({1: 0.0, 2: 0.0})
    push = inner.push_messages
    inner.push_messages = lambda ms: [None if i == 0 else x for i, x in enumerate(push(ms))]
    trip = grid.exchange(messages([1, 2]), deadline_seconds=5)
    assert trip.silent == [1]
    assert [r.metadata.src_node_id for r in trip.replies] == [2]


class ObjectPushError(Exception):
    """Named as Flower's, which says so of a part that it was sent twice."""


@pytest.mark.parametrize(("failures", "is_sent"), [(1, True), (2, True), (3, False)])
def test_a_push_that_flower_lost_count_of_is_repeated(failures, is_sent):
    grid, inner, _ = make({1: 0.0, 2: 0.0})
    push, left = inner.push_messages, iter(range(failures))

    def losing(sent):
        if next(left, None) is not None:
            raise ObjectPushError
        return push(sent)

    inner.push_messages = losing
    if is_sent:
        assert grid.exchange(messages([1, 2]), deadline_seconds=5).silent == []
    else:
        with pytest.raises(ObjectPushError):
            grid.exchange(messages([1, 2]), deadline_seconds=5)


def test_any_other_failure_of_a_push_is_raised_at_once():
    grid, inner, _ = make({1: 0.0})
    num_pushes = []

    def failing(sent):
        num_pushes.append(len(sent))
        raise RuntimeError("no network")

    inner.push_messages = failing
    with pytest.raises(RuntimeError, match="no network"):
        grid.exchange(messages([1]), deadline_seconds=5)
    assert num_pushes == [1]


def test_trips_are_counted():
    grid, _, _ = make({1: 0.0})
    for _ in range(3):
        grid.exchange(messages([1]), deadline_seconds=5)
    assert grid.num_trips == 3


def arriving(arrivals: dict[float, int]):
    grid, inner, time = make({1: 0.0})

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        for at, node in arrivals.items():
            if at <= time.now:
                inner._clients.setdefault(node, echo)

    grid._sleep = sleep
    return grid, time


def test_waiting_for_nodes_ends_when_enough_came():
    grid, time = arriving({3.0: 2, 9.0: 3})
    assert grid.wait_for_nodes(2, 100) == [1, 2]
    assert time.now <= 4
    assert grid.wait_for_nodes(2, 100) == [1, 2]
    assert time.now <= 4


def test_a_simulation_has_settled_when_no_more_nodes_are_coming():
    grid, time = arriving({0.4: 2, 1.1: 3, 9.0: 4})
    assert grid.wait_until_settled(2) == [1, 2, 3]
    assert time.now <= 3


def test_too_few_simulated_nodes_are_given_time_but_not_for_ever():
    grid, time = arriving({6.0: 2})
    assert grid.wait_until_settled(2) == [1, 2]
    grid, time = arriving({})
    assert grid.wait_until_settled(2) == [1]
    assert time.now <= 12


def test_waiting_for_nodes_gives_up_at_the_deadline():
    grid, _, time = make({1: 0.0})
    assert grid.wait_for_nodes(2, 5) == [1]
    assert 5 <= time.now <= 6


class CountingGrid(SlowGrid):
    """Notes how many messages are under way, and how many are asked for at a time."""

    def __init__(self, ready_at, time):
        super().__init__(ready_at, time)
        self.most_waiting = self.most_asked = 0

    def pull_messages(self, message_ids):
        ids = list(message_ids)
        self.most_waiting = max(self.most_waiting, len(self._waiting))
        self.most_asked = max(self.most_asked, len(ids))
        return super().pull_messages(ids)


def windowed(ready_at: dict[int, float], window: int | None):
    time = FakeTime()
    inner = CountingGrid(ready_at, time)
    return PollingGrid(inner, sleep=time.sleep, clock=time.clock, window=window), inner, time


@pytest.mark.parametrize("window", [1, 3, 10, 50, None])
def test_no_more_messages_are_under_way_than_the_window_holds(window):
    nodes = list(range(1, 21))
    grid, inner, _ = windowed({node: 0.3 * (node % 5) for node in nodes}, window)
    trip = grid.exchange(messages(nodes), deadline_seconds=60)
    assert [reply.metadata.src_node_id for reply in trip.replies] == nodes
    assert trip.silent == []
    assert inner.most_waiting == min(20, window or 20)
    assert len(inner.sent) == 20


def test_who_was_not_asked_before_the_deadline_is_silent():
    """One that never answers keeps its place in the window, and no other node waits for it."""
    grid, inner, time = windowed({1: 1e9, 2: 0.0, 3: 0.0, 4: 1e9, 5: 0.0}, 2)
    trip = grid.exchange(messages([1, 2, 3, 4, 5]), deadline_seconds=5)
    assert [reply.metadata.src_node_id for reply in trip.replies] == [2, 3]
    assert trip.silent == [1, 4, 5]
    assert len(inner.sent) == 4
    assert time.now == pytest.approx(5)


def test_a_window_is_looked_at_often_while_others_wait():
    grid, _, time = windowed({node: 3.0 * node for node in range(1, 6)}, 1)
    grid.exchange(messages([1, 2, 3, 4, 5]), deadline_seconds=60)
    assert max(time.waits[: len(time.waits) // 2]) <= 0.05


def test_a_push_that_fails_for_one_lets_the_next_ones_in(monkeypatch):
    grid, inner, _ = windowed({1: 0.0, 2: 0.0, 3: 0.0}, 1)
    push = inner.push_messages
    monkeypatch.setattr(
        inner,
        "push_messages",
        lambda sent: [
            None if m.metadata.dst_node_id == 1 else next(iter(push([m]))) for m in sent
        ],
    )
    trip = grid.exchange(messages([1, 2, 3]), deadline_seconds=5)
    assert [reply.metadata.src_node_id for reply in trip.replies] == [2, 3]
    assert trip.silent == [1]


def test_replies_are_taken_as_they_come_and_not_kept():
    grid, _, _ = windowed({1: 2.0, 2: 0.5, 3: 1.0}, None)
    taken: list[int] = []

    def take(node: int, reply: Message) -> None:
        assert reply.metadata.src_node_id == node
        taken.append(node)

    trip = grid.exchange(messages([1, 2, 3]), deadline_seconds=60, take=take)
    assert taken == [2, 3, 1]
    assert trip.replies == []
    assert trip.silent == []


def test_large_replies_are_fetched_few_at_a_time_and_each_goes_when_it_is_taken():
    nodes = list(range(1, 9))
    grid, inner, _ = windowed(dict.fromkeys(nodes, 0.0), None)
    alive: list[weakref.ref[Message]] = []
    most: list[int] = []

    def take(node: int, reply: Message) -> None:
        alive.append(weakref.ref(reply))
        most.append(sum(one() is not None for one in alive))

    grid.exchange(messages(nodes), deadline_seconds=60, take=take, reply_bytes=30 << 20)
    assert inner.most_asked == 2
    assert len(alive) == 8
    assert max(most) <= 2


def test_what_was_sent_is_counted_though_taking_a_reply_ends_the_trip():
    grid, _, _ = windowed({1: 0.0, 2: 0.0}, None)

    def take(node: int, reply: Message) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        grid.exchange(messages([1, 2]), deadline_seconds=5, take=take)
    found = grid.traffic.take()
    assert found["bytes_down"] == 16
    assert found["bytes_up"] == 8
