"""Rehearse training on made-up records: what can fail fails before anything is paid."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.base import ModelRefusedError, Task
from tasks.records import Examples
from tasks.training.local import score, seed_torch
from tasks.training.record_gradients import RecordGradient, undisturbed

_NUM_MADE_UP = 4
#: The loss of a record alone and among others may differ by rounding, in float64.
_TOLERANCE = 1e-9


def rehearse(task: Task, model: nn.Module, *, alone: bool) -> None:
    """Train and score on made-up records; each by itself if ``alone``.

    The records are the same everywhere and nobody's, so a refusal tells of none.

    Raises
    ------
    ModelRefusedError
        If model or loss fail on them; if a record's loss depends on the others in its batch,
        or its gradient on what was seen before. One line, with the mend.
    """
    with _refusing(), undisturbed():
        one, records = RecordGradient(task, model, 1.0), task.made_up(_NUM_MADE_UP)
        _train_and_score(task, deepcopy(model), records)
        if not alone:
            return
        gradients = [_gradient(one, record) for record in _apart(records)]
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise ModelRefusedError(
                "the gradient of a made-up record, with inputs from -1 to 1, is not finite:"
                " look for a logarithm, a root or a division"
            )
        _require_no_memory(one, records, gradients[0])
        _require_own_losses(one, records)
        if not any(bool(gradient.any()) for gradient in gradients):
            raise ModelRefusedError(
                "the gradient of every made-up record is 0, so nothing would be learned: look"
                " for a detached output, or what becomes 0 for a record alone, such as its"
                " distance to the mean of its batch"
            )


def _require_no_memory(one: RecordGradient, records: Examples, first: Tensor) -> None:
    """Refuse a model that changes with what it sees: a record would change others' terms.

    Among what is seen are huge inputs and such as are no numbers: the largest so far is
    remembered only where there is a larger one.
    """
    for inputs in _variants(records.inputs):
        for record in _apart(Examples(inputs, records.targets, records.columns)):
            with suppress(Exception):
                _gradient(one, record)
            if changed := one.kept.changes():
                raise ModelRefusedError(
                    f"the model keeps something between records, in {', '.join(changed)}: the"
                    " gradient of a record would depend on others; take that out"
                )
    if not torch.equal(_gradient(one, next(_apart(records))), first):
        raise ModelRefusedError(
            "the gradient of a record is another one after other records were seen: the"
            " model keeps something between them; take that out"
        )


def _variants(inputs: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield inputs of the same form: as they are, huge, none; of tokens, in other orders."""
    if inputs.dtype.kind != "f":
        yield from (inputs, inputs[:, ::-1].copy(), np.roll(inputs, 1, axis=0))
        return
    for factor in (1.0, 0.0, 1e3, 1e30, np.nan):
        with np.errstate(all="ignore"):
            yield (inputs * factor).astype(inputs.dtype)


def require_made_up(task: Task, examples: Examples) -> None:
    """Check that a node's records have the form of those that were rehearsed with.

    Raises
    ------
    ModelRefusedError
        If shape or kind of inputs or targets are others; depends on the task's code, never on
        a record.
    """
    made_up = task.made_up(1)
    for name in ("inputs", "targets"):
        due, found = getattr(made_up, name), getattr(examples, name)
        if (due.shape[1:], due.dtype) != (found.shape[1:], found.dtype):
            raise ModelRefusedError(
                f"the task's {name} are {found.dtype} of shape {found.shape[1:]} for each"
                f" record, where made_up gives {due.dtype} of shape {due.shape[1:]}"
            )


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn whatever fails into a refusal of one line."""
    try:
        yield
    except ModelRefusedError:
        raise
    except Exception as error:
        text = (str(error).strip() or "no text").splitlines()[0]
        raise ModelRefusedError(
            f"the model cannot be trained on a made-up record: {type(error).__name__}: {text}"
        ) from error


def _train_and_score(task: Task, model: nn.Module, records: Examples) -> None:
    """Do what a node does to a batch: one gradient, losses and metrics."""
    inputs, targets = torch.from_numpy(records.inputs), torch.from_numpy(records.targets)
    outputs = model.train()(inputs)
    if not isinstance(outputs, Tensor):
        raise ModelRefusedError(
            f"the model returns a {type(outputs).__name__}, not one tensor: return what the"
            " loss takes"
        )
    task.per_example_loss(outputs, targets).mean().backward()
    losses, metrics, outputs = score(task, model, records)
    names = task.metric_names(task.config)
    for name, found in {"loss": losses, **{name: metrics[name] for name in names}}.items():
        if found.shape != (len(records),):
            raise ModelRefusedError(
                f"the {name} of {len(records)} records has shape {tuple(found.shape)}, not"
                f" ({len(records)},): give one number for each record"
            )
    classes = task.scored_classes
    if classes is not None and outputs.shape != (due := (len(records), _num_outputs(classes))):
        raise ModelRefusedError(
            f"the outputs of {len(records)} records have shape {tuple(outputs.shape)}, not"
            f" {due}: they are counted as scored_classes={classes} says; give as many, or"
            " let scored_classes be None"
        )


def _apart(records: Examples) -> Iterator[Examples]:
    return records.one_by_one(np.arange(len(records)))


def _num_outputs(classes: int) -> int:
    return classes if classes > 2 else 1


def _gradient(one: RecordGradient, record: Examples) -> Tensor:
    # One seed, so that dropout drops the same.
    seed_torch(0)
    return one.gradient(record)


def _require_own_losses(one: RecordGradient, records: Examples) -> None:
    """Refuse a loss that couples records, such as a partial likelihood, also in training."""
    with one.evaluating():
        _require_own(one, records)
    # Dropout drops other numbers in a batch: where two seeds differ, the losses cannot be held
    # against each other.
    first = next(_apart(records))
    if torch.equal(*(_seeded_loss(one, first, seed) for seed in (0, 1))):
        _require_own(one, records)


def _require_own(one: RecordGradient, records: Examples) -> None:
    together = one.losses(records)
    alone = torch.cat([one.losses(record) for record in _apart(records)])
    if together.shape != alone.shape or not torch.allclose(
        together, alone, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
    ):
        raise ModelRefusedError(
            "the loss of a record depends on the other records of its batch, so that no bound"
            " holds for one record: use a loss that is a sum over records"
        )


def _seeded_loss(one: RecordGradient, record: Examples, seed: int) -> Tensor:
    seed_torch(seed)
    return one.losses(record).detach()
