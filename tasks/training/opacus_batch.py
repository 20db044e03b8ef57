"""One physical batch: the sum of its clipped gradients, by either of Opacus' two ways."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tasks.base import ModelRefusedError
from tasks.training.opacus_import import GradSampleModule, GradSampleModuleFastGradientClipping

#: Opacus' norms must agree with autograd's so well, in float64.
_NORM_TOLERANCE = 1e-6
_NO_GHOST = "use privacy.grad_sample_mode=hooks"

#: The losses of a batch, shape (n,), from its inputs and targets.
Losses = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def hooked(model: nn.Module, ghost: bool) -> Iterator[Any]:
    """Context in which Opacus' hooks are in the model."""
    wrapper = GradSampleModuleFastGradientClipping if ghost else GradSampleModule
    wrapped = wrapper(model, loss_reduction="sum")
    try:
        with warnings.catch_warnings():
            # torch says of every first layer that its input, the data, needs no gradient.
            warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
            yield wrapped
    finally:
        # Hooks and model refer to each other: without this the gradients would live on.
        wrapped.to_standard_module()


def sum_by_hooks(
    model: Any, losses: Losses, inputs: Tensor, targets: Tensor, clip_norm: float
) -> list[Tensor | None]:
    """Return the batch's sum for each parameter, None for zero; the model is ``hooked``."""
    losses(inputs, targets).sum().backward()
    gradients = _take_gradients(model, len(inputs))
    norms = _norms(gradients)
    weights = _weights(norms, clip_norm)
    usable = torch.isfinite(norms)
    if not usable.all():
        # Taken out rather than weighted with 0, which times infinity is NaN.
        weights = weights[usable]
        gradients = [None if one is None else one[usable] for one in gradients]
    return [
        None if one is None else (weights @ one).view_as(parameter)
        for one, parameter in zip(gradients, model.parameters(), strict=True)
    ]


def sum_by_ghost(
    model: Any, losses: Losses, inputs: Tensor, targets: Tensor, clip_norm: float
) -> list[Tensor | None]:
    """Return the batch's sum for each parameter, None for zero; the model is ``hooked``."""
    values = losses(inputs, targets)
    values.sum().backward(retain_graph=True)
    norms = _take_norms(model, len(inputs))
    usable = torch.isfinite(norms)
    if not usable.any():
        return [None for _ in model.parameters()]
    if not usable.all():
        # Even with weight 0 such a record would make the second pass NaN: leave it out.
        return sum_by_ghost(model, losses, inputs[usable], targets[usable], clip_norm)
    return _gradients(model, (_weights(norms, clip_norm) * values).sum())


def check_record(
    model: Any, ghost: bool, losses: Losses, inputs: Tensor, targets: Tensor
) -> None:
    """Check in a batch of one record that Opacus sees the gradient that torch sees.

    Opacus takes the first dimension of every layer's input for the records. Of a model that
    turns a record into several rows, or puts time first, it would clip each row or moment by
    itself, and one record could move the sum by more than the clip norm. In a batch of one this
    shows, whatever the lengths. So does, with ghost clipping, a weight that is used outside of
    its layer, of which the norm would tell nothing.

    Raises
    ------
    ModelRefusedError
        If Opacus cannot do this model, at least not so.
    """
    try:
        losses(inputs, targets).sum().backward()
        truth = [p.grad.flatten()[None] for p in model.parameters() if p.grad is not None]
        one = len(inputs)
        seen = _take_norms(model, one) if ghost else _norms(_take_gradients(model, one))
    except NotImplementedError as error:
        raise ModelRefusedError(f"ghost clipping: {error}; {_NO_GHOST}") from error
    except ModelRefusedError:
        raise
    except ValueError as error:
        # torch's GroupNorm with one number a group, for one. A sample may be one record.
        raise ModelRefusedError(f"the model takes no batch of one record: {error}") from error
    gap = float((seen - _norms(truth)).abs())
    if gap > _NORM_TOLERANCE * float(seen):
        raise ModelRefusedError(
            "Opacus and torch differ in the gradient of one record; a weight may be used"
            " outside of its layer" + (f": {_NO_GHOST}" if ghost else "")
        )


def _take_gradients(model: Any, num_records: int) -> list[Tensor | None]:
    """Return the batch's gradients, shape (n, size) for each parameter, and forget them."""
    found: list[Tensor | None] = []
    for name, parameter in model._module.named_parameters():
        # None where a parameter is frozen or was not used.
        one = getattr(parameter, "grad_sample", None)
        found.append(None if one is None else one.flatten(1))
        _require_rows(name, one, num_records)
    model.zero_grad(set_to_none=True)
    return found


def _take_norms(model: Any, num_records: int) -> Tensor:
    """Return the norms that ghost clipping's first pass left, shape (n,), and forget them."""
    found: list[Tensor] = []
    for name, parameter in model._module.named_parameters():
        one = getattr(parameter, "_norm_sample", None)
        if one is not None:
            _require_rows(name, one, num_records)
            found.append(one)
            del parameter._norm_sample
        elif getattr(parameter, "_forward_counter", 0):
            raise NotImplementedError(f"Opacus has no norm for {name} with such inputs")
    model.zero_grad(set_to_none=True)
    return torch.linalg.vector_norm(torch.stack(found), dim=0)


def _require_rows(name: str, found: Tensor | None, num_records: int) -> None:
    if found is not None and len(found) != num_records:
        raise ModelRefusedError(
            f"the layer of {name} sees a batch of {len(found)} where there are {num_records}"
            " records: the records must be the first dimension of each layer's input"
        )


def _gradients(model: Any, value: Tensor) -> list[Tensor | None]:
    """Return the plain gradients, with Opacus' hooks at rest; None where there is none."""
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    model.disable_hooks()
    found = iter(torch.autograd.grad(value, trained, allow_unused=True))
    model.enable_hooks()
    return [next(found) if p.requires_grad else None for p in parameters]


def _norms(gradients: Sequence[Tensor | None]) -> Tensor:
    """Return each record's norm over all parameters, shape (n,)."""
    each = [torch.linalg.vector_norm(one, dim=1) for one in gradients if one is not None]
    return torch.linalg.vector_norm(torch.stack(each), dim=0)


def _weights(norms: Tensor, clip_norm: float) -> Tensor:
    # A norm of 0 gives infinity, and so 1.
    return (clip_norm / norms).clamp(max=1)
