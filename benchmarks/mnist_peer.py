"""Central DP-SGD on pooled images by Opacus, with its sampling, noise and accountant."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from opacus import GradSampleModule
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.mnist_settings import Result, Settings, accuracy, median, pooled
from tasks.training.local import initial_model

# More at once is slower on a CPU.
_PHYSICAL_BATCH = 64


def noise_multiplier(settings: Settings) -> float:
    """Return the noise that Opacus calibrates by its tightest accountant, PRV."""
    from opacus.accountants.utils import get_noise_multiplier

    with _without_warnings():
        found = get_noise_multiplier(
            target_epsilon=settings.epsilon,
            target_delta=settings.delta,
            sample_rate=settings.sampling_rate,
            steps=settings.num_rounds,
            accountant="prv",
            epsilon_tolerance=0.001,
        )
    return float(found)


def run(data_dir: Path, settings: Settings, seed: int) -> Result:
    """Train once on all records, with the model, steps and rates of ours."""
    with _without_warnings():
        return _run(data_dir, settings, seed)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress the warnings that Opacus always gives.

    Its noise is not from a secure generator, torch's hooks fire without inputs, and its
    accountant, on its way to the answer, tries what overflows.
    """
    with warnings.catch_warnings():
        for kind in (UserWarning, FutureWarning, RuntimeWarning):
            warnings.simplefilter("ignore", kind)
        yield


def _run(data_dir: Path, settings: Settings, seed: int) -> Result:
    from opacus import PrivacyEngine

    task, data = pooled(data_dir, seed)
    torch.manual_seed(seed)
    noise = noise_multiplier(settings)
    model = initial_model(task)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(settings.beta_1, settings.beta_2),
        eps=settings.tau,
    )
    images = TensorDataset(
        torch.from_numpy(data.train.inputs), torch.from_numpy(data.train.targets)
    )
    made: Any = PrivacyEngine(accountant="prv").make_private(
        module=model,
        optimizer=optimizer,
        data_loader=DataLoader(images, batch_size=settings.batch_size),
        noise_multiplier=noise,
        max_grad_norm=settings.clip_norm,
        poisson_sampling=True,
    )
    wrapped, optimizer, loader = made
    mean, seconds = _train(wrapped, optimizer, loader, settings)
    model.load_state_dict(mean)
    return Result(
        accuracy=accuracy(task, model, data.test),
        noise_multiplier=noise,
        seconds_per_round=median(seconds),
    )


def _train(
    model: GradSampleModule, optimizer: Any, loader: Any, settings: Settings
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Take the steps; return the mean of the last models and the steps' times."""
    parameters = dict(model._module.named_parameters())
    mean = {name: torch.zeros_like(one) for name, one in parameters.items()}
    num_averaged = settings.num_rounds - settings.average_from + 1
    seconds: list[float] = []
    batches = _endless(loader)
    for step in range(1, settings.num_rounds + 1):
        started = time.monotonic()
        inputs, targets = next(batches)
        parts = max(1, -(-len(inputs) // _PHYSICAL_BATCH))
        for i, (x, y) in enumerate(zip(inputs.chunk(parts), targets.chunk(parts), strict=True)):
            # What Opacus' BatchMemoryManager does: noise and step after the last part only.
            optimizer.signal_skip_step(do_skip=i < parts - 1)
            cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
        seconds.append(time.monotonic() - started)
        if step >= settings.average_from:
            for name, one in parameters.items():
                mean[name] += one.detach() / num_averaged
    return mean, seconds


def _endless(loader: Any) -> Any:
    while True:
        yield from loader
