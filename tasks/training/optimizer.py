"""The local optimisers: torch's own steps, without the classes around them.

``torch.optim.Optimizer`` imports ``torch._dynamo`` when the first one is made, for compiled
training, which nobody does here. That takes a second, and in a deployment every message is a
fresh process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from tasks.schema import Optimizer, TrainingConfig
from tasks.training.adapters import Adapted


def build_optimizer(model: nn.Module, config: TrainingConfig) -> LocalOptimizer:
    """Return the local optimiser of a round, without any state yet."""
    if config.optimizer is not Optimizer.adam:
        return Sgd(model.parameters(), config)
    names = [name for name, _ in model.named_parameters()]
    lengths = [1.0] * len(names)
    if isinstance(model, Adapted):
        lengths = [model.step_length(name) for name in names]
    return Adam(model.parameters(), config, lengths)


class LocalOptimizer(ABC):
    """Optimiser that moves a model's parameters by their gradients.

    Parameters
    ----------
    parameters : iterable of Tensor
        What to move.
    config : TrainingConfig
        The numbers.
    """

    def __init__(self, parameters: Iterable[Tensor], config: TrainingConfig) -> None:
        self._parameters = list(parameters)
        self._config = config

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move each parameter that has a gradient."""
        pairs = [(i, p, p.grad) for i, p in enumerate(self._parameters)]
        found = [(i, p, gradient) for i, p, gradient in pairs if gradient is not None]
        places = [i for i, _, _ in found]
        self._move(places, [p for _, p, _ in found], [g for _, _, g in found])

    @abstractmethod
    def _move(
        self, places: list[int], parameters: list[Tensor], gradients: list[Tensor]
    ) -> None:
        """Move the parameters, which stand at these places among all, in place."""


class Sgd(LocalOptimizer):
    """The steps of ``torch.optim.SGD`` with learning rate, momentum and weight decay."""

    def __init__(self, parameters: Iterable[Tensor], config: TrainingConfig) -> None:
        super().__init__(parameters, config)
        self._velocities: list[Tensor | None] = [None] * len(self._parameters)

    def _move(
        self, places: list[int], parameters: list[Tensor], gradients: list[Tensor]
    ) -> None:
        velocities = [self._velocities[i] for i in places]
        sgd(
            parameters,
            gradients,
            velocities,
            weight_decay=self._config.weight_decay,
            momentum=self._config.momentum,
            lr=self._config.learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for i, velocity in zip(places, velocities, strict=True):
            self._velocities[i] = velocity


class Adam(LocalOptimizer):
    """The steps of ``torch.optim.Adam`` with learning rate and weight decay.

    Parameters
    ----------
    parameters, config
        As of ``LocalOptimizer``.
    lengths : sequence of float
        What the rate is multiplied by, for each parameter.
    """

    def __init__(
        self, parameters: Iterable[Tensor], config: TrainingConfig, lengths: Sequence[float]
    ) -> None:
        super().__init__(parameters, config)
        self._lengths = lengths
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._steps = [torch.tensor(0.0, dtype=torch.float32) for _ in self._parameters]

    def _move(
        self, places: list[int], parameters: list[Tensor], gradients: list[Tensor]
    ) -> None:
        for length in sorted({self._lengths[i] for i in places}):
            alike = [at for at, i in enumerate(places) if self._lengths[i] == length]
            chosen = [places[at] for at in alike]
            adam(
                [parameters[at] for at in alike],
                [gradients[at] for at in alike],
                [self._means[i] for i in chosen],
                [self._squares[i] for i in chosen],
                [],
                [self._steps[i] for i in chosen],
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=length * self._config.learning_rate,
                weight_decay=self._config.weight_decay,
                eps=1e-8,
                maximize=False,
            )
