"""The central peers of ``python -m benchmarks.adult``: they see all records."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (  # pyright: ignore[reportMissingTypeStubs]
    HistGradientBoostingClassifier,
)

from benchmarks.adult_runs import DELTA, Adult
from workloads.histograms.bins import Bins

#: What to do where interpret is missing; it is none of Tacet's own dependencies.
HOW_TO_INSTALL = "pip install interpret-core scikit-learn"
#: As Tacet has without privacy.
_MAX_BINS = 255

Matrix = NDArray[Any]


def has_interpret() -> bool:
    """Return whether interpret-core is installed."""
    return find_spec("interpret") is not None


def central_dp_ebm(data: Adult, epsilon: float, seed: int) -> float:
    """Train interpret's private EBM (Nori et al. 2021, arXiv 2106.09680); return its AUC.

    It is given the same public bounds and categories, and its own defaults.
    """
    from interpret.privacy import (  # pyright: ignore[reportMissingImports]
        DPExplainableBoostingClassifier,
    )

    columns = data.table.columns
    model: Any = DPExplainableBoostingClassifier(
        feature_types=["nominal" if c.is_categorical else "continuous" for c in columns],
        privacy_bounds={
            number: (column.low, column.high)
            for number, column in enumerate(columns)
            if not column.is_categorical
        },
        epsilon=epsilon,
        delta=DELTA,
        random_state=None if seed < 0 else seed,
        n_jobs=1,
    )
    model.fit(_values(data, data.train.columns), data.train.targets)
    return data.auc(model.decision_function(_values(data, data.test.columns)))


def pooled_ebm(data: Adult, seed: int) -> float:
    """Train interpret's EBM without pairs on Tacet's bins; return its AUC."""
    from interpret.glassbox import (  # pyright: ignore[reportMissingImports]
        ExplainableBoostingClassifier,
    )

    train, test = (_binned(data, part.columns) for part in (data.train, data.test))
    columns = data.table.columns
    model: Any = ExplainableBoostingClassifier(
        feature_types=["nominal" if c.is_categorical else "continuous" for c in columns],
        interactions=0,
        max_bins=4 * _MAX_BINS,
        random_state=seed,
        n_jobs=1,
    )
    model.fit(train, data.train.targets)
    return data.auc(model.decision_function(test))


def pooled_trees(data: Adult, seed: int, *, same_bins: bool) -> float:
    """Train scikit-learn's histogram boosting of trees, on its own bins or Tacet's."""
    is_categorical: Any = [column.is_categorical for column in data.table.columns]
    train, test = data.train.columns, data.test.columns
    if same_bins:
        # It takes 255 values of a column at most; missing ones, which Tacet has a bin for, are
        # none here.
        train, test = (np.minimum(_binned(data, part), _MAX_BINS - 1) for part in (train, test))
    model: Any = HistGradientBoostingClassifier(
        categorical_features=is_categorical, random_state=seed
    )
    model.fit(train, data.train.targets)
    return data.auc(model.decision_function(test))


def _values(data: Adult, columns: Matrix | None) -> Matrix:
    """Return the columns cut to their public bounds, as Tacet bins them."""
    assert columns is not None
    values = columns.copy()
    for number, column in enumerate(data.table.columns):
        if not column.is_categorical:
            values[:, number] = np.clip(values[:, number], column.low, column.high)
    return values


def _binned(data: Adult, columns: Matrix | None) -> Matrix:
    """Return the number of the bin of each value, as a float."""
    assert columns is not None
    bins = Bins(data.table, _MAX_BINS)
    return (bins.places(columns) - bins.firsts).astype(np.float64)
