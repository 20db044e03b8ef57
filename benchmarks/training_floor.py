"""The least time of a round: its training alone."""

import time

import numpy as np
import torch

from app.builders.workload import build_task
from app.config.run import AppConfig
from tasks.base import DataSource
from tasks.training.local import evaluate, initial_model, train

_REPEATS = 10


def measure_floor(
    config: AppConfig, num_clients: int, workers: int, repeats: int = _REPEATS
) -> float:
    """Return the seconds of one round's training alone, as the CPU's time tells them.

    Parameters
    ----------
    config : AppConfig
        What is trained.
    num_clients : int
        How many clients share the data.
    workers : int
        Processes that train at the same time, with one thread each.
    repeats : int
        The least of so many is returned.
    """
    # As Ray sets it in a worker that was given one CPU.
    torch.set_num_threads(1)
    task, mu = build_task(config), getattr(config.algorithm, "proximal_mu", 0.0)
    parts = [task.load(DataSource(k, num_clients)) for k in range(num_clients)]
    rng = np.random.default_rng(config.seed)
    totals: list[float] = []
    for _ in range(repeats):
        total = 0.0
        for part in parts:
            model = initial_model(task)
            started = time.process_time()
            evaluate(task, model, part.test)
            train(task, model, part.train, rng, mu)
            total += time.process_time() - started
        totals.append(total)
    # The least: what torch sets up once and whatever else the machine does only adds. Fewer
    # clients than workers leave some of these idle.
    return min(totals) / min(workers, num_clients)
