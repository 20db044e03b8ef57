"""interpret's models, central peers of ``python -m benchmarks.adult``: they see all records."""

from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.adult_runs import Adult
from benchmarks.table_runs import DELTA, MAX_BINS, Matrix, binned

#: What to do where interpret is missing; it is none of Tacet's own dependencies.
HOW_TO_INSTALL = "pip install interpret-core scikit-learn"


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

    train, test = (binned(data.table, part.columns) for part in (data.train, data.test))
    columns = data.table.columns
    model: Any = ExplainableBoostingClassifier(
        feature_types=["nominal" if c.is_categorical else "continuous" for c in columns],
        interactions=0,
        max_bins=4 * MAX_BINS,
        random_state=seed,
        n_jobs=1,
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
