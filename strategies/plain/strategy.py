"""Plain aggregation: the server sees every contribution. The baseline, one trip a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flwr.serverapp.strategy import FedAvg

from strategies.codec.codec import add_up, public_seed
from strategies.codec.run_state import RunState
from strategies.codec.stages import SumContext
from strategies.refusals import Reason, reason_of
from strategies.rounds.attempt import RoundAttempt, RoundResult, RunStoppedError
from strategies.rounds.records import (
    MalformedReplyError,
    from_record,
    model_messages,
    read_encoded,
)
from strategies.rounds.strategy import RoundStrategy
from strategies.rounds.transport import PollingGrid, Trip
from strategies.secagg.fields import AttemptId
from workloads.base import Workload
from workloads.values import Aggregate


class Plain(RoundStrategy):
    """Flower strategy that adds the contributions in the clear.

    Parameters
    ----------
    inner, min_replies, coding
        See ``RoundStrategy``.
    workload : Workload
        What is summed.
    run_id : int
        Flower's id of the run.
    node_encodes : bool
        Whether replies come encoded; else the server encodes them.
    """

    def __init__(
        self,
        inner: FedAvg,
        min_replies: int,
        coding: RunState,
        *,
        workload: Workload,
        run_id: int,
        node_encodes: bool = False,
    ) -> None:
        super().__init__(inner, min_replies, workload, coding)
        self._run_id = run_id
        self._node_encodes = node_encodes

    def _add_up(
        self, good: list[Any], server_round: int, num_asked: int, *, training: bool
    ) -> Aggregate:
        codec = self.coding.codec
        context = SumContext(
            seed=plain_seed(self._run_id, server_round),
            num_contributions=num_asked,
            num_survivors=len(good),
        )
        encoded = good
        if not self._node_encodes:
            encoded = [codec.encode(contribution, context) for contribution in good]
        has_metrics = self.coding.has_metrics(server_round, training=training)
        return add_up(codec, encoded, context, has_metrics=has_metrics)

    def train_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Send the model, add what comes back, and step."""
        return self._round(grid, asked, training=True)

    def evaluate_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Send the model and add up what it scores on the clients' held-out records."""
        return self._round(grid, asked, training=False)

    def _round(self, grid: PollingGrid, asked: RoundAttempt, *, training: bool) -> RoundResult:
        cohort = asked.draw(asked.number)
        try:
            self.coding.codec.check_fits(len(cohort))
        except ValueError as error:
            raise RunStoppedError(f"aggregation=plain: {error}") from None
        content = self.requests(asked.number, asked.state)
        messages = model_messages(content, cohort, training=training)
        self.note_release(asked, training=training)
        trip = grid.exchange(messages, asked.deadline_seconds, self.min_replies)
        good, failures = self._read(trip, self.workload.length(asked.state) if training else 0)
        num_asked = len(cohort)
        result = RoundResult(
            None, {}, num_asked, len(good), failures, frozenset(cohort) - failures.keys()
        )
        if len(good) < self.min_replies:
            return result
        aggregate = self._add_up(good, asked.number, num_asked, training=training)
        try:
            after = self.step(asked.number, asked.state, aggregate) if training else None
        except RunStoppedError as error:
            error.failures = failures
            raise
        means = self.workload.means(aggregate)
        survivors = tuple(sorted(result.answered))
        return replace(
            result, state=after, means=means, aggregate=aggregate, survivors=survivors
        )

    def _read(self, trip: Trip, length: int) -> tuple[list[Any], dict[int, str]]:
        """Read replies whose vectors have this length; 0 when only evaluating."""
        if self._node_encodes:
            codec = self.coding.codec
            return read_replies(trip, lambda record: read_encoded(record, codec, length))
        names = self.workload.sum_names(training=length > 0)
        return read_replies(trip, lambda record: from_record(record, length, names))


def plain_seed(run_id: int, server_round: int) -> bytes:
    """Return the public seed of a plain round, which has no attempts."""
    return public_seed(AttemptId(run_id, server_round, 0))


def read_replies(trip: Trip, read: Callable[[Any], Any]) -> tuple[list[Any], dict[int, str]]:
    """Sort a trip's replies into good contributions and failures by node.

    Parameters
    ----------
    trip : Trip
        What came back.
    read : callable
        Reads the content of one reply, or raises ``MalformedReplyError``.
    """
    good: list[Any] = []
    failures: dict[int, str] = dict.fromkeys(trip.silent, Reason.NO_ANSWER)
    for reply in trip.replies:
        node = reply.metadata.src_node_id
        if reply.has_error():
            failures[node] = reason_of(reply)
            continue
        try:
            good.append(read(reply.content))
        except MalformedReplyError:
            failures[node] = Reason.MALFORMED_REPLY
    return good, failures
