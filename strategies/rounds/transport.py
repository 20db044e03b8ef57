"""Send a trip's messages and collect the replies, with a deadline and short waits.

Flower's own ``send_and_receive`` sleeps 3 s between looks in a deployment; a trip whose replies
are there at once would still cost 3 s (protocol, section 8).
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from flwr.app import Message
from flwr.serverapp import Grid

from strategies.rounds.deadlines import Asked, Deadlines
from strategies.rounds.published import PublishedFigures
from strategies.rounds.traffic import Traffic

log = logging.getLogger("flwr.tacet")

_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0
# A wait is this share of the time since sending, so that looking late costs as much at most.
_WAIT_SHARE = 0.05
_SETTLE_SECONDS = 0.4
_SETTLED_LOOKS = 2
_ARRIVAL_SECONDS = 10.0
_MOST_PUSHES = 3
# While messages wait for others to be answered, a look that is late costs workers their time.
_QUEUE_WAIT_SECONDS = 0.05
# Flower refuses a message that does not live at all.
_LEAST_TTL_SECONDS = 1.0
# Replies are fetched together up to so many bytes, where their size is known.
_FETCHED_BYTES = 64 << 20

Take = Callable[[int, Message], object]


@dataclass(frozen=True)
class Trip:
    """The replies of one trip.

    Attributes
    ----------
    replies : list of Message
        The replies, in the order of the nodes asked; none where each was taken as it came.
    silent : list of int
        Nodes that did not answer before the deadline.
    """

    replies: list[Message]
    silent: list[int]


@dataclass(frozen=True)
class _Waits:
    """Since when a trip waits, and until when: longer while it lacks answers.

    ``began_at`` is when it began as Flower's messages tell the time, in seconds since 1970.
    """

    began_at: float
    started: float
    limit: float
    full: float
    enough: int

    def left(self, now: float, num_good: int) -> float:
        """Return the seconds that are left with so many good answers."""
        return self.started + (self.limit if num_good >= self.enough else self.full) - now


class PollingGrid:
    """Flower grid with deadlines, which counts its trips, their bytes and their time.

    Parameters
    ----------
    grid : Grid
        Flower's grid.
    sleep, clock
        Replaced in tests.
    settle_seconds : float
        Seconds between two looks for simulated nodes that are still arriving.
    window : int, optional
        The most messages that are under way at a time; None for no bound. For simulations,
        whose few workers answer one message after the other however many wait: Flower looks
        through all of those for each node, again and again.
    """

    def __init__(
        self,
        grid: Grid,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        settle_seconds: float = _SETTLE_SECONDS,
        window: int | None = None,
    ) -> None:
        self._grid = grid
        self._sleep = sleep
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._window = window
        self.num_trips = 0
        self.traffic = Traffic()
        self.published = PublishedFigures()
        self._deadlines = Deadlines()
        # What was last said of waiting, so that it is said once.
        self._told: tuple[int, int] | None = None
        self._has_told_of_limit = False

    def activations(self) -> dict[int, str]:
        """Return when each connected node came online, the longest registered first.

        The ids are random in every run; the order of registration is what repeats. The time
        is another one once a node was started again, or was heard of again after it was lost.
        """
        nodes = sorted(self._grid.get_nodes(), key=lambda n: (n.registered_at, n.node_id))
        return {node.node_id: node.last_activated_at for node in nodes}

    def connected_nodes(self) -> list[int]:
        """Return the ids of the connected nodes, the longest registered first."""
        return list(self.activations())

    def wait_for_nodes(self, min_nodes: int, deadline_seconds: float) -> list[int]:
        """Wait until enough nodes are connected; no wait if they are.

        Returns
        -------
        list of int
            The connected nodes; fewer than ``min_nodes`` if the deadline passed.
        """
        end = self._clock() + deadline_seconds
        nodes = self.connected_nodes()
        if len(nodes) < min_nodes and (len(nodes), min_nodes) != self._told:
            log.info("waiting for clients: %d of %d are connected", len(nodes), min_nodes)
            self._told = len(nodes), min_nodes
        while len(nodes) < min_nodes and self._clock() < end:
            self._sleep(_LONGEST_WAIT_SECONDS)
            nodes = self.connected_nodes()
        return nodes

    def wait_until_settled(self, min_nodes: int) -> list[int]:
        """Wait until no more nodes arrive, as at the start of a simulation.

        Flower registers simulated nodes while the ServerApp is loading; on a busy machine the
        last ones come late.

        Parameters
        ----------
        min_nodes : int
            Fewer than this are given more time, though not for ever.

        Returns
        -------
        list of int
            The connected nodes.
        """
        end = self._clock() + _ARRIVAL_SECONDS
        nodes, num_same_looks = self.connected_nodes(), 0
        while num_same_looks < _SETTLED_LOOKS or (
            len(nodes) < min_nodes and self._clock() < end
        ):
            self._sleep(self._settle_seconds)
            before, nodes = nodes, self.connected_nodes()
            num_same_looks = num_same_looks + 1 if nodes == before else 0
        return nodes

    def exchange(
        self,
        messages: Iterable[Message],
        deadline_seconds: float,
        enough: int = 0,
        take: Take | None = None,
        reply_bytes: int = 0,
        asked: Sequence[Asked] | None = None,
    ) -> Trip:
        """Send the messages and wait for all replies, or until the deadline.

        Once such messages have been answered in this run, and enough answers are there, the
        deadline is a multiple of the slowest answer, if that is less. A message lives until the
        full deadline.

        Parameters
        ----------
        messages : iterable of Message
            At most one for each node.
        deadline_seconds : float
            How long to wait for the slowest node at most.
        enough : int
            With fewer answers the whole deadline is waited for.
        take : callable, optional
            Called with the node that was asked and its reply, as each comes, errors too. Then
            no reply is kept, so that large ones are not all in memory.
        reply_bytes : int
            How large a reply is, if known: of large ones few are fetched at a time.
        asked : sequence of Asked, optional
            Node and type of each message. With it a message is made when it is pushed, and not
            kept: those that wait for others take no memory.
        """
        if asked is None:
            messages = list(messages)
            asked = [(m.metadata.dst_node_id, m.metadata.message_type) for m in messages]
        limit = self._deadlines.limit(set(asked), deadline_seconds)
        waits = _Waits(time.time(), self._clock(), limit, deadline_seconds, enough)
        self.num_trips += 1
        replies: dict[int, Message] = {}
        answered: set[int] = set()
        try:
            for node, reply in self._collect(iter(messages), len(asked), waits, reply_bytes):
                answered.add(node)
                (take or replies.__setitem__)(node, reply)
                del reply
        finally:
            ended = self._clock()
            if asked:
                self.traffic.note_seconds(asked[0][1], ended - waits.started)
        order = [node for node, _ in asked]
        silent = [node for node in order if node not in answered]
        if silent and ended < waits.started + deadline_seconds:
            self._tell_of_limit(limit, deadline_seconds)
        return Trip([replies[node] for node in order if node in replies], silent)

    def _push(self, sent: list[Message]) -> list[str]:
        """Push messages, and again if Flower lost count of their parts.

        A SuperLink that hung has taken a part whose push its client has given up and repeats,
        and then says that it awaits none. Pushed anew, messages are the same ones to it.
        """
        for _ in range(_MOST_PUSHES - 1):
            try:
                return list(self._grid.push_messages(sent))
            except Exception as error:
                # By its name, for its module is Flower's own and moves.
                if type(error).__name__ != "ObjectPushError":
                    raise
                log.warning("the messages of a trip are pushed again: %s", error)
        return list(self._grid.push_messages(sent))

    def _collect(
        self, messages: Iterator[Message], num_left: int, waits: _Waits, reply_bytes: int
    ) -> Iterator[tuple[int, Message]]:
        """Push messages, and yield each reply as it comes with the node that was asked."""
        waiting: dict[str, Asked] = {}
        num_good = 0
        while num_left or waiting:
            num_left -= self._fill(waiting, messages, num_left, waits)
            num_waiting = len(waiting)
            for (node, kind), reply in self._pull(waiting, reply_bytes):
                # An error may be Flower's own, and a refusal is quicker than the work.
                if not reply.has_error():
                    num_good += 1
                    self._deadlines.note(kind, self._clock() - waits.started)
                self.traffic.note_replies([reply])
                self.published.note({node: reply})
                yield node, reply
                # What was taken may be large, and the next one is fetched before it is named.
                del reply
            now = self._clock()
            left = waits.left(now, num_good)
            if not (waiting or num_left) or left <= 0:
                break
            if num_left and len(waiting) < num_waiting:
                continue
            wait = max(_FIRST_WAIT_SECONDS, _WAIT_SHARE * (now - waits.started))
            longest = _QUEUE_WAIT_SECONDS if num_left else _LONGEST_WAIT_SECONDS
            self._sleep(min(wait, longest, left))

    def _fill(
        self,
        waiting: dict[str, Asked],
        messages: Iterator[Message],
        num_left: int,
        waits: _Waits,
    ) -> int:
        """Push the next messages, as many as may be under way, and return their number."""
        most = num_left if self._window is None else self._window - len(waiting)
        batch = list(islice(messages, max(0, min(most, num_left))))
        if not batch:
            return 0
        for message in batch:
            # All of a trip live until it ends at the latest, whenever they are made.
            age = message.metadata.created_at - waits.began_at
            message.metadata.ttl = max(_LEAST_TTL_SECONDS, waits.full - max(0.0, age))
        asked = [(m.metadata.dst_node_id, m.metadata.message_type) for m in batch]
        # Flower gives None for a message that it could not push.
        waiting.update({i: one for i, one in zip(self._push(batch), asked, strict=True) if i})
        self.traffic.note_sent(batch)
        return len(batch)

    def _pull(
        self, waiting: dict[str, Asked], reply_bytes: int
    ) -> Iterator[tuple[Asked, Message]]:
        """Yield who has answered what, each with the reply.

        They leave ``waiting``. Large replies are fetched few at a time, each batch when those
        before have been taken.
        """
        ids, most = list(waiting), max(1, _FETCHED_BYTES // max(1, reply_bytes))
        for start in range(0, len(ids), most):
            found = list(self._grid.pull_messages(ids[start : start + most]))
            # From the last to the first, so that each can go when it is taken.
            found.reverse()
            while found:
                # To the node that was asked, whatever the reply says of itself.
                asked = waiting.pop(found[-1].metadata.reply_to_message_id, None)
                if asked is None:
                    found.pop()
                else:
                    yield asked, found.pop()

    def _tell_of_limit(self, limit: float, full: float) -> None:
        """Log, once in a run, that a trip ended early for someone."""
        if not self._has_told_of_limit:
            log.info(
                "a trip ended after %.0f seconds without an answer from everyone, not after"
                " rounds.deadline_seconds=%g: enough had answered, and no answer so far took"
                " nearly as long; so may others of this run",
                limit,
                full,
            )
        self._has_told_of_limit = True
