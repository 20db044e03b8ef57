"""How long a trip waits: the slowest answer to its kind of message, with room to spare."""

from collections.abc import Iterable

# A node that is slower than before, for other work on its machine or a longer way, is seldom
# slower by more than this.
_ROOM = 4.0
# A SuperNode looks for messages every few seconds, and starts a process for each. What is quick
# by nature, as keys are, is not held to a multiple of nearly nothing; and a SuperLink that
# hangs for half a minute, or a node that comes back as soon, costs no attempt.
_LEAST_SECONDS = 60.0


class Deadlines:
    """Learn from the answers of a run how long to wait for the next ones.

    One silent client must not cost every trip the whole ``rounds.deadline_seconds``.
    """

    def __init__(self) -> None:
        self._slowest: dict[str, float] = {}

    def limit(self, kinds: Iterable[str], full: float) -> float:
        """Return how long to wait for answers to messages of these kinds.

        Parameters
        ----------
        kinds : iterable of str
            Message types of one trip. With one that nobody has answered yet it waits in full.
        full : float
            The most, in seconds.
        """
        slowest = max((self._slowest.get(kind, full) for kind in kinds), default=full)
        return min(full, max(_LEAST_SECONDS, _ROOM * slowest))

    def note(self, kind: str, seconds: float) -> None:
        """Note how long an answer took."""
        self._slowest[kind] = max(seconds, self._slowest.get(kind, 0.0))

    def forget(self) -> None:
        """Forget all answers: the next trip of each kind waits in full."""
        self._slowest.clear()
