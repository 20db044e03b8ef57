"""The configuration of the ``csv`` task: what the columns of a participant's own file mean.

Everything that the encoding needs stands here and nothing is taken from the records, so all
participants encode alike without telling each other anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite

from tasks.schema import TaskConfig, require
from tasks.table import BinsConfig, Column, Table


class Model(Enum):
    """Which model is trained."""

    logistic = "logistic"
    linear = "linear"
    mlp = "mlp"


@dataclass
class NumericConfig:
    """A column of numbers. Its bounds are mapped to [-1, 1]; what lies outside is clipped.

    Attributes
    ----------
    min, max : float
        Bounds from public knowledge, not from the records. min is below max.
    fill : float, optional
        Stands for a missing value. Without it, a row that misses the value is left out.
    """

    min: float
    max: float
    fill: float | None = None

    def check(self, key: str) -> None:
        """Raise ``ValueError`` if the numbers make no sense."""
        _require_bounds(key, self.min, self.max)
        require(
            self.fill is None or self.min <= self.fill <= self.max,
            f"{key}.fill={self.fill}: must lie in [{self.min}, {self.max}]",
        )


@dataclass
class CategoricalConfig:
    """A column of names or codes. Each category is a feature of its own, 0 or 1.

    Attributes
    ----------
    categories : list of str
        All that may occur, at least 2. Upper and lower case differ.
    fill : str, optional
        The category that stands for a missing value. Without it, such a row is left out.
    unknown : str, optional
        The category that stands for all that are not listed. Without it, they are refused.
    """

    categories: list[str]
    fill: str | None = None
    unknown: str | None = None

    def check(self, key: str, missing_values: list[str]) -> None:
        """Raise ``ValueError`` if the categories make no sense."""
        _require_names(f"{key}.categories", self.categories, missing_values)
        for name, value in (("fill", self.fill), ("unknown", self.unknown)):
            require(
                value is None or value in self.categories,
                f"{key}.{name}={value}: must be one of {', '.join(self.categories)}",
            )


@dataclass
class LabelConfig:
    """The column to predict: give ``classes``, or ``min`` and ``max`` for a number.

    Attributes
    ----------
    column : str
        Its name in the header.
    classes : list of str
        All classes, at least 2; the first is class 0.
    min, max : float, optional
        Bounds of a number; they are mapped to [-1, 1] like a feature's.
    """

    column: str = ""
    classes: list[str] = field(default_factory=list)
    min: float | None = None
    max: float | None = None

    @property
    def bounds(self) -> NumericConfig | None:
        """The bounds of a number, None for classes."""
        if self.min is None or self.max is None:
            return None
        return NumericConfig(self.min, self.max)

    def check(self, missing_values: list[str]) -> None:
        """Raise ``ValueError`` unless this is one label, of one kind."""
        require(
            bool(self.column),
            "task.label.column='': must name the column to predict; task=csv knows no columns"
            " of its own: give label, numeric and categorical in a YAML of yours, as"
            " conf/task/csv_breast_cancer.yaml does",
        )
        given = f"task.label={{classes: {self.classes}, min: {self.min}, max: {self.max}}}"
        numbers = [value for value in (self.min, self.max) if value is not None]
        require(
            len(numbers) == 2 if not self.classes else not numbers,
            f"{given}: must have either classes, or both min and max",
        )
        if self.classes:
            _require_names("task.label.classes", self.classes, missing_values)
        elif self.bounds is not None:
            _require_bounds("task.label", self.bounds.min, self.bounds.max)


def _default_missing_values() -> list[str]:
    return ["", "?", "NA", "N/A", "NaN", "nan", "null", "NULL"]


@dataclass
class CsvConfig(TaskConfig):
    """The meaning of a CSV file. ``partition`` is not used: each node has its own file.

    Attributes
    ----------
    label : LabelConfig
        The column to predict.
    numeric : dict of NumericConfig
        Feature columns of numbers, by name.
    categorical : dict of CategoricalConfig
        Feature columns of names or codes, by name.
    bins : dict of BinsConfig
        How numbers are binned, by column, where the default does not suit them. Only workloads
        that look at histograms have bins.
    drop : list of str
        Columns that are not read, such as identifiers. A file need not have them.
    delimiter : str
        What separates the fields, one character.
    missing_values : list of str
        Texts that mean that a value is missing.
    model : Model
        ``logistic`` for classes, ``linear`` for a number, ``mlp`` (one hidden layer) for both.
    hidden : int
        Width of the hidden layer, at least 1. Only ``mlp`` has one.
    """

    label: LabelConfig = field(default_factory=LabelConfig)
    numeric: dict[str, NumericConfig] = field(default_factory=dict)
    categorical: dict[str, CategoricalConfig] = field(default_factory=dict)
    bins: dict[str, BinsConfig] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)
    delimiter: str = ","
    missing_values: list[str] = field(default_factory=_default_missing_values)
    model: Model = Model.logistic
    hidden: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self.label.check(self.missing_values)
        for name, numeric in self.numeric.items():
            numeric.check(f"task.numeric.{name}")
        for name, categorical in self.categorical.items():
            categorical.check(f"task.categorical.{name}", self.missing_values)
        self._check_columns()
        for name, bins in self.bins.items():
            require(
                name in self.numeric,
                f"task.bins.{name}: must be a column of task.numeric; categories are bins"
                " already",
            )
            numeric = self.numeric[name]
            bins.check(f"task.bins.{name}", numeric.min, numeric.max)
        require(
            len(self.delimiter) == 1 and self.delimiter not in '" \r\n',
            f"task.delimiter={self.delimiter!r}: must be one character, such as , or ; and"
            " neither a quote nor a space nor a line break",
        )
        wrong = Model.linear if self.label.classes else Model.logistic
        kind = "label with classes" if self.label.classes else "label with min and max"
        right = "logistic or mlp" if self.label.classes else "linear or mlp"
        require(
            self.model is not wrong,
            f"task.model={self.model.name}: must be {right} for a {kind}",
        )
        require(self.hidden >= 1, f"task.hidden={self.hidden}: must be at least 1")

    def idle_keys(self) -> dict[str, str]:
        """Return ``hidden`` where the model has no hidden layer."""
        if self.model is Model.mlp:
            return {}
        return {"hidden": f"task.model={self.model.name} has no hidden layer; take mlp"}

    def columns(self) -> list[str]:
        """Return the columns that a file must have: the label and the features."""
        return [self.label.column, *self.numeric, *self.categorical]

    def features(self) -> list[str]:
        """Return the names of the model's inputs, in order; a category's is column=category."""
        one_hot = (
            f"{name}={category}"
            for name, column in self.categorical.items()
            for category in column.categories
        )
        return [*self.numeric, *one_hot]

    def table(self) -> Table:
        """Return what a row is, in columns: the numbers first, as in ``features``."""
        plain = BinsConfig()
        columns: list[Column] = []
        for name, numeric in self.numeric.items():
            bins = self.bins.get(name, plain)
            columns.append(
                Column(
                    name, numeric.min, numeric.max, scale=bins.scale, edges=tuple(bins.edges)
                )
            )
        for name, categorical in self.categorical.items():
            columns.append(Column(name, categories=tuple(categorical.categories)))
        label, bounds = self.label, self.label.bounds
        low, high = (bounds.min, bounds.max) if bounds else (0.0, 0.0)
        classes = tuple(label.classes)
        return Table(tuple(columns), classes, Column(label.column, low, high, classes))

    def _check_columns(self) -> None:
        require(
            bool(self.numeric or self.categorical),
            "task.numeric={}, task.categorical={}: must name at least one feature column",
        )
        seen: dict[str, str] = {}
        for key, name in self._named():
            # A column without a name cannot be told from another, but it can be left out.
            require(
                bool(name) or key == "task.drop",
                f"{key}='': must be a name; only task.drop may list columns without one",
            )
            require(
                name == name.strip(), f"{key}={name!r}: must have no spaces around the name"
            )
            require(
                name not in seen,
                f"{key}={name}: must not be named again, it is under {seen.get(name)} already",
            )
            seen[name] = key

    def _named(self) -> Iterator[tuple[str, str]]:
        """Yield each column that is named anywhere, after the key that names it."""
        yield "task.label.column", self.label.column
        yield from (("task.numeric", name) for name in self.numeric)
        yield from (("task.categorical", name) for name in self.categorical)
        yield from (("task.drop", name) for name in self.drop)


def _require_bounds(key: str, low: float, high: float) -> None:
    require(
        low < high and isfinite(high - low),
        f"{key}={{min: {low}, max: {high}}}: must be finite, with min below max",
    )


def _require_names(key: str, names: list[str], missing_values: list[str]) -> None:
    """Check the list of a column's categories, or of the label's classes."""
    require(
        len(names) >= 2 and len(set(names)) == len(names),
        f"{key}={names}: must be at least two, all different",
    )
    for name in names:
        require(name == name.strip(), f"{key}={name!r}: must have no spaces around the name")
        require(
            name not in missing_values,
            f"{key}={name!r}: must not be one of task.missing_values too",
        )
