"""Per-record gradients by plain autograd: what Opacus must agree with."""

from collections.abc import Iterable
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from tasks.base import Examples, Task


def gradient(task: Task, model: nn.Module, examples: Examples, index: int) -> np.ndarray:
    """Return one record's gradient by plain autograd, in float64, without Opacus."""
    own = deepcopy(model).double().train()
    one = examples.take(np.array([index]))
    outputs = own(torch.from_numpy(one.inputs).double())
    loss = task.per_example_loss(outputs, torch.from_numpy(one.targets)).sum()
    loss.backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in own.parameters()]
    return torch.cat([part.flatten() for part in parts]).numpy()


def clip(vector: np.ndarray, norm: float) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector * min(1.0, norm / length) if length else vector


def reference(
    task: Task, model: nn.Module, examples: Examples, indices: Iterable[int], norm: float
) -> np.ndarray:
    """Return the sum of the clipped gradients."""
    return sum(clip(gradient(task, model, examples, i), norm) for i in indices)
