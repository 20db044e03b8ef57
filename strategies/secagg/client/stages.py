"""The client's stage machine over a store: look, move by compare-and-set, close."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from strategies.secagg.client.checks import ProtocolRefusedError, require
from strategies.secagg.client.store import ENDED, Change, Record, Store
from strategies.secagg.client.transitions import FINAL, OPEN, Event, Stage, step
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.reasons import RefusalReason
from strategies.secagg.wire import Wire

Records = Mapping[AttemptId, Record]


class Stages:
    """The attempts of one run at one node; parameters as in `client.ClientRole`."""

    def __init__(
        self,
        store: Store,
        run_id: int,
        parameters: ProtocolParameters,
        lifetime_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._store, self._run_id = store, run_id
        self._parameters = hashlib.sha256(parameters.to_bytes()).digest()
        self._lifetime, self._clock = lifetime_seconds, clock

    def expire(self) -> None:
        """Delete the secrets, of every run, whose time is over."""
        self._store.expire(self._clock())

    def compact(self) -> None:
        """Forget what runs that are over need no more; not often, as it looks at all of it."""
        self._store.compact(self._clock())

    def records(self, attempts: Sequence[AttemptId], model: bytes = b"") -> Records:
        """Return what a message about `attempts`, the first above all, depends on.

        See `Store.records`. Refuse unless run and parameters are the known ones.
        """
        ours = attempts[0].run_id == self._run_id
        require(ours, RefusalReason.UNKNOWN_ATTEMPT, "another run")
        records = self._store.records(self._run_id, attempts, model)
        over = any(record.terms == ENDED for record in records.values())
        require(not over, RefusalReason.RUN_OVER, "nothing has happened in it for too long")
        # Each was made under the parameters of those before it, so that one stands for all.
        same = all(record.terms == self._parameters for record in records.values())
        require(same, RefusalReason.TERMS_CHANGED)
        return records

    def move(
        self,
        records: Records,
        attempt: AttemptId,
        event: Event,
        secrets: Wire | None,
        model: bytes = b"",
    ) -> Change:
        """Return the change that `event` makes to an attempt, or refuse."""
        stage, after = self.check(records, attempt, event)
        if not model and attempt in records:
            model = records[attempt].model
        kept = secrets.encode() if secrets is not None else b""
        expires = self._clock() + self._lifetime
        return Change(attempt, stage, Record(after, expires, self._parameters, model, kept))

    def check(self, records: Records, attempt: AttemptId, event: Event) -> tuple[Stage, Stage]:
        """Return the stage before and after `event`, or refuse."""
        require(attempt.run_id == self._run_id, RefusalReason.UNKNOWN_ATTEMPT, "another run")
        stage = records[attempt].stage if attempt in records else Stage.NONE
        after = step(stage, event)
        if isinstance(after, RefusalReason):
            raise ProtocolRefusedError(after, f"{event.name} at {stage.name}")
        return stage, after

    def commit(self, changes: Iterable[Change]) -> None:
        """Make all changes or refuse: another message has moved one of these attempts."""
        done = self._store.advance(list(changes))
        require(done, RefusalReason.WRONG_STAGE, "lost a race")

    def close(self, attempts: Iterable[AttemptId]) -> None:
        """Delete the secrets of attempts, whatever other messages do meanwhile."""
        for attempt in attempts:
            while attempt.run_id == self._run_id:
                record = self._store.records(self._run_id, [attempt]).get(attempt)
                if record is None or record.stage in FINAL:
                    break
                if self._store.advance([Change(attempt, record.stage, record.closed())]):
                    break

    @staticmethod
    def closing_others(records: Records, attempt: AttemptId) -> list[Change]:
        """Return the changes that close every other open attempt."""
        return [
            Change(other, record.stage, record.closed())
            for other, record in records.items()
            if other != attempt and record.stage in OPEN
        ]

    @staticmethod
    def closing_retried(records: Records, attempt: AttemptId, model: bytes) -> list[Change]:
        """Return the changes that close the open attempts that trained on this model before."""
        return [
            change
            for change in Stages.closing_others(records, attempt)
            if change.record.model == model
        ]
