"""``tacet export``: a model in a format that other tools read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from app.cli.common import CommandError

_FORMATS = ("onnx", "torchscript", "safetensors", "lightgbm", "json")


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    export = commands.add_parser(
        "export",
        help="write a model as ONNX, TorchScript, for LightGBM, or as readable JSON",
    )
    export.add_argument(
        "model", type=Path, metavar="MODEL", help="a model.safetensors, or its run folder"
    )
    export.add_argument(
        "--format",
        required=True,
        choices=_FORMATS,
        help="onnx: neural models, gbdt, forest, tree, ebm, glm, cox; torchscript and"
        " safetensors (plain parameters): neural models and the generator of gan; lightgbm:"
        " gbdt, forest, tree, ebm; json: the curves of ebm, the items of als",
    )
    export.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="a new file",
    )
    export.add_argument(
        "--node-state",
        type=Path,
        metavar="STATE_FILE",
        help="the own file of a node, its state-path, where a part of the model stays on each"
        " node (task.personal)",
    )
    export.add_argument(
        "--prune",
        type=float,
        metavar="SHARE",
        help="set this share of a network's weights to zero, those of least magnitude",
    )
    export.add_argument(
        "--quantize",
        choices=("int8",),
        help="write a network's weights as 8-bit integers; onnx only",
    )
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> list[str]:
    # Hydra and Flower take seconds, and no other command needs the formats.
    from app.export.export import ExportError, export

    try:
        return export(
            arguments.model,
            arguments.format,
            arguments.output,
            arguments.node_state,
            prune=arguments.prune,
            quantize=arguments.quantize is not None,
        )
    except ExportError as error:
        raise CommandError(str(error)) from None
