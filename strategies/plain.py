"""Plain aggregation: the server sees every update. The baseline, one trip a round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord

from strategies.base import CohortGrid, RoundResult, RoundStrategy
from strategies.contribution import Contribution, MalformedReplyError, add_up
from strategies.grid import PollingGrid, Trip
from strategies.refusals import Reason, reason_of


class Plain(RoundStrategy):
    """Add the contributions as they come.

    Also works with Flower's own loop (``Plain(...).start(...)``).
    """

    def train_round(
        self,
        grid: PollingGrid,
        cohort: Sequence[int],
        server_round: int,
        arrays: ArrayRecord,
        deadline_seconds: float,
    ) -> RoundResult:
        """Send the model, add what comes back, and step."""
        messages = self.configure_train(
            server_round, arrays, ConfigRecord(), CohortGrid(cohort)
        )
        trip = grid.exchange(in_cohort_order(messages, cohort), deadline_seconds)
        good, failures = read_replies(trip, _size(arrays))
        if len(good) < self.min_replies:
            return RoundResult(None, {}, len(cohort), len(good), failures)
        aggregate = add_up(good)
        after = self.step(server_round, aggregate)
        return RoundResult(after, aggregate.means(), len(cohort), len(good), failures)

    def evaluate_round(
        self,
        grid: PollingGrid,
        cohort: Sequence[int],
        server_round: int,
        arrays: ArrayRecord,
        deadline_seconds: float,
    ) -> RoundResult:
        """Send the model and add up what it scores on the clients' held-out records."""
        messages = self.configure_evaluate(
            server_round, arrays, ConfigRecord(), CohortGrid(cohort)
        )
        trip = grid.exchange(in_cohort_order(messages, cohort), deadline_seconds)
        good, failures = read_replies(trip, 0)
        means = add_up(good).means() if len(good) >= self.min_replies else {}
        return RoundResult(None, means, len(cohort), len(good), failures)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate and step (Flower's interface)."""
        size = _size(self._sent) if self._sent is not None else 0
        good, _ = read_replies(Trip(list(replies), []), size)
        if len(good) < self.min_replies:
            return None, None
        aggregate = add_up(good)
        return self.step(server_round, aggregate), MetricRecord(dict(aggregate.means()))

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Aggregate the metrics (Flower's interface)."""
        good, _ = read_replies(Trip(list(replies), []), 0)
        if len(good) < self.min_replies:
            return None
        return MetricRecord(dict(add_up(good).means()))


def read_replies(
    trip: Trip, num_parameters: int
) -> tuple[list[Contribution], dict[int, Reason]]:
    """Sort a trip's replies into good contributions and failures by node.

    Parameters
    ----------
    trip : Trip
        What came back.
    num_parameters : int
        Length that an update must have; 0 when only evaluating.
    """
    good: list[Contribution] = []
    failures = dict.fromkeys(trip.silent, Reason.NO_ANSWER)
    for reply in trip.replies:
        node = reply.metadata.src_node_id
        if reply.has_error():
            failures[node] = reason_of(reply)
            continue
        try:
            good.append(Contribution.from_record(reply.content, num_parameters))
        except MalformedReplyError:
            failures[node] = Reason.MALFORMED_REPLY
    return good, failures


def in_cohort_order(messages: Iterable[Message], cohort: Sequence[int]) -> list[Message]:
    """Undo the shuffle of Flower's sampling, so that the sum is taken in a repeatable order."""
    rank = {node: position for position, node in enumerate(cohort)}
    return sorted(messages, key=lambda message: rank[message.metadata.dst_node_id])


def _size(arrays: ArrayRecord) -> int:
    """Return the number of parameters."""
    return sum(array.numpy().size for array in arrays.values())
