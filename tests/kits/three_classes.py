"""Three classes of small vectors, and models for them: for the tests of clipping."""

import numpy as np
import torch
from torch import nn

from tasks.base import Classification
from tasks.models import mlp
from tasks.records import Examples
from tasks.schema import TaskConfig, TrainingConfig


class Three(Classification):
    """Three classes of small vectors, for a model that the test brings."""

    Config = TaskConfig
    num_classes = 3

    def __init__(self, model: nn.Module | None = None, **training) -> None:
        super().__init__(TaskConfig(training=TrainingConfig(**training)), 0)
        self.model = model

    input_shape = (5,)

    def load(self, node):
        raise NotImplementedError

    def build_model(self) -> nn.Module:
        return self.model or mlp(5, 3, 4)


def three(num_records: int, seed: int = 0, shape: tuple[int, ...] = (5,)) -> Examples:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(scale=2, size=(num_records, *shape)).astype(np.float32)
    return Examples(inputs, rng.integers(0, 3, num_records))


def everything(examples: Examples) -> np.ndarray:
    return np.arange(len(examples))


class Twice(nn.Module):
    """One layer at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.last(torch.tanh(self.inner(torch.tanh(self.inner(inputs)))))


def frozen() -> nn.Module:
    model = mlp(5, 3, 4)
    model[0].weight.requires_grad = False
    return model
