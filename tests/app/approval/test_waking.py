"""How long a SuperNode sleeps between two looks for a message."""

import time
from importlib import import_module

import pytest

from app.approval import waking


class Clock:
    """A clock that a sleep moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_node_that_has_just_worked_looks_soon_and_an_idle_one_as_seldom_as_flowers():
    clock = Clock()
    sleep = waking.sleep_less(clock.sleep, lambda: clock.now)
    sleep(3)
    sleep(0.5)
    for _ in range(40):
        sleep(3)
    first, working, *idle = clock.slept
    assert first == 3
    assert working == pytest.approx(0.1)
    assert idle[0] == pytest.approx(0.5)
    assert idle == sorted(idle)
    assert idle[-1] == 3
    # Whenever the next message comes, a look is late by a fifth of the time at most, or 0.5 s.
    ends = [sum(idle[: n + 1]) for n in range(len(idle))]
    assert all(one <= max(0.5, 0.25 * end) for one, end in zip(idle, ends, strict=True))
    sleep(0.5)
    sleep(3)
    assert clock.slept[-1] == pytest.approx(0.5)


def test_the_loop_of_the_supernode_sleeps_by_it_and_nobody_else_does(monkeypatch):
    loop = import_module(waking.LOOP)
    monkeypatch.setattr(loop, "time", time)
    started = []
    monkeypatch.setattr(
        import_module("flwr.supernode.cli"), "flower_supernode", lambda: started.append(1)
    )
    assert waking.main() == 1
    assert started
    assert loop.time.sleep is not time.sleep
    assert loop.time.monotonic is time.monotonic
    # The one that this module calls by that name is as it was.
    assert time.sleep.__module__ == "time"
