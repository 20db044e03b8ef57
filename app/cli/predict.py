"""``tacet predict``: new rows of a CSV file, by the model of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from app.cli.common import CommandError

_EXAMPLE = """\
example:
  tacet predict ~/my-run --input new.csv --output predictions.csv

The output has the rows of the input, in their order and with all their columns, and then
  for classes            prediction, and probability_CLASS for each class (of an SVM: margins)
  for a number           prediction, in the label's own unit
  for times to an event  linear_predictor and hazard_ratio (algorithm=cox)
A row that misses a value, where the model cannot do without, has nothing there, and its line is
told. If a value does not fit, all such are told, nothing is written, and the exit status is 1.
The label may be lacking; where it is there, the predictions are scored by it.
"""


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    predict = commands.add_parser(
        "predict",
        help="predict the rows of a CSV file by the model of a run",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument(
        "model", type=Path, metavar="RUN", help="a run folder, or its model.safetensors"
    )
    predict.add_argument(
        "--input",
        required=True,
        type=Path,
        metavar="FILE",
        help="a CSV file with the columns that the model was trained on",
    )
    predict.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="a new file"
    )
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    # Hydra and Flower take seconds, and torch as well.
    from app.prediction.predictions import PredictionError
    from app.prediction.saved_model import SavedModel

    try:
        model = SavedModel.load(arguments.model)
        return model.predict_file(arguments.input, arguments.output)
    except PredictionError as error:
        raise CommandError(str(error)) from None
