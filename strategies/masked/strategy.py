"""Secure aggregation over Flower: two trips a round, the keys of the next one riding along.

It drives ``strategies.secagg.server`` and moves its bytes.
What the messages are and why they are safe stands in ``docs/secure-aggregation.md``.
"""

from __future__ import annotations

import itertools

from flwr.serverapp.strategy import FedAvg

from strategies.masked.attempt import MaskedRound
from strategies.masked.settings import SecAggSettings
from strategies.rounds.attempt import RoundAttempt, RoundResult
from strategies.rounds.flower_step import require_mean_only
from strategies.rounds.strategy import RoundStrategy
from strategies.rounds.transport import PollingGrid
from strategies.secagg.server.role import ServerRole
from workloads.base import Workload


class SecAgg(RoundStrategy):
    """Flower strategy in which the server learns only the sum.

    Parameters
    ----------
    inner : FedAvg
        Any of Flower's strategies that needs only the mean.
    min_replies : int
        With fewer survivors a round changes nothing and opens nothing.
    workload : Workload
        What is summed.
    settings : SecAggSettings
        The protocol's public numbers.

    Raises
    ------
    ValueError
        If the inner strategy looks at single updates.
    """

    def __init__(
        self, inner: FedAvg, min_replies: int, workload: Workload, settings: SecAggSettings
    ) -> None:
        super().__init__(inner, min_replies, workload, settings.coding)
        require_mean_only(inner)
        self._settings = settings
        # The next round's role, once its keys and shares are exchanged.
        self._ready: ServerRole | None = None
        self._attempts = itertools.count()

    def train_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Run one attempt: train and unmask, preceded by advert and share in a first round."""
        return self._run(grid, asked, training=True)

    def evaluate_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Sum up what the last model scores: the same two trips with an empty update."""
        return self._run(grid, asked, training=False)

    def _run(self, grid: PollingGrid, asked: RoundAttempt, *, training: bool) -> RoundResult:
        ready, self._ready = self._ready, None
        masked = MaskedRound(
            self, self._settings, grid, asked, self._attempts, training=training
        )
        result = masked.run(ready)
        self._ready = masked.ready
        return result
