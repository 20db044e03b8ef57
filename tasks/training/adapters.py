"""Adapters: a trained model stays as it is, and small matrices beside its own are trained.

A matrix W of the base acts as W + L R K (LoRA-XS: Balazy et al. 2024, arXiv 2405.17604, section
3). L has the output directions in which W does most, and K the input directions; both follow
from the base and the run's seed, are the same everywhere, and stay as they are. R begins at 0
and is all that is trained and exchanged. So the mean of the nodes' R is what the mean of their
models has (Singhal et al. 2025, arXiv 2502.15436): where two factors are trained it is not, as
a mean of products is no product of means. And the noise of a private sum moves the weights
linearly.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from math import prod
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
_POWERS = 2
#: Of random directions, as a part of a matrix's own: they decide where the matrix says nothing.
_RANDOM_PART = 1e-3


class Adapted(nn.Module):
    """A model with frozen parameters, and low-rank changes to its matrices that are trained.

    More dimensions than two count as one matrix, of the first dimension and all others; what
    has fewer, such as a bias, stays as it is. Draws from torch's generator.

    Parameters
    ----------
    base : nn.Module
        Its parameters are frozen.
    rank : int
        Rows and columns of each R, at least 1: as many as the matrix has where those are fewer,
        and then its change is of any direction on that side.

    Raises
    ------
    ModelRefusedError
        If no matrix of the base has more rows or columns than that.
    """

    def __init__(self, base: nn.Module, rank: int) -> None:
        super().__init__()
        matrices = {
            name: parameter.detach().flatten(1)
            for name, parameter in base.named_parameters()
            if parameter.requires_grad and parameter.dim() > 1
        }
        if all(max(matrix.shape) <= rank for matrix in matrices.values()):
            raise ModelRefusedError(
                f"task.adapters.rank={rank}: no matrix of the model has more rows or columns"
                " than that; take a smaller rank, or 0 to train the model itself"
            )
        self.base = base.requires_grad_(False)
        self.cores, self.left, self.right = (nn.ParameterDict() for _ in range(3))
        for name, matrix in matrices.items():
            key = name.replace(".", _DOT)
            for kept, seen in ((self.left, matrix.T), (self.right, matrix)):
                if seen.shape[1] > rank:
                    rows = _directions(seen, rank)
                    kept[key] = nn.Parameter(rows, requires_grad=False)
            shape = [min(rank, size) for size in matrix.shape]
            self.cores[key] = nn.Parameter(torch.zeros(shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the base says with the changed matrices."""
        return functional_call(self.base, self._changed(), (inputs,))

    def step_length(self, name: str) -> float:
        """Return how many times its learning rate Adam is to move a parameter by.

        A step of SGD on R is the part of the model's own step that is in the directions. Adam
        moves each number by its rate, be they few or many: by this many times, the weights of a
        matrix move as far as by the model's own step.
        """
        key = name.removeprefix("cores.")
        kept = [side[key].shape for side in (self.left, self.right) if key in side]
        return prod((size / rank) ** 0.5 for rank, size in kept)

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
        found: dict[str, Tensor] = {}
        for key, change in self.cores.items():
            name = key.replace(_DOT, ".")
            if key in self.right:
                change = change @ self.right[key]
            if key in self.left:
                change = self.left[key].T @ change
            found[name] = own[name] + change.view_as(own[name])
        return found


def _directions(matrix: Tensor, rank: int) -> Tensor:
    """Return input directions in which a matrix does most, orthonormal rows (rank, columns).

    By powers of it on random directions (Halko et al. 2011, arXiv 0909.4061, algorithm 4.4), in
    float64 and with a random part: on other machines they are the same but for rounding, also
    where the matrix is 0, has a lower rank or has equal singular values.
    """
    seen, columns = matrix.double(), matrix.shape[1]
    found = _orthonormal(torch.randn(columns, rank, dtype=torch.float64))
    for _ in range(_POWERS):
        found = seen.T @ (seen @ found)
        drawn = torch.randn(columns, rank, dtype=torch.float64)
        size = found.norm() / rank**0.5 or 1.0
        found = _orthonormal(found + _RANDOM_PART * size * drawn / columns**0.5)
    return found.T.to(matrix.dtype).contiguous()


def _orthonormal(columns: Tensor) -> Tensor:
    """Return an orthonormal basis of columns, the one with a triangle of positive diagonal."""
    basis, triangle = torch.linalg.qr(columns)
    return basis * torch.where(triangle.diagonal() < 0, -1.0, 1.0)


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
