"""Who failed in a run, who is left out of it, and what a stop says of both."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass

from strategies.refusals import Reason, is_permanent

log = logging.getLogger("flwr.tacet")


@dataclass(frozen=True)
class LeftOut:
    """A client that is asked no more.

    Attributes
    ----------
    reason : str
        Why.
    server_round : int
        Since when.
    """

    reason: str
    server_round: int

    @property
    def is_for_good(self) -> bool:
        """Whether it stays out: who was silent may ask again."""
        return is_permanent(self.reason)


class Failures:
    """Note the failures of a run, attempt by attempt, and decide who is left out.

    A client that refuses for good stays out of the run. One that gave no answer in
    ``max_silent`` attempts in a row is out until it asks again. Flower has no message from a
    node to the server; what there is, is when the node came online: another time than at the
    last look means that it was started again, or is heard of again.

    Parameters
    ----------
    max_silent : int
        So many attempts in a row, at least 1.
    """

    def __init__(self, max_silent: int) -> None:
        self._max_silent = max_silent
        #: In the order in which it happened.
        self.left_out: dict[int, LeftOut] = {}
        self._silences: Counter[int] = Counter()
        self._activations: dict[int, str] = {}
        # Of this round: the number of each attempt that somebody failed in, and who did.
        self._round = 0
        self._attempts: dict[int, dict[int, str]] = {}

    def usable(self, activations: Mapping[int, str]) -> list[int]:
        """Return the nodes that may be asked, in their order.

        Parameters
        ----------
        activations : mapping
            Node id to when it came online, of the connected nodes.
        """
        for node, activated_at in activations.items():
            if self._activations.get(node, activated_at) == activated_at:
                continue
            del self._silences[node]
            if node in self.left_out and not self.left_out[node].is_for_good:
                del self.left_out[node]
                log.info("client %d came online again and takes part again", node)
        self._activations.update(activations)
        return [node for node in activations if node not in self.left_out]

    def note(
        self, server_round: int, attempt: int, failures: Mapping[int, str], answered: Set[int]
    ) -> None:
        """Note how an attempt went.

        Parameters
        ----------
        server_round, attempt : int
            Which attempt at which round.
        failures : mapping
            Node id to reason.
        answered : set
            Nodes whose contribution came. Keys alone are no answer: who sends them and is then
            silent costs every other round a deadline.
        """
        if server_round != self._round:
            self._round, self._attempts = server_round, {}
        if failures:
            self._attempts[attempt] = dict(failures)
        for node in answered - failures.keys():
            del self._silences[node]
        for node, reason in failures.items():
            self._note_failure(node, reason)

    def told_before(self, message: str) -> str:
        """Return why a run stops, after who was left out and who failed in this round.

        Of the attempts at the round the first is told, whose failures may be the cause of
        those that came later, and the last.
        """
        out = [
            f"client {node}: {left.reason} in round {left.server_round}"
            for node, left in self.left_out.items()
        ]
        told = [f"left out of the run: {', '.join(out)}"] if out else []
        numbers = list(self._attempts)
        for number in dict.fromkeys(numbers[:1] + numbers[-1:]):
            failed = [
                f"client {node}: {reason}"
                for node, reason in self._attempts[number].items()
                if node not in self.left_out
            ]
            if failed:
                which = f"attempt {number} at round {self._round}"
                told.append(f"failed in {which}: {', '.join(failed)}")
        return "; ".join([*told, message])

    def _note_failure(self, node: int, reason: str) -> None:
        if reason == Reason.NO_ANSWER:
            self._silences[node] += 1
        else:
            del self._silences[node]
        if is_permanent(reason):
            self._leave_out(node, reason, "the details are in its own log")
        elif self._silences[node] >= self._max_silent:
            self._leave_out(
                node,
                reason,
                f"rounds.max_silent={self._max_silent} attempts in a row; it takes part again"
                " when its SuperNode is started again or comes back online",
            )
        else:
            log.warning("round %d: client %d failed: %s", self._round, node, reason)

    def _leave_out(self, node: int, reason: str, more: str) -> None:
        if node not in self.left_out:
            self.left_out[node] = LeftOut(str(reason), self._round)
            log.warning("client %d is left out of the run: %s (%s)", node, reason, more)
