"""The model of a run, with what it takes to predict new rows."""

from __future__ import annotations

import io
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
    columns_as_csv,
    given_of,
    require_new_names,
    spread_out,
    told_without,
)
from app.prediction.recommendations import USUAL_TOP, ratings_task, recommended
from app.results.model_file import (
    GeneratingModel,
    ModelFileError,
    TableModel,
    load_model,
    model_file_of,
    workload_of,
)
from app.results.new_file import NewFileError, require_new, write_new
from tasks.base import Task
from tasks.new_rows import Given, NewRows
from tasks.records import DataError, Examples

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
    model : torch.nn.Module, TableModel or GeneratingModel
        The model itself.
    """

    file: Path
    workload: str
    task: Task
    model: Any

    @classmethod
    def load(cls, path: Path, node_state: Path | None = None) -> SavedModel:
        """Load a run folder's model, or a model file.

        Parameters
        ----------
        path : Path
            The folder or the file.
        node_state : Path, optional
            As of ``load_model``.

        Raises
        ------
        PredictionError
            If there is none, or what is there is no model, or not all of one.
        """
        file = model_file_of(path)
        try:
            name, kind = workload_of(file)
            if not (kind.gives_model() or kind.generates()):
                raise PredictionError(
                    f"{file}: algorithm={name} has tables as its result, which report.json in"
                    f" the run folder holds, and no model that predicts a row; {_INSTEAD}"
                )
            task, model = load_model(file, node_state)
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
        model = self.model
        if isinstance(model, GeneratingModel):
            return model.network
        if isinstance(model, TableModel):
            raise PredictionError(f"{self.file}: {self.workload} is no torch module")
        return model

    def sample(self, num_records: int, seed: int = 0) -> Examples:
        """Return records of nobody: ``inputs`` (n, ...), ``targets`` (n,), each class in turn.

        Parameters
        ----------
        num_records : int
            How many, at least 1.
        seed : int
            Of the random numbers, at least 0: the same makes the same records.

        Raises
        ------
        PredictionError
            If the model makes no records up, or the numbers are wrong.
        """
        if not isinstance(self.model, GeneratingModel):
            raise PredictionError(
                f"{self.file}: {self.workload} predicts records and makes none up; that does"
                " algorithm=gan"
            )
        if num_records < 1 or seed < 0:
            raise PredictionError(
                f"{num_records} records by seed {seed}: there must be at least 1, and the seed"
                " at least 0"
            )
        try:
            return self.model.generate(num_records, np.random.default_rng(seed))
        except MemoryError:
            raise PredictionError(
                f"{num_records} records are more than this machine can hold at once; make some,"
                " and others by another seed"
            ) from None

    def sample_file(self, num_records: int, seed: int, output: Path) -> list[str]:
        """Write made-up records to a new NPZ file of numpy; return what to print.

        Raises
        ------
        PredictionError
            As of ``sample``, or if the output is there already.
        """
        try:
            require_new(output)
            made = self.sample(num_records, seed)
            content = io.BytesIO()
            np.savez_compressed(content, inputs=made.inputs, targets=made.targets)
            write_new(output, content.getvalue())
        except NewFileError as error:
            raise PredictionError(str(error)) from None
        shape = ", ".join(map(str, made.inputs.shape))
        return [
            f"{output}: {num_records} records of nobody, by seed {seed}",
            f"inputs: {made.inputs.dtype} of shape ({shape}); targets: their classes",
        ]

    def predict(self, rows: Rows) -> Predictions:
        """Return predictions for rows.

        Parameters
        ----------
        rows : str or Path, mapping, or sequence of mappings
            A CSV file, the values of each column by its name, or a mapping for each row. None
            and NaN are missing.

        Of a recommender they are ratings of some users, and the answer is the ten items that
        each would like best and has not rated.

        Raises
        ------
        PredictionError
            If the rows do not fit.
        """
        if ratings_task(self.task) is not None:
            return self._recommended(given_of(rows), USUAL_TOP)
        read = self._read(given_of(rows))
        if read.objection:
            raise PredictionError("\n".join([*read.findings, read.objection]))
        return self._predicted(read)[0]

    def predict_file(
        self, source: Path, output: Path, top: int | None = None
    ) -> tuple[int, list[str]]:
        """Write the rows of a CSV file with their predictions to a new file.

        Parameters
        ----------
        source, output : Path
            The files. Of a recommender: of ratings, and of the items for each of their users.
        top : int, optional
            How many items for each user, where items are recommended.

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
        task = ratings_task(self.task)
        try:
            require_new(output)
            if task is not None:
                advice = self._recommended(source, USUAL_TOP if top is None else top)
                write_new(output, columns_as_csv(advice.columns, task.config.delimiter))
                return 0, [*advice.lines, f"{output}: {len(advice.prediction)} rows"]
            if top is not None:
                raise PredictionError(
                    f"--top {top}: {self.file} recommends no items; take it out"
                )
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

    def _recommended(self, given: Given, top: int) -> Predictions:
        task = ratings_task(self.task)
        assert task is not None  # noqa: S101 - the callers have looked
        try:
            columns, lines = recommended(task, self.model, given, top)
        except DataError as error:
            raise PredictionError(str(error).removeprefix("data-path=")) from None
        return Predictions(columns, lines=lines)

    def _read(self, given: Given) -> NewRows:
        if isinstance(self.model, GeneratingModel):
            raise PredictionError(
                f"{self.file}: {self.workload} makes records up and predicts none; take"
                " `tacet sample`, or SavedModel.sample in Python"
            )
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
        if is_scored.any() and answers.outputs is not None:
            figures = figures_of(
                self.task, answers.outputs[is_scored], rows.examples.targets[is_scored]
            )
        num_scored = int(np.count_nonzero(is_scored)) if figures else 0
        lines = [*rows.findings, *told_without(rows, answers)]
        return Predictions(spread_out(rows, answers), figures, num_scored, lines), answers

    def _scored(self, found: Predictions) -> list[str]:
        if not found.figures:
            return []
        said = ", ".join(f"{name} {value:.4f}" for name, value in found.figures.items())
        return [f"scored by the label of {found.num_scored} rows: {said}"]
