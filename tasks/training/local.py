"""The one training loop and the one evaluation loop, for every task and algorithm."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.base import Task
from tasks.records import DataError, Examples
from tasks.schema import TrainingConfig
from tasks.training.adapters import adapted
from tasks.training.device import place_of, placed
from tasks.training.optimizer import build_optimizer
from tasks.training.personal import arrays_of, exchanged, load_into, mark_personal

_EVALUATION_BATCH = 1024


class Bins(Protocol):
    """Bins that records are counted in by what a model says of them."""

    def __len__(self) -> int: ...

    def places(self, outputs: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.intp]:
        """Return the bins of each record, shape (n, per_record)."""
        ...

    def count(self, outputs: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many records are in each bin, shape (len(self),)."""
        ...


@dataclass(frozen=True)
class TrainingResult:
    """The result of local training beside the model.

    Attributes
    ----------
    num_examples : int
        Records of the training part.
    mean_loss : float
        Mean loss over the examples seen, each scored before the step it was used in.
    num_steps : int
        Steps of the optimiser.
    """

    num_examples: int
    mean_loss: float
    num_steps: int


def initial_model(task: Task) -> nn.Module:
    """Return the model that a run begins with, the same for the same seed everywhere.

    Untrained, or with adapters on a trained base. What stays on each node is marked.
    """
    with torch.random.fork_rng(devices=[]):
        seed_torch(task.seed)
        model = task.build_model()
        if task.config.adapters.rank:
            return adapted(model, task.config.adapters, task.base)
        if task.config.personal:
            mark_personal(model, task.config.personal)
        return model


def seed_torch(seed: int) -> None:
    """Seed torch's generator on the CPU; what is drawn on a GPU follows from it.

    ``torch.manual_seed`` would also note the seed for each kind of accelerator that is not
    there, with a trace of the calls: milliseconds, and memory that is never given back.
    """
    torch.default_generator.manual_seed(seed)


