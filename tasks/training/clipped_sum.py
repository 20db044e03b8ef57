"""The sum of per-record gradients, each clipped: what DP-SGD adds its noise to.

Opacus computes the gradients, or only their norms, and adds no noise of its own. Everything is
done in float64, on a copy of the model. With float32, rounding would depend on which records
share a batch, and ghost clipping's norms would be off by 1e-6: one record could move the sum
by more than the clip norm, which the noise is calibrated to. It takes twice the time.
"""

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.base import Examples, ModelRefusedError, Task
from tasks.schema import GradSampleMode
from tasks.training.model_check import admit_model
from tasks.training.opacus_batch import check_record, hooked, sum_by_ghost, sum_by_hooks
from tasks.training.opacus_import import GradSampleModuleFastGradientClipping

#: The per-record gradients of one physical batch take no more memory than this.
MAX_GRADIENT_BYTES = 256 * 2**20
#: Records at once, unless the caller says so. More is slower on a CPU, for want of cache.
MAX_PHYSICAL_BATCH = 128

_BYTES_PER_NUMBER = 8


def clipped_gradient_sum(
    task: Task,
    model: nn.Module,
    examples: Examples,
    indices: NDArray[np.intp],
    clip_norm: float,
    mode: GradSampleMode = GradSampleMode.auto,
    max_physical_batch: int = MAX_PHYSICAL_BATCH,
) -> NDArray[np.float64]:
    """Return the sum over the records of each one's gradient, clipped to ``clip_norm``.

    Parameters
    ----------
    task : Task
        Gives the loss of each record.
    model : nn.Module
        Left as it is; it need not be in training mode.
    examples : Examples
        The training part.
    indices : ndarray of int, shape (k,)
        The records to sum over, e.g. of ``poisson_sample``. None gives zeros.
    clip_norm : float
        C: no record's gradient, over all parameters, counts for more than this L2 norm.
    mode : GradSampleMode
        How Opacus does it. ``auto``: ``hooks`` if the gradients of ``max_physical_batch``
        records fit ``MAX_GRADIENT_BYTES``; else ``ghost`` if Opacus has norms for every layer
        (Linear and Embedding in 1.6); else ``hooks`` with smaller batches.
    max_physical_batch : int
        The most records at once, at least 1. ``hooks`` takes fewer if they would not fit
        ``MAX_GRADIENT_BYTES``. The sum is the same.

    Returns
    -------
    ndarray, float64, shape (num_parameters,)
        In the order of ``model.named_parameters()``; zero where nothing is trained.

    Raises
    ------
    ModelRefusedError
        If the model cannot be trained per record, or not with ghost clipping.

    Notes
    -----
    Guarantees: with one record more or less in ``indices`` the sum moves by at most C in L2
    norm, but for float64's rounding (about 1e-15 of the sum). That needs a model that treats
    each record on its own (``check_model``). A record whose gradient is not finite counts as
    zero. A model with dropout draws from torch's generator, which the adversary must not know.
    """
    if not 0 < clip_norm < float("inf"):
        raise ValueError(f"clip_norm={clip_norm}: must be above 0")
    if max_physical_batch < 1:
        raise ValueError(f"max_physical_batch={max_physical_batch}: must be at least 1")
    admit_model(model)
    one_gradient = _BYTES_PER_NUMBER * sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    if one_gradient == 0:
        return np.zeros(sum(p.numel() for p in model.parameters()))
    arguments = (task, model, examples.take(indices), clip_norm)
    fitting = MAX_GRADIENT_BYTES // one_gradient
    roomy = fitting >= max_physical_batch
    if mode is GradSampleMode.ghost or (
        mode is GradSampleMode.auto and not roomy and _has_norms(model)
    ):
        try:
            return _sum_in_batches(*arguments, max_physical_batch, ghost=True)
        except ModelRefusedError:
            if mode is GradSampleMode.ghost:
                raise
    return _sum_in_batches(*arguments, max(1, min(max_physical_batch, fitting)), ghost=False)


def _in_order(inputs: torch.Tensor) -> torch.Tensor:
    """Return float64 inputs whose strides are those of their shape.

    numpy and torch leave the stride of a dimension of length 1, such as the channel of a grey
    image, at anything, and call the array contiguous; Opacus' convolutions then take other
    numbers for the image's, of other records too.
    """
    return inputs.double().clone(memory_format=torch.contiguous_format)


def _public_record(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and targets of one record that is made up, always the same."""
    shape = (1, *examples.inputs.shape[1:])
    inputs = np.random.default_rng(0).uniform(-1, 1, shape)
    targets = np.zeros(1, dtype=examples.targets.dtype)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def _has_norms(model: nn.Module) -> bool:
    """Return whether Opacus has norms without gradients for every trained layer."""
    known = GradSampleModuleFastGradientClipping.NORM_SAMPLERS
    return all(
        type(layer) in known
        for layer in model.modules()
        if any(p.requires_grad for p in layer.parameters(recurse=False))
    )


def _sum_in_batches(
    task: Task,
    model: nn.Module,
    examples: Examples,
    clip_norm: float,
    batch_size: int,
    ghost: bool,
) -> NDArray[np.float64]:
    copy = deepcopy(model).double().train()
    totals = [torch.zeros_like(parameter) for parameter in copy.parameters()]
    sum_batch = sum_by_ghost if ghost else sum_by_hooks

    with hooked(copy, ghost) as wrapped:

        def losses(inputs: Tensor, targets: Tensor) -> Tensor:
            values = task.per_example_loss(wrapped(inputs), targets)
            if values.shape != (len(inputs),):
                raise ModelRefusedError(
                    f"per_example_loss has shape {tuple(values.shape)}, not {(len(inputs),)}"
                )
            return values

        # Of the task's shape, but of nobody: a refusal must not depend on any record, nor on
        # whether one was drawn.
        check_record(wrapped, ghost, losses, *_public_record(examples))
        for first in range(0, len(examples), batch_size):
            batch = slice(first, first + batch_size)
            inputs = _in_order(torch.from_numpy(examples.inputs[batch]))
            targets = torch.from_numpy(examples.targets[batch])
            sums = sum_batch(wrapped, losses, inputs, targets, clip_norm)
            for total, one in zip(totals, sums, strict=True):
                if one is not None:
                    total += one
    return torch.cat([total.flatten() for total in totals]).numpy()
