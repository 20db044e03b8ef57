"""A neural model made smaller: weights pruned to zero, and weights as 8-bit integers.

Pruning is by magnitude (`tasks.pruning`). Quantisation is onnxruntime's dynamic one: weights
are 8-bit integers, and the inputs of a layer are made so over a whole batch as they come
(Jacob et al., Quantization and training of neural networks, CVPR 2018).
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.export.onnx_file import MissingPackageError, require_onnx
from tasks.base import Task

# Records of nobody, on which the smaller model is held against the model.
_NUM_MADE_UP = 200


class NotSmallerError(ValueError):
    """A model cannot be made smaller so. The message is one line, with the mend."""


def pruned(task: Task, model: Any, share: float) -> list[str]:
    """Set a share of a model's weights to zero, in place; return what its user has to know.

    Parameters
    ----------
    task : Task
    model : torch.nn.Module
    share : float
        Above 0 and below 1.

    Raises
    ------
    NotSmallerError
        If the share is none, or the model has no weights.
    """
    from tasks.pruning import prune_weights
    from tasks.training.local import outputs_of

    if not 0 < share < 1:
        raise NotSmallerError(f"--prune {share:g}: a share of the weights, above 0 and below 1")
    inputs = task.made_up(_NUM_MADE_UP).inputs
    before = outputs_of(model, inputs)
    zeros, number = prune_weights(model, share)
    if not number:
        raise NotSmallerError("--prune: the model has no weights, but biases; leave it out")
    found = f"{zeros:,} of {number:,} weights are 0, and the file is smaller once compressed"
    return [f"pruned: {found}; {_moved(before, outputs_of(model, inputs))}"]


def quantized(task: Task, content: bytes) -> tuple[bytes, list[str]]:
    """Return an ONNX file with weights of 8 bits, and what its user has to know.

    Parameters
    ----------
    task : Task
    content : bytes
        The file of a network, see ``network_onnx``.

    Raises
    ------
    MissingPackageError
        If the package ``onnxruntime`` is not there.
    """
    onnx = require_onnx()
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise MissingPackageError(
            "--quantize needs the package onnxruntime, which is not installed; install it"
            " with: pip install 'onnxruntime>=1.20,<2'"
        ) from None
    # It recommends a step for models from elsewhere, on the root logger.
    logging.disable(logging.WARNING)
    try:
        with TemporaryDirectory(prefix="tacet-") as folder:
            file = Path(folder) / "model.onnx"
            given: Any = onnx.load_from_string(content)
            kind = QuantType.QInt8
            quantize_dynamic(given, file, per_channel=True, weight_type=kind)
            smaller = file.read_bytes()
    finally:
        logging.disable(logging.NOTSET)
    inputs = task.made_up(_NUM_MADE_UP).inputs
    moved = _moved(_answers(content, inputs), _answers(smaller, inputs))
    sizes = f"{len(content):,} bytes are {len(smaller):,} now"
    return smaller, [f"quantised: weights are int8; {sizes}; {moved}"]


def _answers(content: bytes, inputs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the numbers that a file says: all its outputs but the label."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content)
    (name,) = (one.name for one in session.get_outputs() if one.name != "label")
    given = session.get_inputs()[0].name
    return np.asarray(session.run([name], {given: inputs})[0], np.float64)


def _moved(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """Say how far outputs have moved; records of nobody tell no accuracy."""
    most, spread = np.abs(after - before).max(), before.std()
    return (
        f"of {_NUM_MADE_UP} made-up records outputs move by at most {most:.2g}, where they"
        f" spread by {spread:.2g}; score it on records of yours before you rely on it"
    )
