"""How many neighbours a node needs on a sparse graph, from two stated probabilities.

The graph is the Harary graph on a random permutation of Bell, Bonawitz, Gascon, Lepoint and
Raykova, Secure Single-Server Aggregation with (Poly)Logarithmic Overhead, CCS 2020, section 3:
n nodes stand on a ring in a random order, and each is joined to the k / 2 next on either side.
The paper asks for three things, for colluders and dropouts that are fixed before the ring is
drawn:

* few enough corrupt neighbours: c < t and 2t > m + c hold for every graph here, m = k + 1;
* the honest survivors connected, or partial sums show: `partition_probability`;
* enough surviving neighbours everywhere, or the attempt is lost: `loss_probability`.

The second is about privacy and the third costs an attempt, so that they have limits of their
own.
"""

from bisect import bisect_left
from functools import lru_cache
from math import comb

#: 2^-40, the paper's statistical security parameter.
MAX_PARTITION_PROBABILITY = 2.0**-40
#: Of an attempt with as many dropouts as are assumed.
MAX_LOSS_PROBABILITY = 1e-6


def least_threshold(num_members: int, max_colluding: int) -> int:
    """Return the least t with 2t > m + c for a closed neighbourhood of m members.

    With fewer shares a server and c colluders could learn both seeds of a node. More of them
    hide no more, and allow fewer dropouts.
    """
    return (num_members + max_colluding) // 2 + 1


def partition_probability(
    n: int, k: int, c: int, num_dropouts: int, min_survivors: int
) -> float:
    """Bound the chance that the honest survivors on a random ring are not connected.

    Survivors that follow each other on the ring are joined unless k / 2 or more nodes between
    them are gone. A circle that is broken in one place still holds together, so that two runs
    of k / 2 nodes must be gone, as the graph is k-connected. The bound is over all pairs of
    places where they begin; k given nodes all lie among those gone with a hypergeometric
    chance. Gone are c and as many dropouts as T allows, though fewer are assumed.
    """
    gone = min(n, c + max(num_dropouts, n - min_survivors))
    return min(1.0, comb(n, 2) * comb(gone, k) / comb(n, k))


def loss_probability(n: int, k: int, t: int, num_dropouts: int) -> float:
    """Bound the chance that some neighbourhood has fewer than t members that answer.

    The neighbours of a node are k of the other n - 1 at random, so that the dropouts among
    them are hypergeometric. The node itself counts as answering or not, whichever is worse:
    then at least m - t dropouts among its neighbours are too many. The bound is over all n.
    """
    return min(1.0, n * _tail(n - 1, min(num_dropouts, n - 1), k, k + 1 - t))


def _tail(population: int, marked: int, draws: int, at_least: int) -> float:
    """Return Pr[X >= at_least] for X hypergeometric; exact integers, one division."""
    least = max(0, at_least, draws - (population - marked))
    most = min(marked, draws)
    if least > most:
        return 0.0
    # Each term follows from the one before: to compute them all anew took minutes for 5,000
    # nodes of whom nearly half drop out.
    term = comb(marked, least) * comb(population - marked, draws - least)
    ways = term
    for i in range(least, most):
        rest = population - marked - draws + i + 1
        term = term * (marked - i) * (draws - i) // ((i + 1) * rest)
        ways += term
    return ways / comb(population, draws)


@lru_cache(maxsize=64)
def choose_num_neighbors(
    n: int, c: int, threshold: int | None, num_dropouts: int, min_survivors: int
) -> int:
    """Return the smallest even k for which both probabilities are within their limits.

    It is n - 1, the complete graph, if there is none. The threshold is `least_threshold` for
    k + 1 members unless given.
    """
    # Where c < t <= k + 1 and 2t > k + 1 + c; the least threshold has that wherever k >= c.
    first = max(2, c, (threshold or 0) - 1)
    last = min(n - 2, 2 * threshold - c - 2) if threshold else n - 2
    degrees = range(first + first % 2, last + 1, 2)

    def is_enough(k: int) -> bool:
        t = threshold or least_threshold(k + 1, c)
        return (
            partition_probability(n, k, c, num_dropouts, min_survivors)
            <= MAX_PARTITION_PROBABILITY
            and loss_probability(n, k, t, num_dropouts) <= MAX_LOSS_PROBABILITY
        )

    # What is enough stays enough with more neighbours: k of k nodes must be gone, and more
    # neighbours reach a given threshold. The least one grows with k, but half as fast; only
    # where nearly half of the nodes drop out it can be missed more often, and then with all k.
    # Whatever is found has been looked at: at worst it would not be the smallest.
    at = bisect_left(degrees, True, key=is_enough)
    return degrees[at] if at < len(degrees) else n - 1
