"""Weights that are set to zero by magnitude.

Han et al., Learning both weights and connections for efficient neural networks, NeurIPS 2015,
section 3, without the training that follows there.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils import prune


def prune_weights(model: nn.Module, share: float) -> tuple[int, int]:
    """Set the weights of least magnitude over all layers to zero, in place.

    Parameters
    ----------
    model : torch.nn.Module
        Weights are its parameters with two dimensions and more; biases stay.
    share : float
        Of all weights, from 0 to 1.

    Returns
    -------
    tuple of int
        How many weights are 0 now, and how many there are.
    """
    weights = [
        (module, name)
        for module in model.modules()
        for name, values in module.named_parameters(recurse=False)
        if values.dim() > 1
    ]
    if weights:
        prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)
    for module, name in weights:
        prune.remove(module, name)
    found = [getattr(module, name) for module, name in weights]
    return sum(int((one == 0).sum()) for one in found), sum(one.numel() for one in found)
