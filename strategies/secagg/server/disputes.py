"""Who is at fault: pairs of nodes in dispute, and nodes that are proven liars.

Of a complaint nobody can tell whether the dealer sent a false share or the receiver lies, so
it names a pair (protocol, section 4). Two honest nodes are never in dispute: an honest node is
in dispute with at most c others, the liars, and one that is with more than c is a liar.
"""

from collections.abc import Iterable, Mapping


class Disputes:
    """The disputes and proven liars of a run, over all its attempts.

    Parameters
    ----------
    max_colluding : int
        c: at most so many nodes lie. With c = 0 one is still allowed for: nobody is called a
        liar for a single dispute.
    """

    def __init__(self, max_colluding: int) -> None:
        self._most = max(1, max_colluding)
        self._with: dict[int, set[int]] = {}
        self._proven: dict[int, str] = {}

    def add(self, node: int, peer: int) -> None:
        """Note that one of these two lies about the shares of one for the other."""
        self._with.setdefault(node, set()).add(peer)
        self._with.setdefault(peer, set()).add(node)

    def prove(self, node: int, why: str) -> None:
        """Note that a node has lied, which its own messages show."""
        self._proven.setdefault(node, why)

    @property
    def liars(self) -> Mapping[int, str]:
        """Return the nodes to leave out of the run, and what shows that they lie."""
        crowded = {
            node: f"in dispute with {len(peers)} peers, where {self._most} may collude"
            for node, peers in self._with.items()
            if len(peers) > self._most
        }
        return {**crowded, **self._proven}

    def sitting_out(self, complaints: Mapping[int, Iterable[int]]) -> frozenset[int]:
        """Return who cannot be a survivor of an attempt: the liars, and both of each pair.

        A pair with a liar in it is the liar's alone. `complaints` maps each node that sent an
        input to the peers that it did not mask with.
        """
        liars = set(self.liars)
        honest = {node: set(peers) - liars for node, peers in complaints.items()}
        pairs = {
            (node, peer)
            for node, peers in honest.items()
            for peer in peers
            if node not in liars and peer in complaints
        }
        return frozenset(liars.union(*pairs))
