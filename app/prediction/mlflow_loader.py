"""What ``mlflow.pyfunc.load_model`` imports to load a model that a run has registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.prediction.predictions import PredictionError, Rows
from app.prediction.saved_model import SavedModel


class Predictor:
    """A saved model in the form that MLflow calls.

    Parameters
    ----------
    model : SavedModel
        The model.
    """

    def __init__(self, model: SavedModel) -> None:
        self._model = model

    def predict(self, model_input: Rows, params: dict[str, Any] | None = None) -> Any:
        """Return a data frame: a row for each that was given, columns as of ``Predictions``.

        Parameters
        ----------
        model_input : data frame, mapping or sequence of mappings
            Rows, as ``SavedModel.predict`` takes them.
        params : mapping, optional
            There are none.

        Raises
        ------
        PredictionError
            If the rows do not fit, or there are parameters.
        """
        import pandas

        if params:
            raise PredictionError(f"params={params}: this model has no parameters")
        return pandas.DataFrame(self._model.predict(model_input).columns)


def _load_pyfunc(path: str) -> Predictor:
    """Return the model of a file; the name is MLflow's."""
    return Predictor(SavedModel.load(Path(path)))
