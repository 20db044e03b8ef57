"""Where a neural model is trained and scored: on the CPU, or on a GPU that torch sees.

The gradients and scores of single records, which a guarantee bounds, are computed on the CPU
whatever is configured: ``tasks.training.record_gradients`` says why. So is a task's loss, which
is its own code and may make tensors of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tasks.base import ModelRefusedError
from tasks.schema import Device, TrainingConfig

_CPU = torch.device("cpu")


def device_of(config: TrainingConfig) -> torch.device:
    """Return where models are trained and scored on this machine.

    Looks for a GPU, which opens its driver, only where one may be taken.

    Raises
    ------
    ModelRefusedError
        If a GPU is asked for and torch sees none.
    """
    if config.device is Device.cpu:
        return _CPU
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if config.device is Device.cuda:
        raise ModelRefusedError(
            f"task.training.device=cuda: torch {torch.__version__} sees no GPU here; take"
            " task.training.device=auto to train where there is none, or install torch for CUDA"
            " and let this process see a GPU (CUDA_VISIBLE_DEVICES; a simulation by `flwr run`"
            " gives its nodes one by client-resources-num-gpus in --federation-config)"
        )
    return _CPU


def name_of(device: torch.device) -> str:
    """Return a device in words, as for a log."""
    if device.type == "cpu":
        return "the CPU"
    return f"{torch.cuda.get_device_name(device)} ({device})"


def place_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are."""
    return next((parameter.device for parameter in model.parameters()), _CPU)


@contextmanager
def placed(model: nn.Module, config: TrainingConfig) -> Iterator[torch.device]:
    """Context in which a model is where it is to be trained and scored; then on the CPU again.

    On a GPU with the kernels that give the same result each time, where torch has such, and
    with a random state that follows from that of the CPU and is put back afterwards.

    Yields
    ------
    torch.device
        Where inputs have to be.

    Raises
    ------
    ModelRefusedError
        As of ``device_of``.
    """
    device = device_of(config)
    if device.type == "cpu":
        yield device
        return
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device]))
        stack.enter_context(_repeatable())
        torch.cuda.manual_seed(int(torch.randint(2**62, ())))
        stack.enter_context(_moved(model, device))
        yield device


@contextmanager
def _moved(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Context in which a model is on a device, plain tensors among its attributes too."""
    kept: list[tuple[dict[str, Any], str, Tensor]] = []
    for module in model.modules():
        own = vars(module)
        kept += [(own, key, value) for key, value in own.items() if isinstance(value, Tensor)]
    try:
        model.to(device)
        for own, key, value in kept:
            own[key] = value.to(device)
        yield
    finally:
        model.to(_CPU)
        for own, key, value in kept:
            own[key] = value


@contextmanager
def _repeatable() -> Iterator[None]:
    """Context in which torch takes kernels that repeat their results, where it has such."""
    # Read by cuBLAS when a process first uses it; without, its sums may differ.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Not ``use_deterministic_algorithms``, which loads torch's compiler.
    before, cudnn = torch.get_deterministic_debug_mode(), torch.backends.cudnn
    torch.set_deterministic_debug_mode("warn")
    try:
        with cudnn.flags(
            enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_deterministic_debug_mode(before)
