"""How often each record counts: by its class, and by a column of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.schema import require
from tasks.table import Table
from workloads.base import WorkloadConfig

Floats = NDArray[np.float64]
#: No class counts for more: sums of whole numbers must fit.
LARGEST_CLASS_WEIGHT = 1e6


@dataclass
class ClassWeightedConfig(WorkloadConfig):
    """What the records of each class count.

    Attributes
    ----------
    class_weight : dict of float
        How often a record of a class counts, above 0, by the class; 1 for a class that is not
        named, as scikit-learn has it.
    """

    class_weight: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, weight in self.class_weight.items():
            require(
                isfinite(weight) and 0 < weight <= LARGEST_CLASS_WEIGHT,
                f"algorithm.class_weight.{name}={weight}: must be above 0, and at most"
                f" {LARGEST_CLASS_WEIGHT:g}; to do without a class, leave it out of the label"
                " and its records out of the file",
            )


@dataclass(frozen=True)
class RecordWeights:
    """The weights of records: that of the class times the record's own, elementwise.

    Attributes
    ----------
    of_classes : ndarray, float64, shape (classes,), or None
        By the number of the class; None where all count alike.
    largest_own : float or None
        The public bound of a record's own weight; None where records have none.
    """

    of_classes: Floats | None
    largest_own: float | None

    @classmethod
    def of(cls, given: Mapping[str, float], table: Table) -> RecordWeights:
        """Return the weights of a table's records, with these of its classes.

        Raises
        ------
        ValueError
            Naming a class that the label has not.
        """
        known = ", ".join(table.classes)
        for name in given:
            why = f"is none of the label's classes {known}" if known else "the label has none"
            require(
                name in table.classes,
                f"algorithm.class_weight.{name}: {why}; mend the name, or take it out",
            )
        by_class = [float(given.get(name, 1.0)) for name in table.classes]
        return cls(np.array(by_class) if given else None, table.largest_weight)

    @property
    def largest(self) -> float:
        """Return the most that a record counts, whoever it is: a public number."""
        of_class = 1.0 if self.of_classes is None else float(self.of_classes.max())
        return of_class * (1.0 if self.largest_own is None else self.largest_own)

    def of_records(self, records: Any) -> Floats | None:
        """Return each record's weight, from 0 to ``largest``, shape (n,); None for 1 each.

        Raises
        ------
        ValueError
            If records have no weights where the table says that they do.
        """
        if self.largest_own is None and self.of_classes is None:
            return None
        found = np.ones(len(records))
        if self.of_classes is not None:
            found *= self.of_classes[records.targets]
        if self.largest_own is not None:
            if records.weights is None:
                raise ValueError("the task's records have no weights, though its table has")
            # Whatever stands there, nobody counts for more than the bound.
            found *= np.clip(np.nan_to_num(records.weights), 0.0, self.largest_own)
        return found
