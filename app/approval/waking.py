"""Flower's SuperNode, which after a message looks for the next one sooner than every 3 s.

A SuperNode that finds no message sleeps 3 s, so each trip of a round would wait for that. The
one below waits a fifth of the time since it last had one, from half a second to Flower's 3 s: a
node in the middle of a round is woken early, and an idle one asks as seldom as Flower's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

#: Flower's module that sleeps, by its ``time``.
LOOP = "flwr.supernode.start_client_internal"
# Flower sleeps 3 s where there is no message, and 0.5 s while one is worked on.
_IDLE_SECONDS = 1.0
_WORKING_SECONDS = 0.1
_SHORTEST_SECONDS = 0.5
_SHARE = 0.2


def main() -> int:
    """Run ``flower-supernode``, woken early.

    Returns
    -------
    int
        The exit status, unless Flower leaves by itself.
    """
    loop: Any = import_module(LOOP)
    loop.time = SimpleNamespace(**vars(time) | {"sleep": sleep_less()})
    import_module("flwr.supernode.cli").flower_supernode()
    return 1


def sleep_less(
    sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
) -> Callable[[float], None]:
    """Return a ``sleep`` for the loop of a SuperNode; the arguments are replaced in tests."""
    last_worked = -float("inf")

    def shortened(seconds: float) -> None:
        nonlocal last_worked
        now = clock()
        if seconds < _IDLE_SECONDS:
            last_worked, seconds = now, min(seconds, _WORKING_SECONDS)
        else:
            seconds = min(seconds, max(_SHORTEST_SECONDS, _SHARE * (now - last_worked)))
        sleep(seconds)

    return shortened
