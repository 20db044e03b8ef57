"""The check that a model is its parameters and nothing else: only those are exchanged."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tasks.base import ModelRefusedError

_EXCHANGED = (torch.float16, torch.float32, torch.float64)


def where(name: str, layer: nn.Module) -> str:
    """Return how a layer is called in a refusal."""
    return f"layer {name or '(the model)'} ({type(layer).__name__})"


def objection(layer: nn.Module) -> str:
    """Return why a layer's own buffers are refused; empty if it has none."""
    buffers = [buffer for buffer, _ in layer.named_buffers(recurse=False)]
    return f"it has the buffers {', '.join(buffers)}, which nobody exchanges" if buffers else ""


def refuse_dtypes(model: nn.Module) -> None:
    """Refuse a trained parameter of numbers that are not exchanged.

    Raises
    ------
    ModelRefusedError
        Naming the parameter, its dtype and the mend.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype not in _EXCHANGED:
            raise ModelRefusedError(
                f"parameter {name} is {str(parameter.dtype).removeprefix('torch.')}, and"
                " float16, float32 and float64 are exchanged: give it one of these dtypes"
            )


def refuse_buffers(model: nn.Module) -> None:
    """Refuse a model with state beside its parameters, or that mixes the records of a batch.

    Training changes such state on each node alone, so the model that is published would be
    another one than the nodes have trained.

    Raises
    ------
    ModelRefusedError
        Naming the layers and the mend.
    """
    found: list[str] = []
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm):
            why = "it scales each record by the others of its batch"
        else:
            why = objection(layer)
        if why:
            found.append(f"{where(name, layer)}: {why}")
    if found:
        raise ModelRefusedError(
            f"the model is more than its parameters: {'; '.join(found)}; write it with"
            " GroupNorm or LayerNorm, and constants as plain tensors"
        )