def get_parameters(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Return copies of what is exchanged by name, in the model's order.

    Frozen and personal parameters stay.
    """
    return arrays_of(exchanged(model))


def update_of(model: nn.Module, before: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return how far what is exchanged has moved, as one vector in the model's order.

    Nothing else as long as the model is made.

    Parameters
    ----------
    model : nn.Module
        After its training.
    before : mapping of ndarray
        What ``set_parameters`` was given; compared as the model has it.
    """
    parameters = exchanged(model)
    update = np.empty(sum(p.numel() for p in parameters.values()), np.float32)
    first = 0
    for name, parameter in parameters.items():
        after = parameter.detach().cpu().numpy()
        loaded = np.asarray(before[name], after.dtype).astype(np.float32, copy=False)
        piece = update[first : first + after.size].reshape(after.shape)
        np.subtract(after.astype(np.float32, copy=False), loaded, out=piece)
        first += after.size
    return update


def set_parameters(model: nn.Module, arrays: dict[str, NDArray[Any]]) -> None:
    """Load what is exchanged by name.

    Raises
    ------
    ValueError
        If a name or a shape differs from the model's.
    """
    load_into(exchanged(model), arrays)


def train(
    task: Task,
    model: nn.Module,
    examples: Examples,
    rng: np.random.Generator,
    proximal_mu: float,
) -> TrainingResult:
    """Train the model in place on one node's training part.

    Parameters
    ----------
    task : Task
        Gives the loss and the training configuration, and may make what is trained on.
    model : nn.Module
        Starts from the global model's parameters.
    examples : Examples
        The training part.
    rng : numpy Generator
        Draws the order of the examples, and what the task makes of them.
    proximal_mu : float
        Weight of FedProx's term mu/2 ||w - w_global||^2 (Li et al. 2020, arXiv 1812.06127,
        equation 2); 0 for none. It is over what is exchanged: the rest is in no global model.

    Raises
    ------
    DataError
        If there is no record to train on.
    ModelRefusedError
        If the configuration asks for a GPU and torch sees none.
    """
    if len(examples) == 0:
        raise DataError(
            "no record to train on: this node has too few, and all were held out"
            f" (task.test_fraction={task.config.test_fraction})"
        )
    config: TrainingConfig = task.config.training
    seen = task.experience(model, examples, rng)
    inputs, targets = torch.from_numpy(seen.inputs), torch.from_numpy(seen.targets)
    loss_sum, num_seen, num_steps = 0.0, 0, 0
    model.train()
    with placed(model, config) as device:
        optimizer = build_optimizer(model, config)
        shared = list(exchanged(model).values()) if proximal_mu else []
        start = [p.detach().clone() for p in shared]
        for batch in _batches(len(seen), config, rng):
            outputs = model(inputs[batch].to(device)).cpu()
            losses = task.per_example_loss(outputs, targets[batch])
            objective = losses.mean() + _proximal_term(shared, start, proximal_mu)
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
            loss_sum += float(losses.detach().sum())
            num_seen += len(batch)
            num_steps += 1
    return TrainingResult(len(examples), loss_sum / num_seen, num_steps)


def evaluate(task: Task, model: nn.Module, examples: Examples) -> dict[str, float]:
    """Return sums over the examples: ``num_examples``, ``loss``, each metric.

    Sums, not means, so that the total over all nodes is the plain sum of what they report.
    """
    return evaluate_in_bins(task, model, examples, None)[0]


def evaluate_in_bins(
    task: Task, model: nn.Module, examples: Examples, bins: Bins | None
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Return what ``evaluate`` does, and the examples in each bin, shape (len(bins),)."""
    totals = dict.fromkeys(("loss", *task.metric_names(task.config)), 0.0)
    counts = np.zeros(len(bins) if bins else 0, np.int64)
    with placed(model, task.config.training):
        for first in range(0, len(examples), _EVALUATION_BATCH):
            last = min(first + _EVALUATION_BATCH, len(examples))
            batch = examples.take(np.arange(first, last))
            losses, metrics, outputs = score(task, model, batch)
            for name, values in {"loss": losses, **metrics}.items():
                totals[name] += float(values.double().sum())
            if bins:
                counts += bins.count(outputs.double().numpy(), batch.targets)
    return {"num_examples": float(len(examples)), **totals}, counts.astype(np.float64)


@torch.inference_mode()
def score(
    task: Task, model: nn.Module, examples: Examples
) -> tuple[Tensor, Mapping[str, Tensor], Tensor]:
    """Return each record's loss and metrics, shape (n,) each, and the model's outputs.

    The model is then evaluating. It runs where its parameters are; all else is on the CPU.
    """
    model.eval()
    return task.score(model, examples)


@torch.inference_mode()
def outputs_of(model: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a model's outputs, shape (n, outputs), in batches as ``evaluate`` takes them.

    It runs where its parameters are: a loaded model on the CPU, so that the same rows have the
    same predictions on all machines.
    """
    model.eval()
    place = place_of(model)
    firsts = range(0, max(1, len(inputs)), _EVALUATION_BATCH)
    found = [
        model(torch.from_numpy(inputs[first : first + _EVALUATION_BATCH]).to(place)).cpu()
        for first in firsts
    ]
    return torch.cat(found).double().numpy()


def _proximal_term(
    shared: list[nn.Parameter], start: list[Tensor], mu: float
) -> Tensor | float:
    if not start:
        return 0.0
    pairs = zip(shared, start, strict=True)
    return mu / 2 * torch.stack([(p - s).square().sum() for p, s in pairs]).sum().cpu()


def _batches(
    num_examples: int, config: TrainingConfig, rng: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of each step's batch: whole epochs, or exactly ``num_steps`` steps."""
    steps_per_epoch = -(-num_examples // config.batch_size)
    steps_left = config.num_steps or config.num_epochs * steps_per_epoch
    while steps_left:
        order = rng.permutation(num_examples)
        for first in range(0, num_examples, config.batch_size):
            if not steps_left:
                return
            yield order[first : first + config.batch_size]
            steps_left -= 1
