"""``tacet sample``: records of nobody, by a model that makes them up."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from app.cli.common import CommandError

_EXAMPLE = """\
example:
  tacet sample ~/my-run --number 1000 --output samples.npz

The file is one of numpy: np.load("samples.npz") has inputs, float32 of shape (n, channels,
side, side) with numbers from 0 to 1, and targets, the classes, each in turn. The same seed
makes the same records. However many are drawn, no more is spent: they are made of the model
alone.
"""


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    sample = commands.add_parser(
        "sample",
        help="make records up by the model of a run (algorithm=gan)",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sample.add_argument(
        "model", type=Path, metavar="RUN", help="a run folder, or its model.safetensors"
    )
    sample.add_argument("--number", required=True, type=int, metavar="N", help="how many")
    sample.add_argument("--seed", type=int, default=0, metavar="SEED", help="at least 0 (0)")
    sample.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="a new file, of numpy"
    )
    sample.set_defaults(run=_sample)


def _sample(arguments: argparse.Namespace) -> list[str]:
    # Hydra and Flower take seconds, and torch as well.
    from app.prediction.predictions import PredictionError
    from app.prediction.saved_model import SavedModel

    try:
        model = SavedModel.load(arguments.model)
        return model.sample_file(arguments.number, arguments.seed, arguments.output)
    except PredictionError as error:
        raise CommandError(str(error)) from None
