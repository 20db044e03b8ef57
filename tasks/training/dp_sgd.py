"""DP-SGD on one node. The noise comes from the caller; what touches a record is clipped."""

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from privacy.bounding.bounded_sum import BoundedSum, sum_of_terms
from privacy.noise.sampling import poisson_sample
from tasks.base import Task
from tasks.records import Examples
from tasks.training.kept_state import KeptState
from tasks.training.local import Bins, score
from tasks.training.optimizer import build_optimizer
from tasks.training.record_gradients import clipped_gradients, undisturbed

log = logging.getLogger("flwr.tacet")

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
    proximal_mu: float = 0.0,
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
        C of ``clipped_gradients``.
    sampling_rate : float
        q of ``poisson_sample``.
    num_steps : int
        Steps, and so calls of ``add_noise``; a step that drew no record is one like any other.
    expected_batch_size : float
        Public divisor of each sum, never the true count.
    add_noise : callable
        Makes the release of a bounded sum: a vector of shape (num_trained,).
    rng : numpy Generator
        Draws the records, see ``poisson_sample``, and the seeds of dropout.
    proximal_mu : float
        Weight of FedProx's term; 0 for none.

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
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = [parameter.detach().clone() for parameter in trained]
    length = sum(parameter.numel() for parameter in trained)
    centre = dict(model.named_parameters()).get(task.centre)
    for _ in range(num_steps):
        sample = poisson_sample(len(examples), sampling_rate, rng)
        gradients = clipped_gradients(task, model, examples, sample, clip_norm, rng)
        released = add_noise(sum_of_terms(gradients, length, clip_norm))
        _set_gradients(trained, released / expected_batch_size)
        for parameter, origin in zip(trained, start, strict=True):
            if parameter.grad is not None:
                parameter.grad += proximal_mu * (parameter.detach() - origin)
        if centre is not None:
            # Its own gradient is 0, so there is nothing but noise.
            centre.grad = None
        optimizer.step()


def metric_vectors(
    task: Task,
    model: nn.Module,
    examples: Examples,
    loss_clip: float,
    bins: Bins | None = None,
) -> Iterator[Vector]:
    """Yield the bounded scores of each record, alone: their noisy sum may be released.

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
    bins : Bins, optional
        How the record is counted by its score.

    Yields
    ------
    ndarray, float64, shape (2 + num_metrics + num_bins,)
        Each entry in [0, 1]: a 1 that counts the record, its loss over ``loss_clip``, each
        metric in the order of ``task.metric_names``, and a 1 in its bins. A loss that is not
        finite is 1, a metric 0, and so is what fails for a record. So one record moves the sum
        by at most sqrt(2 + num_metrics + bins.per_record) in L2 norm.
    """
    if not 0 < loss_clip < float("inf"):
        raise ValueError(f"loss_clip={loss_clip}: must be above 0")
    names = task.metric_names(task.config)
    first_bin = 2 + len(names)
    kept = KeptState(model)
    with undisturbed():
        for record in examples.one_by_one(np.arange(len(examples))):
            kept.restore()
            vector = np.zeros(first_bin + (len(bins) if bins else 0))
            vector[:2] = 1.0
            try:
                losses, metrics, outputs = score(task, model, record)
                fraction = losses.double() / loss_clip
                vector[1] = fraction.nan_to_num(nan=1, posinf=1, neginf=1).clamp(0, 1)
                for column, name in enumerate(names, start=2):
                    value = metrics[name].double().nan_to_num(nan=0, posinf=0, neginf=0)
                    vector[column] = value.clamp(0, 1)
                if bins:
                    places = bins.places(outputs.double().numpy(), record.targets)
                    vector[first_bin + places[0]] = 1.0
            except Exception:
                log.debug("a record has no scores", exc_info=True)
            yield vector
    kept.restore()


def _set_gradients(trained: Sequence[nn.Parameter], flat: Vector) -> None:
    """Give each trained parameter its part of a vector in the parameters' order."""
    sizes = [parameter.numel() for parameter in trained]
    if flat.shape != (sum(sizes),):
        raise ValueError(f"add_noise gave shape {flat.shape}, not {(sum(sizes),)}")
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    for parameter, part in zip(trained, parts, strict=True):
        parameter.grad = torch.from_numpy(part).to(parameter.dtype).view_as(parameter)
