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
    """

    counts: float = 0.0
    scalars: float = 0.0
    residuals: float = 0.0


def private_shares(server_round: int, num_rounds: int) -> Shares:
    """Return the shares of a private round, of which some are counts always.

    Chosen by cross-validation on training records of three tables, one for all: counts in
    the first round and half of each other; scalars in the second round and the last; residuals
    between. With six rounds 58 % of the budget are counts, 17 % scalars and 25 % residuals.
    """
    rest = 1 - _COUNTS_AGAIN
    if server_round == 1:
        return Shares(counts=1.0)
    if server_round == 2 or (server_round == num_rounds >= _MANY_ROUNDS):
        return Shares(counts=_COUNTS_AGAIN, scalars=rest)
    return Shares(counts=_COUNTS_AGAIN, residuals=rest)


def exact_shares(server_round: int) -> Shares:
    """Return what a round without noise asks for: counts, then scalars, then residuals."""
    if server_round == 1:
        return Shares(counts=1.0)
    if server_round <= 3:
        return Shares(scalars=1.0)
    return Shares(residuals=1.0)


def counts_before(server_round: int, num_rounds: int) -> float:
    """Return the sum of the shares of counts in all private rounds before this one."""
    return sum(private_shares(r, num_rounds).counts for r in range(1, server_round))
