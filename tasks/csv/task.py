"""A participant's own CSV file, its columns declared in a YAML. See docs/your-own-data.md.

The smallest configuration is a label and one feature, e.g. ``{"label": {"column": "ill",
"classes": ["no", "yes"]}, "numeric": {"age": {"min": 0, "max": 120}}}``; ``tiny_csv`` in
tests/tasks/csv/test_task.py writes a file that fits one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base import Classification, DataSource, Inspection, Regression, Task, inspected
from tasks.csv.encoding import Adapt, as_they_are, encode, survey
from tasks.csv.new_rows import Form, Given, NewRows, read_new_rows
from tasks.csv.scaling import inputs_of, unscale
from tasks.csv.schema import CsvConfig, Model, NumericConfig
from tasks.files import keep_until_changed
from tasks.partition import hold_out
from tasks.records import DataError, Examples, LocalData
from tasks.schema import TaskConfig
from tasks.survival import Survival
from tasks.table import Table, table_csv

if TYPE_CHECKING:
    from torch import Tensor, nn

# A logger below Flower's: the summary goes where the node's own log goes.
_LOGGER = logging.getLogger("flwr.tacet")


@dataclass(frozen=True)
class _Reading:
    """How a file is read, as the key of a cache."""

    config_text: str
    by_line: bool
    adapt: Adapt
    keeps_missing: bool
    # A configuration cannot be hashed; config_text stands for it.
    config: CsvConfig = field(compare=False)


class Csv(Task):
    """Columns of a CSV file: classes or a number, as the label says."""

    Config = CsvConfig
    is_shared = False
    has_table = True
    is_split = False
    #: How the rows of a file are brought into the csv form. See ``tasks.csv.encoding.encode``.
    adapt: Adapt = staticmethod(as_they_are)
    #: The same of a file of rows to predict, which may have a header where others have none.
    adapt_new: Adapt = staticmethod(as_they_are)

    #: The columns of a file that ``to_csv`` writes, where its form has more than the table.
    header: tuple[str, ...] = ()

    def __new__(cls, config: CsvConfig, seed: int) -> Csv:
        """Choose loss and metric by the kind of label."""
        if cls is not Csv:
            return object.__new__(cls)
        return object.__new__(_kind(config))

    def __getnewargs__(self) -> tuple[Any, int]:
        """Return what ``__new__`` needs when a task is copied."""
        return self.config, self.seed

    @classmethod
    def metric_names(cls, config: TaskConfig) -> tuple[str, ...]:
        """Return the metric of classes, of numbers or of times, as the label says."""
        if not isinstance(config, CsvConfig):
            return (CsvRegression.metric,)
        return (_kind(config).metric,)

    def files(self, source: DataSource) -> list[Path]:
        """Return the files with a node's records: here it is one.

        Raises
        ------
        DataError
            If nothing is there.
        """
        return [source.require_data_path("a CSV file")]

    def split(self, records: list[Examples], source: DataSource) -> LocalData:
        """Return the node's training and held-out part of what ``files`` hold.

        Raises
        ------
        DataError
            If they cannot be split.
        """
        (own,) = records
        return hold_out(own, self.config.test_fraction, self.seed)

    def load(self, source: DataSource) -> LocalData:
        """Return this node's own records. A file is parsed, and its summary logged, once.

        A row's side of the split depends on no other row: see ``tasks.partition.hold_out``. In
        a private run each line is read alone, and a row that does not fit is left out, as the
        refusal of a file would tell of it; only a header that does not fit, or a file that
        cannot be read, is refused.
        """
        how = _Reading(
            repr(self.config), self.is_private, self.adapt, self.keeps_missing, self.config
        )
        return self.split([_examples(file, how) for file in self.files(source)], source)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the number of features that the columns give."""
        return (len(self.config.features()),)

    @property
    def table(self) -> Table:
        """Return the columns of the configuration, the numbers first."""
        return self.config.table()

    def inspect(self, source: DataSource) -> Inspection:
        """Return all that does not fit at once, by column; nothing is logged."""
        lines: list[str] = []
        objection = ""
        try:
            records: list[Examples] = []
            for file in self.files(source):
                examples, summary = survey(
                    file, self.config, self.is_private, self.adapt, self.keeps_missing
                )
                records.append(examples)
                lines += str(summary).splitlines()
                lines += (f"misfit: {misfit}" for misfit in summary.misfits.lines())
                objection = objection or summary.objection(self.is_private)
            found = inspected(lines, self.split(records, source))
        except DataError as error:
            return Inspection(tuple(lines), objection=objection or str(error))
        return replace(found, objection=objection or found.objection)

    @property
    def missing_text(self) -> str | None:
        """Return the first of ``task.missing_values``; None where there is none."""
        return next(iter(self.config.missing_values), None)

    def to_csv(self, columns: NDArray[np.float64], label: NDArray[np.float64]) -> str:
        """Return rows of the table as the text of a file that ``load`` reads."""
        return table_csv(
            self.table,
            columns,
            label,
            delimiter=self.config.delimiter,
            missing=self.missing_text or "",
            header=self.header,
        )

    def new_rows(self, given: Given) -> NewRows:
        """Return rows to predict, read as ``load`` reads records; the label may be lacking."""
        return read_new_rows(
            given,
            Form(
                config=self.config,
                to_records=lambda columns: (inputs_of(columns, self.config), columns),
                adapt=self.adapt_new,
                keeps_missing=self.keeps_missing,
            ),
        )

    def build_model(self) -> nn.Module:
        """Return the model that ``task.model`` names. No records are needed."""
        from tasks.models import linear, mlp

        classes = len(self.config.label.classes)
        num_outputs = classes if classes > 2 else 1
        (num_features,) = self.input_shape
        if self.config.model is Model.mlp:
            return mlp(num_features, num_outputs, self.config.hidden)
        if self.config.rbf_features and self.config.model is Model.svm:
            from tasks.svm import rbf

            return rbf(
                num_features,
                num_outputs,
                num_features=self.config.rbf_features,
                gamma=self.config.rbf_gamma or 1 / num_features,
                seed=self.seed,
            )
        return linear(num_features, num_outputs)


