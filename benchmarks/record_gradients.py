"""Seconds that the clipped sum of 256 records takes, against Opacus' batches.

python -m benchmarks.record_gradients

Ours takes each record alone, so that no other record changes its rounding; Opacus' hooks take
batches of 128, in float64 too. One thread, processor seconds, the median of the repeats, one
after the other in the same run.

exit status: 0; 1 if a ratio is above its limit.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from benchmarks.report import machine_line, positive, table, write_json
from privacy.bounding.bounded_sum import sum_of_terms
from tasks.base import Task
from tasks.mnist import Mnist, MnistConfig
from tasks.records import Examples
from tasks.training.local import initial_model
from tasks.training.record_gradients import clipped_gradients

NUM_RECORDS = 256
CLIP_NORM = 1.0
_BATCH = 128
HEADERS = ("model", "parameters", "Opacus s", "ours s", "ratio", "at most")


@dataclass(frozen=True)
class Row:
    """Seconds for one model: Opacus' batches, and each record alone."""

    model: str
    parameters: int
    opacus: float
    ours: float
    limit: float

    @property
    def ratio(self) -> float:
        """How many times as long as Opacus' batches."""
        return self.ours / self.opacus

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        seconds = f"{self.opacus:.2f}", f"{self.ours:.2f}"
        size, ratio = f"{self.parameters:,}", f"{self.ratio:.2f}"
        return [self.model, size, *seconds, ratio, f"{self.limit}"]


def mlp() -> nn.Module:
    """Return a perceptron of 793,530 parameters."""
    layers = nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 224), nn.ReLU(), nn.Linear(224, 10)
    return nn.Sequential(nn.Flatten(), *layers)


def ours(task: Task, model: nn.Module, examples: Examples) -> np.ndarray:
    """Return the sum of clipped gradients, each record alone."""
    everything, rng = np.arange(len(examples)), np.random.default_rng(0)
    terms = clipped_gradients(task, model, examples, everything, CLIP_NORM, rng)
    length = sum(parameter.numel() for parameter in model.parameters())
    return sum_of_terms(terms, length, CLIP_NORM).in_units_of(1.0)


def in_batches(task: Task, model: nn.Module, examples: Examples) -> np.ndarray:
    """Return the sum of clipped gradients by Opacus' hooks."""
    wrapped = GradSampleModule(deepcopy(model).double(), loss_reduction="sum")
    # Opacus leaves what it finds on the parameters.
    parameters: list[Any] = list(wrapped.parameters())
    optimizer = DPOptimizer(
        torch.optim.SGD(parameters, lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    for first in range(0, len(examples), _BATCH):
        batch = examples.take(np.arange(first, min(first + _BATCH, len(examples))))
        outputs = wrapped(torch.from_numpy(batch.inputs).double())
        task.per_example_loss(outputs, torch.from_numpy(batch.targets)).sum().backward()
        optimizer.clip_and_accumulate()
        for parameter in parameters:
            parameter.grad_sample = None
    return torch.cat([p.summed_grad.flatten() for p in parameters]).numpy()


def measure(name: str, model: nn.Module, limit: float, repeats: int) -> Row:
    """Return the seconds of one model."""
    task = Mnist(MnistConfig(), 0)
    examples = task.made_up(NUM_RECORDS)
    both: dict[str, Callable[..., np.ndarray]] = {"opacus": in_batches, "ours": ours}
    taken: dict[str, list[float]] = {way: [] for way in both}
    sums: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for way, make in both.items():
            started = time.process_time()
            sums[way] = make(task, model, examples)
            taken[way].append(time.process_time() - started)
    np.testing.assert_allclose(sums["ours"], sums["opacus"], rtol=0, atol=1e-5)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    seconds = {way: statistics.median(found) for way, found in taken.items()}
    return Row(name, parameters, **seconds, limit=limit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.record_gradients",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=positive, default=5, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    # torch says of every first layer that its input, the data, needs no gradient.
    warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
    cnn = initial_model(Mnist(MnistConfig(), 0))
    rows = [
        measure("CNN of task=mnist", cnn, 1.4, options.repeats),
        measure("perceptron", mlp(), 1.0, options.repeats),
    ]
    print(table(HEADERS, [row.cells() for row in rows]))
    print(machine_line())
    if options.json:
        write_json(options.json, "record_gradients", {"rows": [asdict(row) for row in rows]})
    return 0 if all(row.ratio <= row.limit for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
