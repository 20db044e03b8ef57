"""The gradient of each record, computed alone and clipped by Opacus: the terms of DP-SGD.

A record goes through model, loss and gradient in a batch of one: on a CPU a row of a batch is
computed in an order that depends on the batch's size and on the row's place, so that one record
more would change the rounding of the others' terms, and a sum by more than the clip norm. torch
gives the gradient, Opacus clips it, with its noise at zero; ``sum_of_terms`` rounds and adds.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.base import ModelRefusedError, Task
from tasks.records import Examples
from tasks.training.kept_state import KeptState
from tasks.training.local import seed_torch
from tasks.training.opacus_import import DPOptimizer

log = logging.getLogger("flwr.tacet")

Vector = NDArray[np.float64]


def clipped_gradients(
    task: Task,
    model: nn.Module,
    examples: Examples,
    indices: NDArray[np.intp],
    clip_norm: float,
    rng: np.random.Generator,
) -> Iterator[Vector]:
    """Yield the gradient of each record, clipped to ``clip_norm`` over all parameters.

    Guarantees
    ----------
    Unit: one record. A vector is a function of its record, of model and task, and of random
    numbers of its own; nothing else in it depends on which records there are: batches of one in
    one and the same buffer, float64, one thread, dropout seeded anew.
    Assumes that the model keeps no state between records but in attributes of its modules,
    which are put back before each.

    Parameters
    ----------
    task : Task
        Gives the loss of each record.
    model : nn.Module
        Left as it is; it need not be in training mode. One of ``admit_model``.
    examples : Examples
        The training part.
    indices : ndarray of int, shape (k,)
        The records, e.g. of ``poisson_sample``.
    clip_norm : float
        C; finite and above 0.
    rng : numpy Generator
        Draws the seeds of dropout, which an adversary must not know.

    Yields
    ------
    ndarray, float64, shape (num_trained,)
        In the order of ``model.named_parameters()``, frozen ones left out. Its memory is used
        again. Zero for a record whose loss or gradient fails or is not finite: refusing it, or
        leaving the others out with it, would be another term.
    """
    one = RecordGradient(task, model, clip_norm)
    with undisturbed():
        for record in examples.one_by_one(indices):
            seed_torch(int(rng.integers(2**63)))
            try:
                vector = one.clipped(record)
            except Exception:
                log.debug("a record has no gradient and counts as zero", exc_info=True)
                vector = np.zeros(one.size)
            yield vector


class RecordGradient:
    """A copy of a model in float64 that one record after the other goes through."""

    def __init__(self, task: Task, model: nn.Module, clip_norm: float) -> None:
        if not 0 < clip_norm < float("inf"):
            raise ValueError(f"clip_norm={clip_norm}: must be finite and above 0")
        self._task, self._model = task, deepcopy(model).double().train()
        self.kept = KeptState(self._model)
        self._trained = [p for p in self._model.parameters() if p.requires_grad]
        self.size = sum(parameter.numel() for parameter in self._trained)
        if not self.size:
            raise ModelRefusedError(
                "every parameter of the model is frozen: nothing is trained"
            )
        # Opacus clips the whole gradient as if it were that of a single parameter.
        self._flat: Any = nn.Parameter(torch.zeros(self.size, dtype=torch.float64))
        self._opacus = DPOptimizer(
            torch.optim.SGD([self._flat], lr=1.0),
            noise_multiplier=0.0,
            max_grad_norm=clip_norm,
            expected_batch_size=1,
            loss_reduction="sum",
        )

    def clipped(self, record: Examples) -> Vector:
        """Return the clipped gradient of one record."""
        flat = self._flat
        flat.grad_sample, flat.summed_grad = self.gradient(record)[None], None
        self._opacus.clip_and_accumulate()
        found: Any = flat.summed_grad
        return found.numpy()

    def gradient(self, record: Examples) -> Tensor:
        """Return the gradient of the record's loss, shape (size,)."""
        self.kept.restore()
        loss = self.losses(record)
        if loss.shape != (1,):
            raise ModelRefusedError(
                f"per_example_loss has shape {tuple(loss.shape)} for one record, not (1,): the"
                " first dimension of the model's output must be the records"
            )
        found = torch.autograd.grad(loss.sum(), self._trained, allow_unused=True)
        parts = [
            torch.zeros(p.numel(), dtype=torch.float64) if g is None else g.flatten()
            for p, g in zip(self._trained, found, strict=True)
        ]
        return torch.cat(parts)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Let the model be as when it is scored, and as it was before again."""
        self._model.eval()
        try:
            yield
        finally:
            self._model.train()
            self.kept.restore()

    def losses(self, records: Examples) -> Tensor:
        """Return the loss of each record."""
        inputs = torch.from_numpy(records.inputs)
        # Tokens stay what they are.
        outputs = self._model(inputs.double() if inputs.is_floating_point() else inputs)
        return self._task.per_example_loss(outputs, torch.from_numpy(records.targets))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Context in which torch's results depend on inputs and seed alone.

    On a CPU with one thread every kernel adds in one order.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), torch.autocast("cpu", enabled=False):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
