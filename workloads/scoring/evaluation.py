"""What a person reads of the scores of held-out records, from their counts in bins alone.

The counts of all participants are one sum, see ``workloads.scoring.bins``. Where it has noise,
every figure has an error that knows of it. There is a file for each kind of label.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from workloads.report import Report


class Evaluation(ABC):
    """The counts of one evaluation."""

    #: Whether the accuracy says little, as one class is rare.
    is_unbalanced: bool = False

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Return the figures for a round's line."""

    @abstractmethod
    def report(self, metrics: dict[str, float]) -> Report:
        """Return all that follows from the counts, with the other metrics of the model."""
