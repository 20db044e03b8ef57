"""The columns of UCI Heart Disease as a table, with bounds of clinical knowledge."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tasks.table import Column, Table

#: The columns of a file, in order; those of ``HEART_TABLE`` and what most patients miss.
COLUMNS: tuple[str, ...] = (
    "age",
    "sex",
    "cp",
    "trestbps",
    "chol",
    "fbs",
    "restecg",
    "thalach",
    "exang",
    "oldpeak",
    "slope",
    "ca",
    "thal",
    "num",
)

_NO_YES = ("no", "yes")
# Codes count from the first category on, by what is subtracted.
_FIRST_CODE = {"cp": 1.0}

HEART_TABLE = Table(
    columns=(
        Column("age", 20, 90),  # years
        Column("sex", categories=("female", "male")),
        Column("cp", categories=("typical", "atypical", "other pain", "none")),  # chest pain
        Column("trestbps", 80, 200),  # mm Hg at rest: shock to crisis
        Column("chol", 100, 500),  # mg/dl; 0 was not measured
        Column("fbs", categories=_NO_YES),  # fasting blood sugar above 120 mg/dl
        Column("restecg", categories=("normal", "ST-T", "hypertrophy")),
        Column("thalach", 60, 220),  # beats a minute
        Column("exang", categories=_NO_YES),  # angina by exercise
        Column("oldpeak", 0, 6),  # mm ST depression
    ),
    classes=_NO_YES,
    label=Column("num", categories=_NO_YES),
)


def heart_codes(column: Column) -> list[float]:
    """Return the codes of a column's categories in a file."""
    first = _FIRST_CODE.get(column.name, 0.0)
    return [first + place for place in range(len(column.categories))]


def heart_columns(values: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return a file's values by column as rows of the table, float64, shape (n, 10)."""
    columns = [
        values[column.name] - _FIRST_CODE.get(column.name, 0.0)
        for column in HEART_TABLE.columns
    ]
    rows = np.stack(columns, axis=1)
    chol = [column.name for column in HEART_TABLE.columns].index("chol")
    # No living patient has 0: the hospital did not measure it.
    rows[rows[:, chol] == 0, chol] = np.nan
    return rows
