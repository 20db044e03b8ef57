"""Features of images by a trained network that stays as it is, and nothing of which is sent.

Its batch normalisation goes by the means and variances of its file and not by the images, so
that an image's features are a function of that image and the file alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor

from tasks.files import keep_until_changed
from tasks.images.backbone_config import SHAPES, BackboneConfig, Network
from tasks.images.resnet import ResNet
from tasks.records import DataError

#: Of ImageNet's red, green and blue from 0 to 1: torchvision's networks were trained so.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
#: The last layer, which is taken off.
_HEAD = ("fc.weight", "fc.bias")
#: Counts of batches, which only training looks at and older files lack.
_COUNT = ".num_batches_tracked"


class Backbone:
    """A network with the parameters of a file.

    Parameters
    ----------
    network : ResNet
        Evaluating.
    """

    def __init__(self, network: ResNet) -> None:
        self._network = network
        self._mean, self._deviation = (
            torch.tensor(values).reshape(1, 3, 1, 1) for values in (_MEAN, _DEVIATION)
        )

    def features(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features of one image, of length 1.

        Guarantees
        ----------
        Unit: one image. What is returned of it depends on it alone, bit for bit: it goes
        through the network by itself, as the order of additions in a batch may go by the
        others, and on one thread, as it may go by their number.

        Parameters
        ----------
        pixels : ndarray, float32, shape (3, side, side)
            From 0 to 1.

        Returns
        -------
        ndarray, float32, shape (num_features,)
            Zeros where the network gives none, or such as are not finite.
        """
        with _one_thread(), torch.inference_mode():
            image = torch.from_numpy(pixels).unsqueeze(0)
            found = self._network((image - self._mean) / self._deviation)[0]
        flat = found.double().numpy()
        length = sqrt(float((flat * flat).sum()))
        if not isfinite(length) or length == 0:
            return np.zeros(flat.shape, np.float32)
        return (flat / length).astype(np.float32)


def backbone_of(file: Path | None, config: BackboneConfig) -> Backbone:
    """Return the backbone of a file.

    Draws nothing from torch's generator. The file is looked at again when it has changed.

    Raises
    ------
    DataError
        If there is no such file, it is another one than the configuration says, or its tensors
        are not the network's.
    """
    if file is None:
        raise DataError(
            "task.model=backbone: this node does not say where the backbone is; give its path"
            ' as base-model="FILE" in --node-config'
        )
    _require_digest(file, _digest(file), config)
    return _loaded(_Copy(config.sha256, file), config.name)


def _require_digest(file: Path, digest: str, config: BackboneConfig) -> None:
    if digest != config.sha256:
        raise DataError(
            f"{file}: its SHA-256 is {digest}, not task.backbone.sha256={config.sha256}; give"
            " the file that the run was configured for"
        )


@dataclass(frozen=True)
class _Copy:
    """A file by its content: any copy of it is as good."""

    sha256: str
    path: Path = field(compare=False)


# As many as nodes that one process simulates, each with a copy of its own.
@keep_until_changed(64)
def _digest(file: Path) -> str:
    return hashlib.sha256(_content(file)).hexdigest()


@lru_cache(maxsize=1)
def _loaded(copy: _Copy, name: Network) -> Backbone:
    content = _content(copy.path)
    # What is hashed is what is read, also when somebody has just replaced the file.
    config = BackboneConfig(name, str(copy.path), copy.sha256)
    _require_digest(copy.path, hashlib.sha256(content).hexdigest(), config)
    with torch.device("meta"):
        network = ResNet(SHAPES[name])
    tensors = _tensors(copy.path, content)
    network.load_state_dict(_fitting(copy.path, name, network, tensors), assign=True)
    return Backbone(network.eval().requires_grad_(False))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None


def _tensors(file: Path, content: bytes) -> Mapping[str, Any]:
    """Return a file's tensors, whichever of the two formats it has; no code of it is run."""
    try:
        # A safetensors file is the length of its header, then the header as JSON.
        if content[8:9] == b"{":
            return load(content)
        found: object = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    # A file from anywhere, and each layer of unpickling has errors of its own.
    except Exception as error:
        raise DataError(
            f"{file}: neither a safetensors file nor a state_dict of tensors alone as"
            f" torch.save writes it ({type(error).__name__}); {_SAVED_AS}"
        ) from None
    if not isinstance(found, Mapping):
        raise DataError(f"{file}: holds a {type(found).__name__}, no state_dict; {_SAVED_AS}")
    return found


_SAVED_AS = "save the network's own: torch.save(network.state_dict(), FILE)"


def _fitting(
    file: Path, name: Network, network: ResNet, tensors: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the tensors of a network among those of a file, all of them checked."""
    own = network.state_dict()
    needed = {key for key in own if not key.endswith(_COUNT)}
    missing = sorted(needed - tensors.keys())
    foreign = sorted(map(str, tensors.keys() - own.keys() - {*_HEAD}))
    if missing or foreign:
        what = f"lacks {missing[0]!r}" if missing else f"has {foreign[0]!r}"
        raise DataError(
            f"{file}: {what}, unlike {name.value}: name the network that it is of as"
            " task.backbone.name"
        )
    for key in sorted(needed):
        _check(file, key, tensors[key], own[key])
    counts = {key: torch.zeros((), dtype=torch.int64) for key in own.keys() - needed}
    return counts | {key: tensors[key].detach().contiguous() for key in needed}


def _check(file: Path, key: str, values: Any, own: Tensor) -> None:
    if not isinstance(values, Tensor) or values.layout is not torch.strided:
        raise DataError(f"{file}: {key} is no tensor")
    if values.dtype != torch.float32 or values.shape != own.shape:
        kind = str(values.dtype).removeprefix("torch.")
        raise DataError(
            f"{file}: {key} is {kind} of shape {tuple(values.shape)}, but float32 of"
            f" {tuple(own.shape)} in the network; save it as torchvision has it"
        )
    if not values.isfinite().all():
        raise DataError(f"{file}: {key} is not finite")
    if key.endswith(".running_var") and (values < 0).any():
        raise DataError(f"{file}: {key} has a variance below 0")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Context in which torch computes on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
