"""From the typed configuration to objects: the only place that chooses.

The registries are plain dicts from the class of an option's configuration to what it stands
for; a run config can choose among them and nothing else.
"""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx, FedYogi

from app.config import resolved, task_of
from app.identity import peers_of
from app.schema import AppConfig, OnClientFailure
from app.schema_aggregation import PlainConfig, SecAggConfig
from app.schema_algorithm import (
    AdaptiveConfig,
    FedAdamConfig,
    FedAvgConfig,
    FedAvgMConfig,
    FedProxConfig,
    FedYogiConfig,
)
from strategies.base import RoundStrategy
from strategies.contribution import ARRAYS, NUM_EXAMPLES
from strategies.encoding import ContributionCodec
from strategies.loop import LoopSettings
from strategies.plain import Plain
from strategies.secagg.graph import Terms
from strategies.secure import SecAgg
from strategies.secure_settings import SecAggSettings
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

#: The client's half of each aggregation: a module with ``answer``, imported when needed.
CLIENT_MODULES: dict[type, str] = {
    PlainConfig: "app.plain_client",
    SecAggConfig: "app.secagg_client",
}


@dataclass(frozen=True)
class RunFacts:
    """What only the running server knows.

    Attributes
    ----------
    run_id : int
        Flower's.
    num_simulated : int or None
        Simulated nodes; None in a deployment.
    """

    run_id: int
    num_simulated: int | None


def _plain(inner: FedAvg, config: AppConfig, facts: RunFacts) -> RoundStrategy:
    plain = cast(PlainConfig, config.aggregation)
    codec = build_codec(config) if plain.through_codec else None
    return Plain(inner, config.rounds.min_replies, metric_names(config), codec)


def _secagg(inner: FedAvg, config: AppConfig, facts: RunFacts) -> RoundStrategy:
    settings = secagg_config(config)
    peers = peers_of(Path(settings.peers_file).expanduser()) if settings.peers_file else None
    if settings.consistency_check and peers is None:
        raise ValueError(
            "aggregation.consistency_check=true: the server needs aggregation.peers_file too"
        )
    return SecAgg(
        inner,
        config.rounds.min_replies,
        SecAggSettings(
            run_id=facts.run_id,
            terms=build_terms(config, facts.num_simulated),
            codec=build_codec(config),
            config_hash=config_hash(config),
            consistency_check=settings.consistency_check,
            peers=peers,
        ),
    )


_AGGREGATIONS: dict[type, Callable[[FedAvg, AppConfig, RunFacts], RoundStrategy]] = {
    PlainConfig: _plain,
    SecAggConfig: _secagg,
}


def task_name(config: AppConfig) -> str:
    """Return the registry name of the task, whatever YAML configured it."""
    return next(name for name, task in TASKS.items() if task is task_of(config))


def metric_names(config: AppConfig) -> tuple[str, ...]:
    """Return the names of the task's metrics, known without any record."""
    return task_of(config).metric_names(config.task)


def build_task(config: AppConfig) -> Task:
    """Return the task."""
    return task_of(config)(config.task, config.seed)


def build_strategy(config: AppConfig, facts: RunFacts) -> RoundStrategy:
    """Return the aggregation around the algorithm.

    Raises
    ------
    ValueError
        If the numbers do not go together; names the values and the mend.
    """
    inner = _ALGORITHMS[type(config.algorithm)](config.algorithm)
    return _AGGREGATIONS[type(config.aggregation)](inner, config, facts)


def secagg_config(config: AppConfig) -> SecAggConfig:
    """Return the configuration of secure aggregation, which must be the chosen one."""
    if not isinstance(config.aggregation, SecAggConfig):
        raise TypeError("aggregation is not secagg")
    return config.aggregation


def build_codec(config: AppConfig) -> ContributionCodec:
    """Return how contributions become integers; the same on server and clients."""
    codec = cast(PlainConfig | SecAggConfig, config.aggregation).codec
    return ContributionCodec(
        modulus_bits=codec.modulus_bits,
        clip_range=codec.clip_range,
        max_weight_examples=codec.max_weight_examples,
        metric_names=metric_names(config),
    )


def build_terms(config: AppConfig, num_simulated: int | None) -> Terms:
    """Return the protocol's public numbers; the same on server and clients.

    Two nodes cannot hide from each other in a sum, so c = 0 is all that is left there. A
    simulation, in which nobody is to be kept out, goes on with that; a deployment refuses.
    """
    settings = secagg_config(config)
    max_colluding = 0 if num_simulated == 2 else settings.max_colluding
    return Terms(
        min_survivors=settings.min_survivors or None,
        max_colluding=max_colluding,
        threshold=settings.threshold or None,
        num_neighbors=settings.num_neighbors or None,
        max_dropout_fraction=settings.max_dropout_fraction,
    )


def config_hash(config: AppConfig) -> bytes:
    """Return SHA-256 of the resolved configuration (32 bytes), for the plan."""
    return hashlib.sha256(json.dumps(resolved(config), sort_keys=True).encode()).digest()


def build_settings(config: AppConfig, simulated: bool) -> LoopSettings:
    """Return the settings of the round loop; in a simulation no client comes later."""
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
        wait_for_clients=not simulated,
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
