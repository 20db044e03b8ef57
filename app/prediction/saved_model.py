"""The model of a run, with what it takes to predict new rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.prediction.answers import Answers, answerer
from app.prediction.figures import figures_of
from app.prediction.predictions import (
    PredictionError,
    Predictions,
    Rows,
    as_csv,
    given_of,
    require_new_names,
    spread_out,
    told_without,
)
from app.results.model_file import (
    ModelFileError,
    TableModel,
    load_model,
    model_file_of,
    workload_of,
)
from app.results.new_file import NewFileError, require_new, write_new
from tasks.base import Task
from tasks.new_rows import Given, NewRows
from tasks.records import DataError

# What to take of workloads whose result is no model.
_INSTEAD = "take algorithm=glm for a label with classes or a number, algorithm=cox for times"


@dataclass(frozen=True)
class SavedModel:
    """A model of a run.

    Attributes
    ----------
    file : Path
        Where it was read from.
    workload : str
        The name of the workload that it is a state of.
    task : Task
        The task, with the configuration that it was trained with.
    model : torch.nn.Module or TableModel
        The model itself.
    """

    file: Path
    workload: str
    task: Task
    model: Any

    @classmethod
    def load(cls, path: Path) -> SavedModel:
        """Load a run folder's model, or a model file.

        Raises
        ------
        PredictionError
            If there is none, or what is there is no model.
        """
        file = model_file_of(path)
        try:
            name, kind = workload_of(file)
            if not kind.gives_model():
                raise PredictionError(
                    f"{file}: algorithm={name} has tables as its result, which report.json in"
                    f" the run folder holds, and no model that predicts a row; {_INSTEAD}"
                )
            task, model = load_model(file)
        except ModelFileError as error:
            raise PredictionError(str(error)) from None
        return cls(file, name, task, model)

    @property
    def module(self) -> Any:
        """Return the torch module.

        Raises
        ------
        PredictionError
            If the model is none.
        """
        if isinstance(self.model, TableModel):
            raise PredictionError(f"{self.file}: {self.workload} is no torch module")
        return self.model

    def predict(self, rows: Rows) -> Predictions:
        """Return predictions for rows.

        Parameters
        ----------
        rows : str or Path, mapping, or sequence of mappings
            A CSV file, the values of each column by its name, or a mapping for each row. None
            and NaN are missing.

        Raises
        ------
        PredictionError
            If the rows do not fit.
        """
        read = self._read(given_of(rows))
        if read.objection:
            raise PredictionError("\n".join([*read.findings, read.objection]))
        return self._predicted(read)[0]

    def predict_file(self, source: Path, output: Path) -> tuple[int, list[str]]:
        """Write the rows of a CSV file with their predictions to a new file.

        Returns
        -------
        status : int
            0, or 1 if rows do not fit and nothing is written.
        lines : list of str
            What was found, to be printed.

        Raises
        ------
        PredictionError
            If nothing can be read, or the output is there already.
        """
        try:
            require_new(output)
            rows = self._read(source)
            if rows.objection:
                return 1, [*rows.findings, f"nothing is written: {rows.objection}"]
            found, answers = self._predicted(rows)
            write_new(output, as_csv(rows, found.columns))
        except NewFileError as error:
            raise PredictionError(str(error)) from None
        num = int(answers.is_answered.sum())
        said = f"{output}: {len(rows.rows)} rows, {num} with a prediction"
        return 0, [*found.lines, said, *self._scored(found)]

    def _read(self, given: Given) -> NewRows:
        try:
            return self.task.new_rows(given)
        except DataError as error:
            # What is said of a node's own file is as true of this one.
            raise PredictionError(str(error).removeprefix("data-path=")) from None

    def _predicted(self, rows: NewRows) -> tuple[Predictions, Answers]:
        try:
            answers = answerer(self.task, self.model)(rows.examples)
        except ValueError as error:
            raise PredictionError(f"{self.file}: {error}") from None
        require_new_names(rows, answers)
        is_scored = rows.is_labelled & answers.is_answered
        figures: dict[str, float] = {}
        if is_scored.any() and answers.outputs is not None and self.task.table is not None:
            figures = figures_of(
                self.task.table, answers.outputs[is_scored], rows.examples.targets[is_scored]
            )
        num_scored = int(np.count_nonzero(is_scored)) if figures else 0
        lines = [*rows.findings, *told_without(rows, answers)]
        return Predictions(spread_out(rows, answers), figures, num_scored, lines), answers

    def _scored(self, found: Predictions) -> list[str]:
        if not found.figures:
            return []
        said = ", ".join(f"{name} {value:.4f}" for name, value in found.figures.items())
        return [f"scored by the label of {found.num_scored} rows: {said}"]
