"""A model trained in one place, as the federated ones of a run with ``average_from`` are."""

from typing import Any

import numpy as np
import torch

from tasks.base import Task
from tasks.records import Examples
from tasks.training.local import initial_model, train


def averaged_model(task: Task, records: Examples, seed: int, num_rounds: int) -> Any:
    """Return the mean of the models after each of the last half of the rounds.

    Parameters
    ----------
    task : Task
        Its epochs are those of a round.
    records : Examples
        All that are trained on.
    seed : int
        Of the batches.
    num_rounds : int
        How often the optimiser begins afresh, as it does in each round.
    """
    model, rng = initial_model(task), np.random.default_rng(seed)
    kept: list[dict[str, Any]] = []
    for done in range(num_rounds):
        train(task, model, records, rng, 0.0)
        if done >= num_rounds // 2:
            kept.append({name: value.clone() for name, value in model.state_dict().items()})
    model.load_state_dict({n: torch.stack([k[n] for k in kept]).mean(0) for n in kept[0]})
    return model
