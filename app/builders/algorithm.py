"""From the configuration of the algorithm to Flower's strategy that steps with a mean."""

from collections.abc import Callable
from typing import Any

from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx, FedYogi

from app.config.algorithm import (
    AdaptiveConfig,
    FedAdamConfig,
    FedAvgConfig,
    FedAvgMConfig,
    FedProxConfig,
    FedYogiConfig,
)
from app.config.run import AppConfig
from strategies.rounds.records import ARRAYS
from workloads.base import NUM_EXAMPLES

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
    FedAvgMConfig: lambda c: FedAvgM(
        **_INNER,
        server_learning_rate=c.server_learning_rate,
        server_momentum=c.server_momentum,
    ),
    FedAdamConfig: lambda c: FedAdam(**_INNER, **_adaptive(c)),
    FedYogiConfig: lambda c: FedYogi(**_INNER, **_adaptive(c)),
}


def build_algorithm(config: AppConfig) -> FedAvg:
    """Return Flower's strategy, which sees the mean only; unused by other workloads."""
    build = _ALGORITHMS.get(type(config.algorithm), _ALGORITHMS[FedAvgConfig])
    return build(config.algorithm)
