"""Files of backbones for tests: torchvision's networks in form, with made-up numbers."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tasks.images.backbone_config import SHAPES, Network
from tasks.images.resnet import ResNet


def made_up(seed: int = 0) -> dict[str, Tensor]:
    """Return a state_dict as torchvision's resnet18 has it, with a head for 3 classes."""
    return dict(_made_up(seed))


def flat() -> dict[str, Tensor]:
    """Return the same with one number in each tensor, which makes a file of a few kB."""
    return {
        name: torch.full((1,) * values.dim(), 1, dtype=values.dtype).expand(values.shape)
        for name, values in made_up().items()
    }


@cache
def _made_up(seed: int) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    network = ResNet(SHAPES[Network.resnet18])
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=draws)
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1, generator=draws)
            layer.running_var.uniform_(0.5, 1.5, generator=draws)
    head = {"fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)}
    return {**network.state_dict(), **head}


def by_formula(network: nn.Module) -> dict[str, Tensor]:
    """Return numbers for every parameter that any other program can make as well.

    The place of a tensor is that of its name among the sorted ones; heads and counts of batches
    are left out.
    """
    own = network.state_dict()
    names = [n for n in sorted(own) if not n.startswith("fc.") and "num_batches" not in n]
    found: dict[str, Tensor] = {}
    for place, name in enumerate(names):
        shape = own[name].shape
        waves = np.sin(np.arange(own[name].numel()) * 0.7 + place).astype(np.float32)
        values = torch.from_numpy(waves).reshape(shape)
        if len(shape) == 4:
            values = values * (2 / shape[1:].numel()) ** 0.5
        elif name.endswith("running_var"):
            values = 1 + values / 4
        elif name.endswith(("bias", "running_mean")):
            values = values / 8
        else:
            values = 1 + values / 8
        found[name] = values.contiguous()
    return found


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def keys_of(file: Path) -> dict[str, Any]:
    """Return the keys of ``task`` for a file, on small images."""
    backbone = {"name": "resnet18", "weights": str(file), "sha256": sha256(file)}
    return {"model": "backbone", "channels": 3, "side": 32, "backbone": backbone}


def write(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Write a file and return the keys of ``task`` for it."""
    file = folder / "resnet18.safetensors"
    save_file(made_up(seed=seed), file)
    return keys_of(file)


#: Keys of ``task`` that a choice of a task needs, for which a file may have to be written.
NEEDED_BY = {("images", "backbone"): write}
