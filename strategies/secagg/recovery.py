"""The server's side of the shares: seeds back from shares, checked, liars passed over."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from strategies.secagg import shamir

_MAX_WINDOWS = 32


@lru_cache(maxsize=256)
def _lagrange(points: tuple[int, ...]) -> list[int]:
    return shamir.coefficients(points)


def recover_seed(
    shares: Mapping[int, bytes], threshold: int, is_seed: Callable[[bytes], bool]
) -> bytes | None:
    """Return the seed that the shares meet in and that `is_seed` accepts.

    Parameters
    ----------
    shares : mapping of int to bytes
        33-byte share by point.
    threshold : int
        t.
    is_seed : callable
        Compares with the public key or the commitment of the advert.

    Returns
    -------
    bytes or None
        None with fewer than t shares, or where every set of t that was tried holds a false
        share. Sets are up to 32 windows in the order of the points, so that one coefficient
        computation (cached) serves all seeds, and a few liars are passed over.
    """
    points = sorted(shares)
    ring = points + points[: threshold - 1]
    for start in range(min(_MAX_WINDOWS, len(points))):
        window = tuple(sorted(ring[start : start + threshold]))
        if len(points) < threshold:
            return None
        seed = shamir.combine(_lagrange(window), [shares[point] for point in window])
        if seed is not None and is_seed(seed):
            return seed
        if len(points) == threshold:
            return None
    return None


def leave_out(complaints: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """Return nodes whose removal leaves no complaint among the rest.

    `complaints` maps a node to the peers that it did not mask with. Either side may lie, so
    a complaint counts against both; the node with most of them goes first. One liar against
    many goes alone, whether it complains or is complained of.
    """
    edges = {
        (min(node, peer), max(node, peer))
        for node, peers in complaints.items()
        for peer in peers
        if peer in complaints
    }
    gone: set[int] = set()
    while edges:
        degree: dict[int, int] = {}
        for edge in edges:
            for node in edge:
                degree[node] = degree.get(node, 0) + 1
        worst = max(degree, key=lambda node: (degree[node], node))
        gone.add(worst)
        edges = {edge for edge in edges if worst not in edge}
    return frozenset(gone)
