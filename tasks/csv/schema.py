"""The configuration of the ``csv`` task: what the columns of a participant's own file mean.

Everything that the encoding needs stands here and nothing is taken from the records, so all
participants encode alike without telling each other anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite

from tasks.csv.columns import (
    MOST_BUCKETS,
    CategoricalConfig,
    NumericConfig,
    TextConfig,
    WeightConfig,
    default_missing_values,
    require_delimiter,
)
from tasks.csv.label import LabelConfig
from tasks.schema import TaskConfig, require
from tasks.table import BinsConfig, Column, Table


class Model(Enum):
    """Which model is trained."""

    logistic = "logistic"
    linear = "linear"
    mlp = "mlp"
    svm = "svm"


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
    text : dict of TextConfig
        Feature columns of free text, by name. Only neural models take them.
    weight : WeightConfig, optional
        The column of how often each record counts, in workloads that sum over a table.
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
        ``logistic`` or ``svm`` (support vector machine) for classes, ``linear`` for a number,
        ``mlp`` (one hidden layer) for both. Of a label with a time they say the hazard in each
        interval: ``logistic`` with odds that are proportional, ``mlp`` any.
    hidden : int
        Width of the hidden layer, at least 1. Only ``mlp`` has one.
    rbf_features : int
        Only of ``svm``: random Fourier features that stand for an RBF kernel; 0 for a linear
        one. They follow from the run's public seed.
    rbf_gamma : float
        The kernel is exp(-rbf_gamma |x - y|^2) of inputs in [-1, 1]; 0 for 1 / their number.
    """

    label: LabelConfig = field(default_factory=LabelConfig)
    numeric: dict[str, NumericConfig] = field(default_factory=dict)
    categorical: dict[str, CategoricalConfig] = field(default_factory=dict)
    text: dict[str, TextConfig] = field(default_factory=dict)
    weight: WeightConfig | None = None
    bins: dict[str, BinsConfig] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)
    delimiter: str = ","
    missing_values: list[str] = field(default_factory=default_missing_values)
    model: Model = Model.logistic
    hidden: int = 32
    rbf_features: int = 0
    rbf_gamma: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.label.check(self.missing_values)
        for name, numeric in self.numeric.items():
            numeric.check(f"task.numeric.{name}")
        for name, categorical in self.categorical.items():
            categorical.check(f"task.categorical.{name}", self.missing_values)
        for name, text in self.text.items():
            text.check(f"task.text.{name}")
        buckets = {name: text.buckets for name, text in self.text.items()}
        require(
            sum(buckets.values()) <= MOST_BUCKETS,
            f"task.text: buckets {buckets} are more than {MOST_BUCKETS} in all; lower them, for"
            " each record's inputs are held as a whole",
        )
        if self.weight is not None:
            self.weight.check("task.weight")
        self._check_columns()
        for name, bins in self.bins.items():
            require(
                name in self.numeric,
                f"task.bins.{name}: must be a column of task.numeric; categories are bins"
                " already",
            )
            numeric = self.numeric[name]
            bins.check(f"task.bins.{name}", numeric.min, numeric.max)
        require_delimiter(self.delimiter)
        self._check_model()
        require(self.hidden >= 1, f"task.hidden={self.hidden}: must be at least 1")
        require(
            self.rbf_features >= 0,
            f"task.rbf_features={self.rbf_features}: must be 0 (a linear kernel) or above",
        )
        require(
            isfinite(self.rbf_gamma) and self.rbf_gamma >= 0,
            f"task.rbf_gamma={self.rbf_gamma}: must be finite, and 0 (1 / the number of inputs)"
            " or above",
        )

    def idle_keys(self) -> dict[str, str]:
        """Return the keys of a hidden layer, and of a kernel, where the model has none."""
        idle: dict[str, str] = {}
        if self.model is not Model.mlp:
            idle["hidden"] = f"task.model={self.model.name} has no hidden layer; take mlp"
        if self.model is not Model.svm:
            for key in ("rbf_features", "rbf_gamma"):
                idle[key] = f"task.model={self.model.name} has no kernel; take svm"
        elif not self.rbf_features:
            idle["rbf_gamma"] = (
                "task.rbf_features=0 is a linear kernel; give task.rbf_features=500, say"
            )
        return idle

    def columns(self) -> list[str]:
        """Return the columns that a file must have: the label, the features, the weight."""
        weight = [] if self.weight is None else [self.weight.column]
        label = self.label.columns.values()
        return [*label, *self.numeric, *self.categorical, *self.text, *weight]

    def features(self) -> list[str]:
        """Return the names of the model's inputs, in order.

        That of a category is column=category, that of a bucket of a text column#number.
        """
        one_hot = (
            f"{name}={category}"
            for name, column in self.categorical.items()
            for category in column.categories
        )
        hashed = (
            f"{name}#{place}"
            for name, text in self.text.items()
            for place in range(text.buckets)
        )
        return [*self.numeric, *one_hot, *hashed]

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
        most = None if self.weight is None else self.weight.max
        texts = tuple(self.text)
        if label.time is not None:
            time = Column(label.time.column, 0.0, label.time.max)
            return Table(tuple(columns), (), time, label.event, most, texts)
        low, high = (bounds.min, bounds.max) if bounds else (0.0, 0.0)
        classes = tuple(label.classes)
        of_label = Column(label.column, low, high, classes)
        return Table(tuple(columns), classes, of_label, largest_weight=most, texts=texts)

    def _check_model(self) -> None:
        if self.label.time is not None:
            require(
                self.model in (Model.logistic, Model.mlp),
                f"task.model={self.model.name}: must be logistic or mlp for a label with a"
                " time",
            )
            return
        of_classes = (Model.logistic, Model.svm)
        wrong = (Model.linear,) if self.label.classes else of_classes
        kind = "label with classes" if self.label.classes else "label with min and max"
        right = "logistic, svm or mlp" if self.label.classes else "linear or mlp"
        require(
            self.model not in wrong,
            f"task.model={self.model.name}: must be {right} for a {kind}",
        )

    def _check_columns(self) -> None:
        require(
            bool(self.numeric or self.categorical or self.text),
            "task.numeric={}, task.categorical={}, task.text={}: must name at least one feature"
            " column",
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
        yield from ((f"task.label.{key}", name) for key, name in self.label.columns.items())
        yield from (("task.numeric", name) for name in self.numeric)
        yield from (("task.categorical", name) for name in self.categorical)
        yield from (("task.text", name) for name in self.text)
        if self.weight is not None:
            yield "task.weight.column", self.weight.column
        yield from (("task.drop", name) for name in self.drop)
