"""Secure aggregation over Flower: two trips a round, the keys of the next one riding along.

The server's half of ``secagg``: it drives ``strategies.secagg.server`` and moves its bytes.
What the messages are and why they are safe stands in ``docs/secure-aggregation.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import strategy as flowers
from flwr.serverapp.strategy import FedAvg

from strategies.base import (
    RoundAttempt,
    RoundResult,
    RoundStrategy,
)
from strategies.encoding import ContributionCodec
from strategies.grid import PollingGrid
from strategies.secagg.graph import Terms
from strategies.secagg.keys import Peers
from strategies.secagg.server import ServerRole
from strategies.secagg.wire import AttemptId
from strategies.secure_round import MaskedRound


@dataclass(frozen=True, kw_only=True)
class SecAggSettings:
    """What all of a run's attempts share.

    Attributes
    ----------
    run_id : int
        Flower's.
    terms : Terms
        Thresholds and graph.
    codec : ContributionCodec
        Contributions to integers.
    config_hash : bytes
        SHA-256 of the resolved shared configuration.
    consistency_check : bool
        Whether survivors sign the survivor set before anything is opened.
    peers : mapping or None
        Pinned public keys by fingerprint, where identities are on.
    """

    run_id: int
    terms: Terms
    codec: ContributionCodec
    config_hash: bytes
    consistency_check: bool = False
    peers: Peers | None = None


class SecAgg(RoundStrategy):
    """Hear only the sum.

    Parameters
    ----------
    inner : FedAvg
        Any of Flower's strategies that needs only the mean.
    min_replies : int
        With fewer survivors a round changes nothing and opens nothing.
    settings : SecAggSettings
        The protocol's public numbers.

    Raises
    ------
    ValueError
        If the inner strategy looks at single updates.
    """

    def __init__(self, inner: FedAvg, min_replies: int, settings: SecAggSettings) -> None:
        super().__init__(inner, min_replies)
        _require_mean_only(inner)
        self._settings = settings
        #: The next round's role, once its keys and shares are exchanged.
        self._ready: ServerRole | None = None

    def train_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Run one attempt: train and unmask, before that advert and share if need be."""
        return MaskedRound(self, grid, asked, training=True).run()

    def evaluate_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Sum up what the last model scores: the same two trips with an empty update."""
        return MaskedRound(self, grid, asked, training=False).run()

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Refuse: one set of replies is only half of a round (Flower's interface)."""
        raise RuntimeError("secagg takes two trips a round: drive it with the round loop")

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Refuse: one set of replies is only half of a round (Flower's interface)."""
        raise RuntimeError("secagg takes two trips a round: drive it with the round loop")

    def new_role(self, number: int, attempt: int) -> ServerRole:
        """Return the server's role for one attempt."""
        settings = self._settings
        return ServerRole(
            AttemptId(settings.run_id, number, attempt),
            settings.terms,
            consistency_check=settings.consistency_check,
            peers=settings.peers,
        )

    def take_ready(self, number: int, attempt: int) -> ServerRole | None:
        """Return the role whose keys came with the round before, if it is for this attempt."""
        role, self._ready = self._ready, None
        wanted = AttemptId(self._settings.run_id, number, attempt)
        return role if role is not None and role.attempt == wanted else None

    def keep_ready(self, role: ServerRole) -> None:
        """Keep a role with keys and shares for the next round."""
        self._ready = role

    @property
    def settings(self) -> SecAggSettings:
        """The protocol's public numbers."""
        return self._settings


def _require_mean_only(inner: FedAvg) -> None:
    """Refuse Flower's strategies that compare, rank or trim single updates."""
    mean_only = (
        flowers.FedAvg,
        *(flowers.FedProx, flowers.FedAvgM, flowers.FedAdam, flowers.FedYogi),
    )
    if type(inner) not in mean_only:
        names = ", ".join(cls.__name__ for cls in mean_only)
        raise ValueError(
            f"{type(inner).__name__} looks at single updates, which secure aggregation hides;"
            f" use one of {names}, or aggregation=plain"
        )
