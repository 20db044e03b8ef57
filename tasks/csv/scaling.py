"""Numbers between public bounds as a model's inputs, and back."""

import numpy as np
from numpy.typing import NDArray

from tasks.csv.schema import CsvConfig, NumericConfig


def scale(values: NDArray[np.float64] | float, bounds: NumericConfig) -> NDArray[np.float64]:
    """Clip numbers to the bounds and map them to [-1, 1]; NaN stays."""
    clipped = np.clip(np.asarray(values, np.float64), bounds.min, bounds.max)
    return (clipped - bounds.min) / (bounds.max - bounds.min) * 2 - 1


def unscale(values: NDArray[np.floating], bounds: NumericConfig) -> NDArray[np.float64]:
    """Map [-1, 1] back to the bounds: the inverse of ``scale`` for what was not clipped."""
    return bounds.min + (np.asarray(values, np.float64) + 1) / 2 * (bounds.max - bounds.min)


def inputs_of(columns: NDArray[np.float64], config: CsvConfig) -> NDArray[np.float32]:
    """Return a model's inputs: numbers on [-1, 1], categories as one feature each, 0 or 1."""
    features = [
        scale(values, column)
        for values, column in zip(columns.T, config.numeric.values(), strict=False)
    ]
    chosen = columns.T[len(config.numeric) :]
    for values, column in zip(chosen, config.categorical.values(), strict=True):
        missing = np.where(np.isnan(values), np.nan, 0.0)
        features += [(values == place) + missing for place in range(len(column.categories))]
    inputs = np.empty((len(columns), len(features)), np.float32)
    for place, values in enumerate(features):
        inputs[:, place] = values
    return inputs
