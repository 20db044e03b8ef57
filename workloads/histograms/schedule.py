"""The schedule of a run: which parts of the vector each round asks for, with which weight.

Every round of a private run has the same noise and the same bound, so the budget is divided
inside of the vector. A part with the share s of a round has s of the round's mu squared.
"""

from __future__ import annotations

from dataclasses import dataclass

# Of a round that asks for something else too.
_COUNTS_AGAIN = 0.5
# With so many rounds, the last one asks for scalars again.
_MANY_ROUNDS = 5
# The last private rounds are for pairs alone; without noise they are asked from this round on.
_PAIR_ROUNDS, _FIRST_PAIRS = 2, 6
#: Fewer rounds leave none for pairs, or too few for the curves before.
LEAST_ROUNDS_WITH_PAIRS = 6


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The parts that a round asks for: shares from 0 to 1, under privacy of sum 1.

    Attributes
    ----------
    counts : float
        Of the histograms of the label. They are averaged over all rounds.
    scalars : float
        Of the sums that say how far each column's first curve goes.
    residuals : float
        Of the histograms of residuals.
    pairs : float
        Of the joint histograms of pairs of columns.
    """

    counts: float = 0.0
    scalars: float = 0.0
    residuals: float = 0.0
    pairs: float = 0.0


def private_shares(server_round: int, num_rounds: int, *, pairs: bool = False) -> Shares:
    """Return the shares of a private round, of which some are counts always.

    Chosen by cross-validation on training records of three tables, one for all: counts in
    the first round and half of each other; scalars in the second round and the last; residuals
    between. With six rounds 58 % of the budget are counts, 17 % scalars and 25 % residuals.
    With pairs the last two rounds ask for these alone, when the curves have settled.
    """
    if pairs:
        num_rounds -= _PAIR_ROUNDS
        if server_round > num_rounds:
            return Shares(pairs=1.0)
    rest = 1 - _COUNTS_AGAIN
    if server_round == 1:
        return Shares(counts=1.0)
    if server_round == 2 or (server_round == num_rounds >= _MANY_ROUNDS):
        return Shares(counts=_COUNTS_AGAIN, scalars=rest)
    return Shares(counts=_COUNTS_AGAIN, residuals=rest)


def exact_shares(server_round: int, *, pairs: bool = False) -> Shares:
    """Return what a round without noise asks for: counts, scalars, residuals, then pairs too.

    By the number of the round alone, so that a run can be resumed for more rounds.
    """
    if server_round == 1:
        return Shares(counts=1.0)
    if server_round <= 3:
        return Shares(scalars=1.0)
    return Shares(residuals=1.0, pairs=float(pairs and server_round >= _FIRST_PAIRS))


def counts_before(server_round: int, num_rounds: int, *, pairs: bool = False) -> float:
    """Return the sum of the shares of counts in all private rounds before this one."""
    rounds = range(1, server_round)
    return sum(private_shares(r, num_rounds, pairs=pairs).counts for r in rounds)
