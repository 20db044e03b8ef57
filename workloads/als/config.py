"""The configuration of the recommender."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.mode import Mode
from tasks.schema import require
from workloads.base import WorkloadConfig

#: Factors of an item under privacy: how often it is rated, and how well.
PRIVATE_RANK = 2
_EXACT_RANK, _MOST_RANK = 12, 64
_EXACT_RIDGE, _PRIVATE_RIDGE = 6.0, 30.0
# With a ridge no system of equations is singular.
_LEAST_RIDGE, _MOST_RIDGE = 1e-3, 1e6


@dataclass
class AlsConfig(WorkloadConfig):
    """The keys of ``algorithm=als``.

    Attributes
    ----------
    rank : int, optional
        Factors of a user and of an item, beside their biases, from 0 to 64. Not given: 12. It
        cannot be given under privacy.
    bias_ridge : float
        What is added to the number of ratings in the equations of a bias.
    factor_ridge : float, optional
        The same for each factor. Not given: 6, and 30 under privacy, where a user's factors are
        solved beside items' factors of length 1.
    """

    rank: int | None = None
    bias_ridge: float = 3.0
    factor_ridge: float | None = None

    def __post_init__(self) -> None:
        require(
            self.rank is None or 0 <= self.rank <= _MOST_RANK,
            f"algorithm.rank={self.rank}: must be from 0 to {_MOST_RANK}",
        )
        for name in ("bias_ridge", "factor_ridge"):
            value = getattr(self, name)
            require(
                value is None or _LEAST_RIDGE <= value <= _MOST_RIDGE,
                f"algorithm.{name}={value}: must be from {_LEAST_RIDGE:g} to {_MOST_RIDGE:g}",
            )

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Replace what is not given by what suits the privacy option; refuse what does not.

        Raises
        ------
        ValueError
            Naming the value and the mend.
        """
        if mode is None:
            self.rank = _EXACT_RANK if self.rank is None else self.rank
            self.factor_ridge = self.factor_ridge or _EXACT_RIDGE
            return
        require(
            self.rank is None,
            f"algorithm.rank={self.rank}: under privacy the sums that factors are solved from"
            f" would be noise; the {PRIVATE_RANK} of an item follow from its biases there: take"
            " it out",
        )
        require(
            num_rounds == 1,
            f"num-rounds={num_rounds}: under privacy algorithm=als asks one round, and the"
            " budget would be spread over all of them; give num-rounds=1",
        )
        self.rank = PRIVATE_RANK
        self.factor_ridge = self.factor_ridge or _PRIVATE_RIDGE
