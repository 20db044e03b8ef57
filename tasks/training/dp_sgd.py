"""DP-SGD on one node. The noise comes from the caller; what touches a record is clipped."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from privacy.bounding.bounded_sum import BoundedSum, sum_of_clipped
from privacy.noise.sampling import poisson_sample
from tasks.base import Examples, Task
from tasks.schema import GradSampleMode
from tasks.training.clipped_sum import MAX_PHYSICAL_BATCH, clipped_gradient_sum
from tasks.training.local import score_batches
from tasks.training.optimizer import build_optimizer

Vector = NDArray[np.float64]


def train_privately(
    task: Task,
    model: nn.Module,
    examples: Examples,
    *,
    clip_norm: float,
    sampling_rate: float,
    num_steps: int,
    expected_batch_size: float,
    add_noise: Callable[[BoundedSum], Vector],
    rng: np.random.Generator,
    mode: GradSampleMode = GradSampleMode.auto,
    proximal_mu: float = 0.0,
    max_physical_batch: int = MAX_PHYSICAL_BATCH,
) -> None:
    """Train the model in place by DP-SGD (Abadi et al. 2016, arXiv 1607.00133, algorithm 1).

    Nothing is returned: a loss would be one more release.

    Parameters
    ----------
    task : Task
        Gives the loss and the optimiser.
    model : nn.Module
        Starts from the global model's parameters.
    examples : Examples
        The training part; may be empty.
    clip_norm : float
        C of ``clipped_gradient_sum``.
    sampling_rate : float
        q of ``poisson_sample``.
    num_steps : int
        Steps, and so calls of ``add_noise``; a step that drew no record is one like any other.
    expected_batch_size : float
        Public divisor of each sum, never the true count.
    add_noise : callable
        Makes the release of a bounded sum: a vector of shape (num_parameters,).
    rng : numpy Generator
        Draws the records, see ``poisson_sample``.
    mode : GradSampleMode
        How Opacus clips.
    proximal_mu : float
        Weight of FedProx's term; 0 for none.
    max_physical_batch : int
        Records in memory at once.

    Raises
    ------
    ModelRefusedError
        If the model cannot be trained per record.

    Notes
    -----
    Guarantees: add or remove one record, and each of the ``num_steps`` sums given to
    ``add_noise`` moves by at most C in L2 norm, given all before. Momentum, weight decay, the
    proximal term and Adam's moments see noisy sums and parameters only: post-processing.
    """
    if not 0 < expected_batch_size < float("inf"):
        raise ValueError(f"expected_batch_size={expected_batch_size}: must be above 0")
    optimizer = build_optimizer(model, task.config.training)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    for _ in range(num_steps):
        sample = poisson_sample(len(examples), sampling_rate, rng)
        exact = clipped_gradient_sum(
            task, model, examples, sample, clip_norm, mode, max_physical_batch
        )
        released = add_noise(sum_of_clipped(exact, clip_norm))
        _set_gradients(model, released / expected_batch_size)
        for parameter, origin in zip(model.parameters(), start, strict=True):
            if parameter.grad is not None:
                parameter.grad += proximal_mu * (parameter.detach() - origin)
        optimizer.step()


def metric_vectors(
    task: Task, model: nn.Module, examples: Examples, loss_clip: float
) -> NDArray[np.float64]:
    """Return bounded scores of each record, whose noisy sum may be released.

    Parameters
    ----------
    task : Task
        Gives loss and metrics.
    model : nn.Module
        Left in evaluation mode.
    examples : Examples
        The held-out part; may be empty.
    loss_clip : float
        The loss that counts as 1; what is above counts as much.

    Returns
    -------
    ndarray, float64, shape (n, 2 + num_metrics)
        Each entry in [0, 1]: a 1 that counts the record, its loss over ``loss_clip``, and each
        metric in the order of ``task.metric_names``. A loss that is not finite is 1, a metric
        0. So one record moves the sum by at most sqrt(2 + num_metrics) in L2 norm.
    """
    if not 0 < loss_clip < float("inf"):
        raise ValueError(f"loss_clip={loss_clip}: must be above 0")
    names = task.metric_names(task.config)
    vectors = np.ones((len(examples), 2 + len(names)))
    for batch, losses, metrics in score_batches(task, model, examples):
        fractions = losses.double() / loss_clip
        vectors[batch, 1] = fractions.nan_to_num(nan=1, posinf=1, neginf=1).clamp(0, 1)
        for column, name in enumerate(names, start=2):
            values = metrics[name].double().nan_to_num(nan=0, posinf=0, neginf=0)
            vectors[batch, column] = values.clamp(0, 1)
    return vectors


def _set_gradients(model: nn.Module, flat: Vector) -> None:
    """Give each trained parameter its part of a vector in the parameters' order."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    if flat.shape != (sum(sizes),):
        raise ValueError(f"add_noise gave shape {flat.shape}, not {(sum(sizes),)}")
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    for parameter, part in zip(model.parameters(), parts, strict=True):
        if parameter.requires_grad:
            parameter.grad = torch.from_numpy(part).to(parameter.dtype).view_as(parameter)
