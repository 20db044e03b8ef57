"""The cohorts of a run."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from strategies.rounds.attempt import CohortTooSmallError, RunStoppedError
from strategies.rounds.failures import Failures
from strategies.rounds.settings import LoopSettings
from strategies.rounds.transport import PollingGrid


class Cohorts:
    """Draw the cohorts of a run among the connected nodes that are not left out.

    Parameters
    ----------
    grid : PollingGrid
        Knows who is connected.
    settings : LoopSettings
        How many are drawn, and how long to wait for them.
    rng : callable
        Round number to the generator that draws its cohort.
    failures : Failures
        Knows who is left out.
    """

    def __init__(
        self,
        grid: PollingGrid,
        settings: LoopSettings,
        rng: Callable[[int], random.Random],
        failures: Failures,
    ) -> None:
        self._grid = grid
        self._settings = settings
        self._rng = rng
        self._failures = failures
        #: The fewest nodes that a cohort of this run was drawn among, 0 once a node was left
        #: out or a cohort drawn in place of one that did not answer: who that is may depend on
        #: records, so chance alone does not draw any more.
        self.fewest_drawable: int | None = None

    def draw(self, server_round: int) -> list[int]:
        """Draw the cohort of a round among the connected clients."""
        settings = self._settings
        nodes, left_out = self.usable(), self._failures.left_out
        end = time.monotonic() + settings.deadline_seconds
        while len(nodes) < settings.min_clients and settings.wait_for_clients:
            # Who refused stays out; with nobody else there, no one need wait for more.
            is_hopeless = not nodes and any(one.is_for_good for one in left_out.values())
            if is_hopeless or time.monotonic() > end:
                break
            self._grid.wait_for_nodes(settings.min_clients + len(left_out), 1.0)
            nodes = self.usable()
        if len(nodes) < settings.min_clients:
            raise RunStoppedError(
                f"{len(nodes)} usable clients are connected and {len(left_out)} are left out,"
                f" rounds.min_clients={settings.min_clients}"
            )
        drawable = 0 if left_out else len(nodes)
        fewest = self.fewest_drawable
        self.fewest_drawable = drawable if fewest is None else min(fewest, drawable)
        if settings.min_poisson_cohort and settings.cohort_fraction < 1:
            return self._draw_by_coins(nodes, server_round)
        size = min(
            len(nodes),
            max(settings.min_replies, math.ceil(settings.cohort_fraction * len(nodes))),
        )
        if size == len(nodes):
            return nodes
        return sorted(self._rng(server_round).sample(nodes, size), key=nodes.index)

    def note_redrawn(self) -> None:
        """Note that a cohort is drawn anew because too few of the last one answered."""
        self.fewest_drawable = 0

    def _draw_by_coins(self, nodes: list[int], server_round: int) -> list[int]:
        """Draw a Poisson cohort, as amplification by sampling assumes."""
        settings, rng = self._settings, self._rng(server_round)
        cohort = [node for node in nodes if rng.random() < settings.cohort_fraction]
        if len(cohort) < settings.min_poisson_cohort:
            raise CohortTooSmallError(
                f"a cohort of {len(cohort)} was drawn, under {settings.min_poisson_cohort}"
            )
        return cohort

    def usable(self) -> list[int]:
        """Return the connected nodes that are not left out, the longest registered first."""
        return self._failures.usable(self._grid.activations())
