"""Packed Shamir sharing of vectors of small numbers over the prime 2^31 - 1.

Franklin and Yung, Communication complexity of secure computation, STOC 1992. A polynomial of
degree below t carries l entries as its values at -1 ... -l. Member number i of a roster, from 1
up, holds its value at i. Any t values give it back, and any t - l of them are uniform, whatever
the entries are. Sums of shares are shares of sums. More than t values are a codeword of Reed
and Solomon: false ones among them show, and up to half of what is more than t are found.

Everything is done for all polynomials at once, as products of matrices in float64: both factors
are cut in halves of 16 bits, so that each sum is below 2^53 and exact.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.crypto.decoding import false_places

PRIME = 2**31 - 1
#: Bytes of one share of one polynomial.
SHARE_BYTES = 4

RandomBytes = Callable[[int], bytes]
Elements = NDArray[np.uint64]

_P = np.uint64(PRIME)
_HALF_BITS = np.uint64(16)
_LOW = np.uint64(0xFFFF)


class FalseAnswersError(ValueError):
    """Shares that lie on no polynomial, and too many of which are false to tell which."""


@dataclass(frozen=True)
class Packing:
    """How vectors are dealt among the members of a roster.

    Attributes
    ----------
    num_values : int
        Entries of a vector.
    num_packed : int
        l: entries of each polynomial, at least 1.
    threshold : int
        t: shares that give it back, at least l + 1.
    num_members : int
        n, at least t.
    """

    num_values: int
    num_packed: int
    threshold: int
    num_members: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_packed < self.threshold <= self.num_members:
            raise ValueError(
                f"{self.num_packed} entries a polynomial, threshold {self.threshold} and"
                f" {self.num_members} members: each must be below or, the last two, at most the"
                " next, and the first at least 1"
            )

    @property
    def num_polynomials(self) -> int:
        """Return how many polynomials a vector takes."""
        return -(-self.num_values // self.num_packed)

    @property
    def share_bytes(self) -> int:
        """Return the bytes of what one member holds of one vector."""
        return SHARE_BYTES * self.num_polynomials

    @property
    def places(self) -> tuple[int, ...]:
        """Return where the entries stand."""
        return tuple(range(-1, -self.num_packed - 1, -1))


def deal(
    values: NDArray[np.integer], packing: Packing, random_bytes: RandomBytes
) -> NDArray[np.uint32]:
    """Deal a vector.

    Parameters
    ----------
    values : ndarray of shape (num_values,), signed
        Each far below 2^30 in magnitude, and so is what sums of them are.
    packing : Packing
        Among whom.
    random_bytes : callable
        Uniform secret bytes.

    Returns
    -------
    ndarray of shape (n, polynomials), uint32
        Row i - 1 is what member number i holds.
    """
    count, known = packing.num_polynomials, packing.threshold - packing.num_packed
    entries = np.zeros(count * packing.num_packed, np.int64)
    entries[: packing.num_values] = values
    # The first t - l shares are drawn, and the polynomial goes through them and the entries.
    drawn = _uniform(known * count, random_bytes).reshape(known, count)
    given = np.concatenate(
        [np.mod(entries, PRIME).reshape(count, -1).T.astype(np.uint64), drawn]
    )
    first, last = tuple(range(1, known + 1)), packing.num_members + 1
    matrix = interpolation((*packing.places, *first), tuple(range(known + 1, last)))
    shares = np.concatenate([drawn, multiply(matrix, given)]).astype(np.uint32)
    entries[:] = 0
    given[:] = 0
    return shares


def is_share(data: bytes, packing: Packing) -> bool:
    """Say whether bytes are what one member may hold of a vector."""
    if len(data) != packing.share_bytes:
        return False
    return int(np.frombuffer(data, "<u4").max()) < PRIME


def add_shares(shares: Sequence[bytes]) -> bytes:
    """Return what one member holds of the sum of vectors, from what it holds of each."""
    total = np.zeros(len(shares[0]) // SHARE_BYTES, np.uint64)
    for share in shares:
        total += np.frombuffer(share, "<u4")
    return (total % _P).astype("<u4").tobytes()


@dataclass(frozen=True)
class Opened:
    """A vector, and the members whose shares do not fit the others'.

    Attributes
    ----------
    values : ndarray of shape (num_values,), int64
        From -(p - 1) / 2 to (p - 1) / 2.
    misfits : tuple of int
        Their numbers, ascending.
    """

    values: NDArray[np.int64]
    misfits: tuple[int, ...]


def open_vector(
    shares: dict[int, bytes], packing: Packing, random_bytes: RandomBytes
) -> Opened:
    """Open a vector from at least t shares, of which some may be false.

    Parameters
    ----------
    shares : dict of int to bytes
        By the number of the member; each is `is_share`.
    packing : Packing
        As it was dealt.
    random_bytes : callable
        Secret from whoever gave a share.

    Raises
    ------
    ValueError
        If they are fewer than t.
    FalseAnswersError
        If they do not fit each other, and it cannot be told which are false. With t shares
        alone any vector fits, so that a false one shows in the vector only.
    """
    points = tuple(sorted(shares))
    table = np.stack([np.frombuffer(shares[i], "<u4") for i in points]).astype(np.uint64)
    threshold = packing.threshold
    if len(points) < threshold:
        raise ValueError(f"{len(points)} shares where {threshold} open a vector")
    misfits: tuple[int, ...] = ()
    if not _fits(points, table, threshold):
        weights = _uniform(table.shape[1], random_bytes)
        # A word of the same code: what is false in any polynomial is false in it, but for a
        # chance of 2^-31.
        word = multiply(table, weights[:, None])[:, 0]
        false = false_places(points, word.tolist(), threshold, PRIME)
        good = [at for at in range(len(points)) if at not in false]
        misfits = tuple(points[at] for at in sorted(false))
        points, table = tuple(points[at] for at in good), table[good]
        if not false or len(points) < threshold or not _fits(points, table, threshold):
            raise FalseAnswersError(f"the {len(shares)} shares do not fit each other")
    matrix = interpolation(points[:threshold], packing.places)
    entries = multiply(matrix, table[:threshold]).T.reshape(-1)[: packing.num_values]
    values = entries.astype(np.int64)
    return Opened(np.where(values > PRIME // 2, values - PRIME, values), misfits)


def _fits(points: tuple[int, ...], table: Elements, threshold: int) -> bool:
    """Say whether shares lie on polynomials of degree below t."""
    matrix = interpolation(points[:threshold], points[threshold:])
    return np.array_equal(multiply(matrix, table[:threshold]), table[threshold:])


def multiply(one: Elements, other: Elements) -> Elements:
    """Return a product of matrices modulo p, of elements below p; exact for 2^20 terms."""
    parts = [(values >> _HALF_BITS, values & _LOW) for values in (one, other)]
    (a_high, a_low), (b_high, b_low) = (
        (high.astype(np.float64), low.astype(np.float64)) for high, low in parts
    )
    high, low = ((a @ b).astype(np.uint64) for a, b in ((a_high, b_high), (a_low, b_low)))
    middle = (a_high @ b_low + a_low @ b_high).astype(np.uint64) % _P
    # 2^32 is 2 modulo p.
    return (np.uint64(2) * high + (middle << _HALF_BITS) + low) % _P


@lru_cache(maxsize=8)
def interpolation(nodes: tuple[int, ...], points: tuple[int, ...]) -> Elements:
    """Return the matrix from a polynomial's values at some points to those at others.

    Lagrange's coefficients, in his barycentric form.

    Parameters
    ----------
    nodes, points : tuple of int
        Distinct and apart from each other, small in magnitude.

    Returns
    -------
    ndarray of shape (points, nodes), uint64
        Below p. Read-only, as a cache may give it again.
    """
    y, x = (np.array(part, np.int64) for part in (nodes, points))
    between = y[:, None] - y
    np.fill_diagonal(between, 1)
    away = x[:, None] - y
    largest = max(int(np.abs(away).max(initial=0)), 1)
    inverses = _power(np.arange(largest + 1, dtype=np.uint64), PRIME - 2)
    inverse = np.where(away < 0, _P - inverses[np.abs(away)], inverses[np.abs(away)])
    weights = _power(_products(np.mod(between, PRIME).astype(np.uint64)), PRIME - 2)
    scale = _products(np.mod(away, PRIME).astype(np.uint64))
    matrix = inverse * weights % _P * scale[:, None] % _P
    matrix.flags.writeable = False
    return matrix


def _products(values: Elements) -> Elements:
    """Return the product of each row modulo p."""
    while values.shape[1] > 1:
        even = values.shape[1] // 2 * 2
        rest = values[:, even:]
        values = np.concatenate([values[:, :even:2] * values[:, 1:even:2] % _P, rest], axis=1)
    return values[:, 0]


def _power(values: Elements, exponent: int) -> Elements:
    """Return powers modulo p."""
    found, square = np.ones_like(values), values % _P
    while exponent:
        if exponent & 1:
            found = found * square % _P
        square = square * square % _P
        exponent >>= 1
    return found


def _uniform(count: int, random_bytes: RandomBytes) -> Elements:
    """Draw uniform elements, by rejection."""
    found = np.zeros(0, np.uint64)
    while len(found) < count:
        words = np.frombuffer(random_bytes(SHARE_BYTES * (count - len(found))), "<u4")
        words = (words & np.uint32(PRIME)).astype(np.uint64)
        found = np.concatenate([found, words[words < _P]])
    return found
