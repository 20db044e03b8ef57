"""The graph of who masks with whom, its thresholds and the requirements of section 4.

A node's neighbourhood is closed: m members, itself among them. The graph is complete (m = n)
unless a sparse one is asked for, which a malicious server can draw again until a node's
neighbours suit it, and up to 32 nodes always. On a sparse one each node has an even number k
of neighbours (m = k + 1): the nodes are put on a ring in an order drawn from the
hash of all adverts, and each is joined to the k / 2 next on either side; `degree` says how many
they must be.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from strategies.secagg.crypto.keys import Use, derive
from strategies.secagg.degree import choose_num_neighbors, least_threshold

COMPLETE_UP_TO = 32


@dataclass(frozen=True)
class Shape:
    """The graph of one roster: n members, k neighbours each, threshold t.

    Where keys are dealt, and not seeds, `num_packed` are the entries in each polynomial.
    """

    num_members: int
    num_neighbors: int
    threshold: int
    num_packed: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether everyone masks with everyone."""
        return self.num_neighbors == self.num_members - 1

    def brings_secret(self, dealer: int, receiver: int) -> bool:
        """Say whether a dealer's row brings the pair's secret: the lower node's, for masks."""
        return dealer < receiver and not self.num_packed


@dataclass(frozen=True, kw_only=True)
class ProtocolParameters:
    """The public numbers of the protocol, fixed for a run.

    Parameters
    ----------
    min_survivors : int or None
        T: a sum over fewer survivors is never opened. None takes floor(2n/3) + 1 for a
        roster of n members, which on the complete graph is the default threshold.
    max_colluding : int
        c: the clients that may collude with the server.
    threshold : int or None
        t; None takes floor(2n/3) + 1 on the complete graph, and on a sparse one
        `degree.least_threshold` of the m members of a neighbourhood.
    is_sparse : bool
        Whether each node has only the k neighbours of `choose_num_neighbors` where there are
        more than 32 members.
    max_dropout_fraction : float
        The share of dropouts for which k is chosen; used only on a sparse graph.
    is_hybrid : bool
        Whether keys are agreed by X25519 and ML-KEM-768, or by X25519 alone.
    """

    min_survivors: int | None
    max_colluding: int
    threshold: int | None = None
    is_sparse: bool = False
    max_dropout_fraction: float = 0.1
    is_hybrid: bool = True

    def __post_init__(self) -> None:
        if self.max_colluding < 0 or not (
            self.min_survivors is None or self.min_survivors >= 2
        ):
            raise ValueError(
                f"max_colluding={self.max_colluding} must be at least 0 and "
                f"min_survivors={self.min_survivors} at least 2"
            )
        if self.threshold is not None and self.threshold < 2:
            raise ValueError(f"threshold={self.threshold} must be at least 2")
        if not 0 <= self.max_dropout_fraction < 1:
            raise ValueError(
                f"max_dropout_fraction={self.max_dropout_fraction} is not in [0, 1)"
            )

    def to_bytes(self) -> bytes:
        """Return canonical bytes, which a node pins at its first contact with a run."""
        return struct.pack(
            ">III?d?",
            self.min_survivors or 0,
            self.max_colluding,
            self.threshold or 0,
            self.is_sparse,
            self.max_dropout_fraction,
            self.is_hybrid,
        )

    def shape(self, num_members: int) -> Shape:
        """Return the graph for a roster of n members.

        Raises
        ------
        ValueError
            Where section 4 does not hold; names the values and the mend.
        """
        n, c = num_members, self.max_colluding
        if n < c + 2:
            raise ValueError(
                f"a cohort of {n} is under max_colluding + 2 = {c + 2}: "
                "sample more nodes or lower max_colluding"
            )
        if n < self.survivors(n):
            raise ValueError(
                f"a cohort of {n} is under min_survivors={self.min_survivors}: "
                "sample more nodes or lower min_survivors"
            )
        k = self._num_neighbors(n)
        t = self.threshold or (
            default_threshold(n) if k == n - 1 else least_threshold(k + 1, c)
        )
        self._check_threshold(k + 1, t, self.survivors(n))
        return Shape(n, k, t)

    def _num_neighbors(self, n: int) -> int:
        if not self.is_sparse or n <= COMPLETE_UP_TO:
            return n - 1
        least = self.survivors(n)
        # 0.29 * 100 is a little under 29 in floats. With more than T allows the attempt is lost
        # however many neighbours there are.
        dropouts = min(int(round(self.max_dropout_fraction * n, 6)), n - least)
        return choose_num_neighbors(n, self.max_colluding, self.threshold, dropouts, least)

    def key_shape(self, num_members: int) -> Shape:
        """Return the graph for a roster whose members deal keys: a complete one.

        A member gives one share of the sum over all survivors, and so must hold one of each.
        Two views of an attempt may find honest givers, one of all that shared and one that is
        signed: then of one of them at most n + c - t shares are known, the colluders' among
        them, and so many must hide every entry. So l = 2t - n - c entries are in a polynomial
        of degree below t; see ``docs/homomorphic.md``.

        Raises
        ------
        ValueError
            As `shape`.
        """
        whole = replace(self, is_sparse=False).shape(num_members)
        most = 2 * whole.threshold - num_members - self.max_colluding
        return replace(whole, num_packed=min(most, whole.threshold - 1))

    def survivors(self, num_members: int) -> int:
        """Return T for a roster of n members."""
        return self.min_survivors or default_threshold(num_members)

    def floor(self, num_members: int) -> int:
        """Return how many members must be left: T, and two that are honest; n may be 0."""
        return max(self.survivors(num_members), self.max_colluding + 2)

    def quorum(self, shape: Shape) -> int:
        """Return q: the signatures that show one view of the attempt to a node.

        Two sets of q members of the roster have an honest member in common, as 2q > n + c. It
        is t on the complete graph.
        """
        return max(shape.threshold, (shape.num_members + self.max_colluding) // 2 + 1)

    def _check_threshold(self, m: int, t: int, minimum: int) -> None:
        c = self.max_colluding
        named = f"threshold={t} with {m} members in a neighbourhood and max_colluding={c}"
        low, high = (m + c) // 2 + 1, m
        if t > m:
            raise ValueError(f"{named}: more than the members; take {low} to {high}")
        if 2 * t <= m + c:
            raise ValueError(
                f"{named}: a server could learn both seeds of a node, as 2t <= m + c; "
                f"take a threshold from {low} to {high}"
            )
        if c >= t:
            raise ValueError(f"{named}: the colluders alone reach it; take more than {c}")
        if minimum < t:
            raise ValueError(
                f"min_survivors={minimum} is under threshold={t}: such a sum could not be "
                f"opened; take min_survivors={t} or more, or a lower threshold"
            )


def default_threshold(num_members: int) -> int:
    """Return floor(2n/3) + 1 for a complete graph of n members (3: 3, 4: 3, 5: 4)."""
    return 2 * num_members // 3 + 1


def _numbers(seed: bytes) -> Iterator[int]:
    """Yield 64-bit integers of an AES-128-CTR stream."""
    stream = Cipher(
        algorithms.AES128(derive(seed, Use.GRAPH)), modes.CTR(bytes(16))
    ).encryptor()
    while True:
        yield from struct.unpack(">512Q", stream.update(bytes(4096)))


def _permutation(n: int, seed: bytes) -> list[int]:
    """Return a uniform permutation (Fisher-Yates, with rejection, so without bias)."""
    order = list(range(n))
    numbers = _numbers(seed)
    for i in range(n - 1, 0, -1):
        bound = 2**64 - 2**64 % (i + 1)
        j = next(number for number in numbers if number < bound) % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


@lru_cache(maxsize=8)
def _ring(n: int, seed: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    order = _permutation(n, seed)
    place = [0] * n
    for at, member in enumerate(order):
        place[member] = at
    return tuple(order), tuple(place)


def neighborhood(shape: Shape, seed: bytes, member: int) -> tuple[int, ...]:
    """Return the closed neighbourhood of one member, ascending.

    Parameters
    ----------
    shape : Shape
        The roster's graph.
    seed : bytes
        `messages.adverts_hash` of the roster, so that nobody chooses the graph.
    member : int
        Position in the roster, from 0; so are the results.
    """
    if shape.is_complete:
        return tuple(range(shape.num_members))
    order, place = _ring(shape.num_members, seed)
    return tuple(sorted(_arc(order * 3, place[member], shape)))


def neighborhoods(shape: Shape, seed: bytes, nodes: Sequence[int]) -> list[frozenset[int]]:
    """Return the closed neighbourhood of every node, as `neighborhood` does for one member.

    `nodes` are the roster's, by their position in it.
    """
    if shape.is_complete:
        return [frozenset(nodes)] * len(nodes)
    order, place = _ring(shape.num_members, seed)
    ring = [nodes[member] for member in order] * 3
    return [frozenset(_arc(ring, at, shape)) for at in place]


def _arc(three_rings: Sequence[int], at: int, shape: Shape) -> Sequence[int]:
    """Return who stands around a place on the ring, which begins again at either end."""
    first = shape.num_members + at - shape.num_neighbors // 2
    return three_rings[first : first + shape.num_neighbors + 1]
