"""From counts in bins to the evaluation of their kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workloads.scoring.binary import BinaryEvaluation
from workloads.scoring.bins import (
    BinaryBins,
    ConfusionBins,
    OneVsRestBins,
    ResidualBins,
    ScoreBins,
)
from workloads.scoring.classes import ClassesEvaluation
from workloads.scoring.evaluation import Evaluation
from workloads.scoring.residuals import ResidualEvaluation

Floats = NDArray[np.float64]


def evaluation_of(
    bins: ScoreBins, counts: Floats, noise: float, classes: Sequence[str]
) -> Evaluation:
    """Return the evaluation of records that were counted so.

    Parameters
    ----------
    bins : ScoreBins
        How they were counted.
    counts : ndarray, float64, shape (len(bins),)
        The sum over all participants.
    noise : float
        Standard deviation of the noise in each.
    classes : sequence of str
        Names of the classes; numbers are taken where there are none.
    """
    match bins:
        case BinaryBins():
            return BinaryEvaluation(counts.reshape(2, -1), noise, classes or ("0", "1"))
        case ConfusionBins() | OneVsRestBins():
            k = bins.num_classes
            rest = counts[k * k :].reshape(k, 2, -1) if len(counts) > k * k else None
            named = classes or [str(number) for number in range(k)]
            return ClassesEvaluation(counts[: k * k].reshape(k, k), rest, noise, named)
        case ResidualBins():
            return ResidualEvaluation(counts, noise)
        case _:
            raise TypeError(f"no evaluation of {type(bins).__name__}")