class CsvClassification(Csv, Classification):
    """The label has classes; a target is the position in ``task.label.classes``."""

    def __init__(self, config: CsvConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.num_classes = len(config.label.classes)

    @property
    def gives_margins(self) -> bool:
        """Return whether the model is a support vector machine."""
        return self.config.model is Model.svm

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy, or of a support vector machine the hinge loss."""
        if self.config.model is not Model.svm:
            return super().per_example_loss(outputs, targets)
        from tasks.svm import hinge_loss

        return hinge_loss(outputs, targets)


class CsvRegression(Csv, Regression):
    """The label is a number, clipped to its bounds and mapped to [-1, 1].

    Loss and ``absolute_error`` are on that scale: an error of 1 is half the label's range.
    """

    def to_label_units(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map the model's outputs back to the units of the label's column."""
        label = self.config.label
        return unscale(outputs, NumericConfig(label.min, label.max))


class CsvSurvival(Survival, Csv):
    """The label is a time and whether it ended with an event."""

    @property
    def ends(self) -> tuple[float, ...]:
        """Return where the intervals of the configuration end."""
        time = self.config.label.time
        return () if time is None else time.interval_ends

    def build_model(self) -> nn.Module:
        """Return the model of hazards that ``task.model`` names. No records are needed."""
        from tasks.hazards import ProportionalOdds, hazard_mlp

        (num_features,) = self.input_shape
        if self.config.model is Model.mlp:
            return hazard_mlp(num_features, len(self.ends), self.config.hidden)
        return ProportionalOdds(num_features, len(self.ends))


def _kind(config: CsvConfig) -> type[Csv]:
    """Return the task of this kind of label."""
    if config.label.time is not None:
        return CsvSurvival
    return CsvClassification if config.label.classes else CsvRegression


@keep_until_changed(64)
def _examples(file: Path, how: _Reading) -> Examples:
    """Return a file's records; kept, so that a simulation does not parse it every round."""
    examples, summary = encode(file, how.config, how.by_line, how.adapt, how.keeps_missing)
    _LOGGER.info("%s", summary)
    if warning := summary.warning:
        _LOGGER.warning("%s", warning)
    return examples
