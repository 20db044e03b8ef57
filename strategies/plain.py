"""Plain aggregation: the server sees every update. The baseline, one trip a round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg

from strategies.base import CohortGrid, RoundAttempt, RoundResult, RoundStrategy
from strategies.contribution import (
    Aggregate,
    Contribution,
    MalformedReplyError,
    add_up,
    num_parameters,
    sum_names,
)
from strategies.encoding import ContributionCodec
from strategies.grid import PollingGrid, Trip
from strategies.refusals import Reason, reason_of


class Plain(RoundStrategy):
    """Add the contributions as they come.

    Also works with Flower's own loop (``Plain(...).start(...)``).

    Parameters
    ----------
    inner, min_replies
        As for every round strategy.
    metric_names : tuple of str
        The task's metrics: what a reply must hold.
    codec : ContributionCodec, optional
        Add in fixed point, exactly as secure aggregation does.
    """

    def __init__(
        self,
        inner: FedAvg,
        min_replies: int,
        metric_names: tuple[str, ...],
        codec: ContributionCodec | None = None,
    ) -> None:
        super().__init__(inner, min_replies)
        self._metric_names = metric_names
        self._codec = codec

    def _read(self, trip: Trip, length: int) -> tuple[list[Contribution], dict[int, str]]:
        names = sum_names(self._metric_names, training=length > 0)
        return read_replies(trip, length, names)

    def _add_up(self, good: list[Contribution], num_asked: int) -> Aggregate:
        return self._codec.add_up(good, num_asked) if self._codec else add_up(good)

    def train_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Send the model, add what comes back, and step."""
        cohort = asked.draw(asked.number)
        messages = self.configure_train(
            asked.number, asked.arrays, ConfigRecord(), CohortGrid(cohort)
        )
        trip = grid.exchange(in_cohort_order(messages, cohort), asked.deadline_seconds)
        good, failures = self._read(trip, num_parameters(asked.arrays))
        if len(good) < self.min_replies:
            return RoundResult(None, {}, len(cohort), len(good), failures)
        aggregate = self._add_up(good, len(cohort))
        after = self.step(asked.number, aggregate)
        return RoundResult(after, aggregate.means(), len(cohort), len(good), failures)

    def evaluate_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Send the model and add up what it scores on the clients' held-out records."""
        cohort = asked.draw(asked.number)
        messages = self.configure_evaluate(
            asked.number, asked.arrays, ConfigRecord(), CohortGrid(cohort)
        )
        trip = grid.exchange(in_cohort_order(messages, cohort), asked.deadline_seconds)
        good, failures = self._read(trip, 0)
        enough = len(good) >= self.min_replies
        means = self._add_up(good, len(cohort)).means() if enough else {}
        return RoundResult(None, means, len(cohort), len(good), failures)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate and step (Flower's interface)."""
        size = num_parameters(self._sent) if self._sent is not None else 0
        good, _ = self._read(Trip(list(replies), []), size)
        if len(good) < self.min_replies:
            return None, None
        aggregate = self._add_up(good, len(good))
        return self.step(server_round, aggregate), MetricRecord(dict(aggregate.means()))

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Aggregate the metrics (Flower's interface)."""
        good, _ = self._read(Trip(list(replies), []), 0)
        if len(good) < self.min_replies:
            return None
        return MetricRecord(dict(self._add_up(good, len(good)).means()))


def read_replies(
    trip: Trip, length: int, names: Sequence[str]
) -> tuple[list[Contribution], dict[int, str]]:
    """Sort a trip's replies into good contributions and failures by node.

    Parameters
    ----------
    trip : Trip
        What came back.
    length : int
        Length that an update must have; 0 when only evaluating.
    names : sequence of str
        The sums that a reply must hold.
    """
    good: list[Contribution] = []
    failures: dict[int, str] = dict.fromkeys(trip.silent, Reason.NO_ANSWER)
    for reply in trip.replies:
        node = reply.metadata.src_node_id
        if reply.has_error():
            failures[node] = reason_of(reply)
            continue
        try:
            good.append(Contribution.from_record(reply.content, length, names))
        except MalformedReplyError:
            failures[node] = Reason.MALFORMED_REPLY
    return good, failures


def in_cohort_order(messages: Iterable[Message], cohort: Sequence[int]) -> list[Message]:
    """Undo the shuffle of Flower's sampling, so that the sum is taken in a repeatable order."""
    rank = {node: position for position, node in enumerate(cohort)}
    return sorted(messages, key=lambda message: rank[message.metadata.dst_node_id])
