"""A linear program in binary variables, and its solution by HiGHS."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

Key = tuple[str | int, ...]


@dataclass
class Program:
    """Binary variables and rows ``sum(coefficient * variable) >= low``."""

    index: dict[Key, int] = field(default_factory=dict)
    fixed: dict[int, int] = field(default_factory=dict)
    rows: list[dict[int, int]] = field(default_factory=list)
    low: list[int] = field(default_factory=list)

    def var(self, *key: str | int) -> int:
        return self.index.setdefault(key, len(self.index))

    def at_least(self, terms: Iterable[tuple[int, int]], bound: int) -> None:
        row: dict[int, int] = {}
        for variable, factor in terms:
            row[variable] = row.get(variable, 0) + factor
        self.rows.append(row)
        self.low.append(bound)

    def implies(self, one: int, other: int) -> None:
        self.at_least([(other, 1), (one, -1)], 0)

    def both_imply(self, one: int, two: int, other: int) -> None:
        self.at_least([(other, 1), (one, -1), (two, -1)], -1)

    def at_most_one(self, variables: Iterable[int]) -> None:
        self.at_least([(variable, -1) for variable in variables], -1)

    def needs(self, one: int, variables: Iterable[int], count: int) -> None:
        """Demand so many of the variables where `one` is set."""
        self.at_least([*((v, 1) for v in variables), (one, -count)], 0)

    def solve(self, seconds: float) -> frozenset[Key] | None:
        """Return the set variables, or None if there is no solution.

        Raises
        ------
        TimeoutError
            If neither is known in that time.
        """
        size, pointers = len(self.index), np.cumsum([0, *map(len, self.rows)])
        columns = [c for row in self.rows for c in row]
        data = [float(x) for row in self.rows for x in row.values()]
        matrix = csr_matrix((data, columns, pointers), shape=(len(self.rows), size))
        lower, upper = np.zeros(size), np.ones(size)
        for variable, value in self.fixed.items():
            lower[variable] = upper[variable] = value
        found = milp(
            np.zeros(size),
            constraints=LinearConstraint(matrix, np.array(self.low, float), np.inf),
            # Shares follow from the rest: as real numbers they cost no branching.
            integrality=np.array([key[0] not in ("self", "mask") for key in self.index]),
            bounds=Bounds(lower, upper),
            options={"time_limit": seconds},
        )
        if found.status == 0:
            return frozenset(key for key, at in self.index.items() if found.x[at] > 0.5)
        if found.status == 2:
            return None
        raise TimeoutError(found.message)
