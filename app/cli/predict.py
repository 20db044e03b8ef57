"""``tacet predict``: new rows of a CSV file, or a folder of images, by a run's model."""

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
  for times to an event  linear_predictor and hazard_ratio (algorithm=cox), or expected_time,
                         median_time and survival_TIME (a neural model)
Of a recommender the input has ratings of some users, and the output user, item and prediction
of the items that each would like best and has not rated, --top of them.
Of time series it has a row for each unit, with the time of its last row, and prediction.
A row that misses a value, where the model cannot do without, has nothing there, and its line is
told. If a value does not fit, all such are told, nothing is written, and the exit status is 1.
The label may be lacking; where it is there, the predictions are scored by it.

Of task=images the input is a folder of images, and the output has a row with the path of each.
"""


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    predict = commands.add_parser(
        "predict",
        help="predict the rows of a CSV file, or a folder of images, by the model of a run",
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
        help="a CSV file with the columns that the model was trained on; a folder of images",
    )
    predict.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="a new file"
    )
    predict.add_argument(
        "--top",
        type=int,
        metavar="K",
        help="of a recommender: how many items for each user (10)",
    )
    predict.add_argument(
        "--node-state",
        type=Path,
        metavar="STATE_FILE",
        help="the own file of a node, its state-path, where a part of the model stays on each"
        " node (task.personal)",
    )
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    # Hydra and Flower take seconds, and torch as well.
    from app.prediction.predictions import PredictionError
    from app.prediction.saved_model import SavedModel

    try:
        model = SavedModel.load(arguments.model, arguments.node_state)
        return model.predict_file(arguments.input, arguments.output, arguments.top)
    except PredictionError as error:
        raise CommandError(str(error)) from None
