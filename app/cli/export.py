"""``tacet export``: a model in a format that other tools read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from app.cli.common import CommandError

_EXAMPLE = """\
example:
  tacet export ~/my-run --format onnx --output model.onnx --quantize int8 --prune 0.3

--quantize and --prune make a neural model smaller and a little worse, and print by how much:
the file's size, plain and by gzip, beside that of the whole model; how far the outputs of the
network are off on made-up inputs; with --data how well both models predict these rows. Pruned
weights are zeros in the file, which gets smaller by them only where it is compressed. With
both options, what pruning leaves is quantised.
"""
_FORMATS = ("onnx", "torchscript", "safetensors", "lightgbm", "json")


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    export = commands.add_parser(
        "export",
        help="write a model as ONNX, TorchScript, for LightGBM, or as readable JSON",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        "--quantize",
        choices=("int8",),
        help="of a neural model: write the weights of layers as int8, with a scale for each"
        " output channel",
    )
    export.add_argument(
        "--prune",
        type=float,
        metavar="SHARE",
        help="of a neural model: set this share of the same weights to 0, those of least"
        " magnitude over all layers; between 0 and 1",
    )
    export.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="records with a label, as `tacet predict` takes them, to score the model on before"
        " and after --quantize and --prune",
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
            data=arguments.data,
        )
    except ExportError as error:
        raise CommandError(str(error)) from None
