"""How long a trip waits: the slowest answer to its kind of message, with room to spare."""

from collections.abc import Collection

# A node that is slower than before, for other work on its machine or a longer way, is seldom
# slower by more than this.
_ROOM = 4.0
# A SuperNode looks for messages every few seconds, and starts a process for each. What is quick
# by nature, as keys are, is not held to a multiple of nearly nothing; and a SuperLink that
# hangs for half a minute, or a node that comes back as soon, costs no attempt.
_LEAST_SECONDS = 60.0

#: A node and the type of the message to it.
Asked = tuple[int, str]


class Deadlines:
    """Learn from the answers of a run how long to wait for the next ones.

    One silent client must not cost every trip the whole ``rounds.deadline_seconds``.
    """

    def __init__(self) -> None:
        self._slowest: dict[str, float] = {}
        self._asked: set[Asked] = set()

    def limit(self, asked: Collection[Asked], full: float) -> float:
        """Return how long to wait for a trip's answers once enough have come; note the trip.

        Parameters
        ----------
        asked : collection of Asked
            All of the trip. If one of them is asked for the first time, it gets all the time:
            nobody knows yet how slow it is.
        full : float
            The most, in seconds.
        """
        is_known = self._asked.issuperset(asked)
        self._asked.update(asked)
        if not is_known:
            return full
        slowest = max((self._slowest.get(kind, full) for _, kind in asked), default=full)
        return min(full, max(_LEAST_SECONDS, _ROOM * slowest))

    def note(self, kind: str, seconds: float) -> None:
        """Note how long an answer took."""
        self._slowest[kind] = max(seconds, self._slowest.get(kind, 0.0))
