"""From the typed configuration to objects: the only place that chooses.

The registries are plain dicts from the class of an option's configuration to what it stands
for; a run config can choose among them and nothing else.
"""

import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx, FedYogi

from app.schema import (
    AdaptiveConfig,
    AppConfig,
    FedAdamConfig,
    FedAvgConfig,
    FedAvgMConfig,
    FedProxConfig,
    FedYogiConfig,
    OnClientFailure,
    PlainConfig,
)
from strategies.base import RoundStrategy
from strategies.contribution import ARRAYS, NUM_EXAMPLES
from strategies.loop import LoopSettings
from strategies.plain import Plain
from tasks.base import Task
from tasks.registry import TASKS

# The round loop samples the cohort; the inner strategy takes all of it.
_INNER: dict[str, Any] = {
    "fraction_train": 1.0,
    "fraction_evaluate": 1.0,
    "min_train_nodes": 1,
    "min_evaluate_nodes": 1,
    "min_available_nodes": 1,
    "weighted_by_key": NUM_EXAMPLES,
    "arrayrecord_key": ARRAYS,
}


def _adaptive(config: AdaptiveConfig) -> dict[str, Any]:
    return {
        "eta": config.server_learning_rate,
        "beta_1": config.beta_1,
        "beta_2": config.beta_2,
        "tau": config.tau,
    }


_ALGORITHMS: dict[type, Callable[[Any], FedAvg]] = {
    FedAvgConfig: lambda _: FedAvg(**_INNER),
    FedProxConfig: lambda c: FedProx(**_INNER, proximal_mu=c.proximal_mu),
    FedAvgMConfig: lambda c: FedAvgM(**_INNER, **asdict(c)),
    FedAdamConfig: lambda c: FedAdam(**_INNER, **_adaptive(c)),
    FedYogiConfig: lambda c: FedYogi(**_INNER, **_adaptive(c)),
}

_AGGREGATIONS: dict[type, Callable[[FedAvg, AppConfig], RoundStrategy]] = {
    PlainConfig: lambda inner, config: Plain(inner, config.rounds.min_replies),
}


def task_name(config: AppConfig) -> str:
    """Return the registry name of the task, whatever YAML configured it."""
    return next(n for n, task in TASKS.items() if type(config.task) is task.Config)


def build_task(config: AppConfig) -> Task:
    """Return the task."""
    return TASKS[task_name(config)](config.task, config.seed)


def build_strategy(config: AppConfig) -> RoundStrategy:
    """Return the aggregation around the algorithm."""
    inner = _ALGORITHMS[type(config.algorithm)](config.algorithm)
    return _AGGREGATIONS[type(config.aggregation)](inner, config)


def build_settings(config: AppConfig) -> LoopSettings:
    """Return the settings of the round loop."""
    rounds = config.rounds
    return LoopSettings(
        num_rounds=config.num_rounds,
        cohort_fraction=rounds.cohort_fraction,
        min_clients=rounds.min_clients,
        min_replies=rounds.min_replies,
        max_attempts=rounds.max_attempts,
        stop_on_client_failure=rounds.on_client_failure is OnClientFailure.stop,
        deadline_seconds=rounds.deadline_seconds,
        patience=config.early_stopping.patience,
        min_delta=config.early_stopping.min_delta,
    )


def build_cohort_rng(config: AppConfig) -> Callable[[int], random.Random]:
    """Return what draws the cohort of a round: the operating system, or the seed if asked."""
    if config.deterministic:
        return lambda server_round: random.Random(f"cohort/{config.seed}/{server_round}")  # noqa: S311
    return lambda _: random.SystemRandom()


def proximal_mu(config: AppConfig) -> float:
    """Return the weight of the proximal term on the clients; 0 for none."""
    if isinstance(config.algorithm, FedProxConfig):
        return config.algorithm.proximal_mu
    return 0.0
