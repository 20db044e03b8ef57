"""Per-record gradients by plain autograd, and the clipped sum that must agree with them."""

from collections.abc import Iterable
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from privacy.bounding.bounded_sum import BoundedSum, sum_of_terms
from tasks.base import Task
from tasks.records import Examples
from tasks.training.record_gradients import clipped_gradients


def gradient(task: Task, model: nn.Module, examples: Examples, index: int) -> np.ndarray:
    """Return one record's gradient by plain autograd, in float64, without Opacus."""
    own = deepcopy(model).double().train()
    one = examples.take(np.array([index]))
    inputs = torch.from_numpy(one.inputs)
    outputs = own(inputs.double() if one.inputs.dtype == np.float32 else inputs)
    loss = task.per_example_loss(outputs, torch.from_numpy(one.targets)).sum()
    loss.backward()
    trained = [p for p in own.parameters() if p.requires_grad]
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    return torch.cat([part.flatten() for part in parts]).numpy()


def clip(vector: np.ndarray, norm: float) -> np.ndarray:
    """Return the vector clipped as Opacus clips: with 1e-6 beside its length."""
    return vector * min(1.0, norm / (float(np.linalg.norm(vector)) + 1e-6))


def reference(
    task: Task, model: nn.Module, examples: Examples, indices: Iterable[int], norm: float
) -> np.ndarray:
    """Return the sum of the clipped gradients."""
    return sum(clip(gradient(task, model, examples, i), norm) for i in indices)


def bounded_sum(
    task: Task, model: nn.Module, examples: Examples, indices: np.ndarray, norm: float
) -> BoundedSum:
    """Return the bounded sum of the records' gradients, as a private round makes it."""
    length = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rng = np.random.default_rng(0)
    return sum_of_terms(
        clipped_gradients(task, model, examples, indices, norm, rng), length, norm
    )


def clipped_sum(*arguments) -> np.ndarray:
    """Return that sum in its own units; the grid's step is 2^-30 of the norm."""
    return bounded_sum(*arguments).in_units_of(1.0)
