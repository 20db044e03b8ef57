"""Low-rank adapters: a trained model stays as it is, and small matrices beside it are trained.

A matrix W of the base acts as W + B A (LoRA: Hu et al. 2022, arXiv 2106.09685, section 4.1). A
is drawn from the run's seed, the same everywhere, and stays as it is; B begins at 0 and is all
that is trained and exchanged. So the mean of the nodes' B is what the mean of their models has:
where both are trained it is not, as a mean of products is no product of means (Sun et al. 2024,
arXiv 2403.12313, section 4). And the noise of a private sum moves the weights linearly.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import Tensor, nn
from torch.func import functional_call

from tasks.base import ModelRefusedError
from tasks.files import keep_until_changed
from tasks.records import DataError
from tasks.schema import AdaptersConfig

#: torch takes no dot in the name of a parameter.
_DOT = "/"


class Adapted(nn.Module):
    """A model with frozen parameters, and low-rank changes to them that are trained.

    A matrix of the base that has at most ``rank`` columns is left out: it stays as it is. More
    dimensions than two count as one matrix, of its first dimension and all others.

    Parameters
    ----------
    base : nn.Module
        Its parameters are frozen.
    rank : int
        Columns of B, at least 1.

    Raises
    ------
    ModelRefusedError
        If no matrix of the base has more columns than that.
    """

    def __init__(self, base: nn.Module, rank: int) -> None:
        super().__init__()
        matrices = {
            name: parameter
            for name, parameter in base.named_parameters()
            if parameter.requires_grad and parameter.dim() > 1 and parameter[0].numel() > rank
        }
        if not matrices:
            raise ModelRefusedError(
                f"task.adapters.rank={rank}: no matrix of the model has more columns than that;"
                " take a smaller rank, or 0 to train the model itself"
            )
        self.base = base.requires_grad_(False)
        self.rows, self.columns = nn.ParameterDict(), nn.ParameterDict()
        for name, matrix in matrices.items():
            # Of this size, a step of Adam moves each weight about as far as it would move the
            # weight itself: the learning rates that suit the model suit its adapters.
            drawn = torch.randn(rank, matrix[0].numel()) / rank**0.5
            self.rows[name.replace(".", _DOT)] = nn.Parameter(drawn, requires_grad=False)
            columns = torch.zeros(len(matrix), rank)
            self.columns[name.replace(".", _DOT)] = nn.Parameter(columns)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the base says with the changed matrices."""
        return functional_call(self.base, self._changed(), (inputs,))

    def merged(self) -> nn.Module:
        """Return a copy of the base with the changes in its matrices; it needs no adapters."""
        with torch.no_grad():
            found = deepcopy(self.base)
            own = dict(found.named_parameters())
            for name, matrix in self._changed().items():
                own[name].copy_(matrix)
        return found

    def _changed(self) -> dict[str, Tensor]:
        own = dict(self.base.named_parameters())
        names = ((key, key.replace(_DOT, ".")) for key in self.columns)
        return {
            name: own[name] + (self.columns[key] @ self.rows[key]).view_as(own[name])
            for key, name in names
        }


def adapted(model: nn.Module, config: AdaptersConfig, base: Path | None) -> Adapted:
    """Return a model with adapters, its own parameters being those of a file.

    Draws from torch's generator.

    Raises
    ------
    DataError
        If there is no such file, or it is another one than the configuration says.
    ModelRefusedError
        If its tensors are not the model's parameters, or the rank is too large.
    """
    if base is None:
        raise DataError(
            "task.adapters: this node does not say where the base is; give its path as"
            ' base-model="FILE" in --node-config'
        )
    # A pipe or a device would never end.
    if not base.is_file():
        raise DataError(
            f"{base}: the base of task.adapters is no file, or not there; put it there, where"
            " the run found it, or name a node's own copy as base-model in --node-config"
        )
    digest, tensors = _read(base)
    if digest != config.sha256:
        raise DataError(
            f"{base}: its SHA-256 is {digest}, not task.adapters.sha256={config.sha256}"
        )
    own = dict(model.named_parameters())
    _require_same(base, tensors, own)
    with torch.no_grad():
        for name, values in tensors.items():
            own[name].copy_(torch.from_numpy(values.copy()))
    return Adapted(model, config.rank)


@keep_until_changed(1)
def _read(file: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    try:
        content = file.read_bytes()
        return hashlib.sha256(content).hexdigest(), load(content)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{file}: {error}; give the model.safetensors of a run, or what"
            " `tacet export --format safetensors` writes"
        ) from None


def _require_same(
    base: Path, tensors: dict[str, NDArray[Any]], own: dict[str, nn.Parameter]
) -> None:
    trained = {name for name, parameter in own.items() if parameter.requires_grad}
    missing, foreign = sorted(trained - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or foreign:
        what = f"lacks {missing[0]!r}" if missing else f"has {foreign[0]!r}"
        raise ModelRefusedError(
            f"{base} {what}, unlike the task's model: the task's other keys must be as"
            " they were when the base was trained"
        )
    for name, values in tensors.items():
        if values.shape != tuple(own[name].shape) or values.dtype != np.float32:
            raise ModelRefusedError(
                f"{base}: {name} is {values.dtype} of shape {values.shape}, but float32 of"
                f" {tuple(own[name].shape)} in the model; the task's other keys must be as they"
                " were when the base was trained"
            )
        if not np.isfinite(values).all():
            raise ModelRefusedError(f"{base}: {name} is not finite")
