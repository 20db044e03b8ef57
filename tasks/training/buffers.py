"""The check that a model is its parameters and nothing else: only those are exchanged."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tasks.base import ModelRefusedError


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
        where = f"layer {name or '(the model)'} ({type(layer).__name__})"
        buffers = [buffer for buffer, _ in layer.named_buffers(recurse=False)]
        if isinstance(layer, _BatchNorm):
            found.append(f"{where} scales each record by the others of its batch")
        elif buffers:
            found.append(
                f"{where} has the buffers {', '.join(buffers)}, which nobody exchanges"
            )
    if found:
        raise ModelRefusedError(
            f"the model is more than its parameters: {'; '.join(found)}; write it with"
            " GroupNorm or LayerNorm, and constants as plain tensors"
        )
