"""Networks with smaller weights: pruned to 0, or rounded to int8.

Both take the weights of linear, convolutional, recurrent and attention layers. Biases, norms,
embeddings and what a task adds of its own stay as they are: they are few, or read row by row.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

#: The dimension of a layer's weights that goes by its output channels.
_CHANNELS: dict[type[nn.Module], int] = {
    nn.Linear: 0,
    nn.Conv1d: 0,
    nn.Conv2d: 0,
    nn.Conv3d: 0,
    nn.ConvTranspose1d: 1,
    nn.ConvTranspose2d: 1,
    nn.ConvTranspose3d: 1,
    nn.RNNBase: 0,
    nn.MultiheadAttention: 0,
}
_LARGEST = 127
#: How torch names the two tensors of a weight that is rounded.
_ORIGINAL = re.compile(r"(.*\.|)parametrizations\.([^.]+)\.original([01])")


class NotSmallerError(ValueError):
    """A network cannot be made smaller. One line, with the mend."""


class Int8(nn.Module):
    """A weight as int8 numbers times a float32 scale for each output channel.

    Symmetric, so that 0 stays 0 (Krishnamoorthi 2018, arXiv 1806.08342, sections 2.2 and 2.4).
    The largest weight of a channel is 127 of its scales, and a weight is moved by at most half
    a scale.

    Parameters
    ----------
    channels : int
        The dimension of output channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, numbers: Tensor, scales: Tensor) -> Tensor:
        """Return the weight."""
        return numbers.to(scales.dtype) * scales

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers, and the scales in a shape that multiplies them."""
        others = [place for place in range(weight.dim()) if place != self.channels]
        scales = weight.abs().amax(dim=others, keepdim=True) / _LARGEST
        # A channel of zeros has a scale as well, or it would be 0 / 0.
        scales = scales.clamp_min(torch.finfo(weight.dtype).tiny)
        numbers = (weight / scales).round().clamp(-_LARGEST, _LARGEST)
        return numbers.to(torch.int8), scales


def prune_weights(model: nn.Module, share: float) -> tuple[int, int]:
    """Set the weights of least magnitude to 0, over all layers at once.

    Han et al. 2015 (arXiv 1506.02626), section 3, without the training that follows there.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    share : float
        Of all weights, between 0 and 1.

    Returns
    -------
    num_zeros, num_weights : int
        How many are 0 now, and of how many.

    Raises
    ------
    NotSmallerError
        If there are none, or a number of the model is not finite.
    """
    found = [(layer, name) for layer, name, _ in _weights(model)]
    prune.global_unstructured(found, prune.L1Unstructured, amount=share)
    for layer, name in found:
        prune.remove(layer, name)
    weights = [getattr(layer, name) for layer, name in found]
    num_zeros = sum(int((weight == 0).sum()) for weight in weights)
    return num_zeros, sum(weight.numel() for weight in weights)


def round_weights(model: nn.Module) -> tuple[int, int]:
    """Round the weights of a network to int8; it trains no more.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place: what reads a weight gets it as of ``Int8``.

    Returns
    -------
    num_rounded, num_scales : int
        How many weights are int8 now, and how many scales they have.

    Raises
    ------
    NotSmallerError
        As of ``prune_weights``.
    """
    model.requires_grad_(False)
    num_rounded = num_scales = 0
    for layer, name, channels in _weights(model):
        shape = getattr(layer, name).shape
        num_rounded, num_scales = num_rounded + shape.numel(), num_scales + shape[channels]
        _drop_second_name(model, getattr(layer, name))
        parametrize.register_parametrization(layer, name, Int8(channels))
    return num_rounded, num_scales


def _drop_second_name(model: nn.Module, weight: Tensor) -> None:
    """Leave a weight to its layer alone, where Opacus' recurrent layers have it once more.

    They name the weights of their cells as torch would, which kept all digits beside the int8.
    """
    for layer in model.modules():
        for name in getattr(layer, "new_to_old", ()):
            if layer._parameters.get(name) is weight:
                delattr(layer, name)


def rounded(layer: nn.Module, name: str) -> tuple[Tensor, Tensor] | None:
    """Return numbers and scales of a weight, as of ``Int8``; None if it is not rounded."""
    if not parametrize.is_parametrized(layer, name):
        return None
    held: Any = layer.parametrizations
    return held[name].original0, held[name].original1


def plain_name(name: str) -> str:
    """Return the name of a tensor of a state without torch's words for what is rounded.

    The numbers of a weight have its own name, and ``.scale`` behind it names its scales.
    """
    found = _ORIGINAL.fullmatch(name)
    return found[1] + found[2] + ("", ".scale")[int(found[3])] if found else name


def _weights(model: nn.Module) -> list[tuple[nn.Module, str, int]]:
    """Return all weights, by layer and name, and their dimension of output channels."""
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise NotSmallerError(
                f"{name} has a number that is not finite, so the run has not learnt a model;"
                " train it again, by smaller steps"
            )
    found = [
        (layer, name, channels)
        for layer in model.modules()
        for kind, channels in _CHANNELS.items()
        if isinstance(layer, kind)
        for name, tensor in layer.named_parameters(recurse=False)
        # Attention has biases of three dimensions.
        if tensor.dim() > 1 and "bias" not in name
    ]
    if not found:
        raise NotSmallerError(
            "the model has no linear, convolutional, recurrent or attention layer; leave it out"
        )
    return found
