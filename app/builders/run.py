"""Build from the typed configuration what a run needs: strategy, codec, settings, cohorts.

Nothing is built from a name of code in the configuration: an option has a class of its own, and
what that stands for is looked up here, in the modules beside and in the registries.
"""

import hashlib
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.builders.algorithm import build_algorithm
from app.builders.privacy import check_cost, min_cohort, privacy_plan, private_codec
from app.builders.step import learning_rate
from app.config.load import resolved
from app.config.run import AppConfig, OnClientFailure
from app.config.workload import workload_name
from app.node.identity import peers_of
from privacy.accounting.calibration_cache import Calibrations
from strategies.aggregation import ServerSide
from strategies.codec.codec import Codec
from strategies.codec.compressed_codec import CompressedCodec
from strategies.codec.exact_codecs import ClearCodec, FixedPointCodec, IntegerCodec
from strategies.codec.run_state import (
    AdaptiveClip,
    CompressedRunState,
    FollowedRunState,
    PrivateRunState,
    RunState,
)
from strategies.registry import aggregation_of
from strategies.rounds.settings import LoopSettings
from strategies.rounds.strategy import RoundStrategy
from workloads.base import Workload
from workloads.registry import WORKLOADS

log = logging.getLogger("flwr.tacet")


@dataclass(frozen=True)
class RunFacts:
    """What only the running server knows.

    Attributes
    ----------
    run_id : int
        Flower's id of the run.
    num_simulated : int or None
        Simulated nodes; None in a deployment.
    workload : Workload
        What is summed.
    length : int
        Of the vector that is summed.
    learning_rate : float or None
        What the first part of a resumed run multiplied noisy means by; None of a new run.
    """

    run_id: int
    num_simulated: int | None
    workload: Workload
    length: int
    learning_rate: float | None = None


def node_encodes(config: AppConfig, workload: Workload) -> bool:
    """Return whether a node encodes its contribution even where nothing is masked."""
    return config.privacy.mode is not None or workload.is_integer


def nodes_follow(config: AppConfig, workload: Workload) -> bool:
    """Return whether requests bring the last sum, so that nodes can work out the next state."""
    is_exact = config.privacy.mode is None and workload.is_integer
    return is_exact and config.aggregation.is_signed


def build_strategy(config: AppConfig, facts: RunFacts) -> RoundStrategy:
    """Return the aggregation around the algorithm.

    Raises
    ------
    ValueError
        If the numbers do not go together; names the values and the mend.
    """
    workload = _knowing_noise(config, facts)
    clear = ClearCodec(
        sum_names=workload.sum_names(training=True), is_weighted=workload.is_weighted
    )
    side = ServerSide(
        config=config.aggregation,
        config_hash=config_hash(config),
        inner=build_algorithm(config),
        min_replies=config.rounds.min_replies,
        workload=workload,
        coding=build_coding(config, workload, facts.length),
        in_clear=RunState(clear, workload.scores, tells_weight=workload.averages_updates),
        node_encodes=node_encodes(config, workload),
        run_id=facts.run_id,
        num_simulated=facts.num_simulated,
        read_peers=lambda file: peers_of(Path(file).expanduser()),
    )
    strategy = aggregation_of(config.aggregation).serve(side)
    if config.rounds.is_incremental:
        strategy.synchroniser.delta = config.rounds.delta
    return strategy


def _knowing_noise(config: AppConfig, facts: RunFacts) -> Workload:
    """Return the workload with what follows from the noise of its sums, on the server.

    A resumed run goes on with the steps of its first part, though of other rounds in all others
    would follow.
    """
    workload = facts.workload
    is_bounded = not workload.needs_clip_norm
    if config.privacy.mode is None or not (is_bounded or config.privacy.stepped):
        return workload
    plan = privacy_plan(config, workload, facts.length)
    if is_bounded:
        return workload.with_noise(plan.sum_deviation * workload.bound())
    rate = facts.learning_rate or learning_rate(config, plan)
    if rate is None:
        return workload
    log.info("each step has the learning rate %.4g", rate)
    return workload.with_learning_rate(rate)


def build_codec(
    config: AppConfig,
    workload: Workload,
    length: int,
    clip_norm: float | None = None,
    kept: Calibrations | None = None,
    ranges: tuple[float, ...] = (),
) -> Codec:
    """Return how contributions become integers; the same on server and clients.

    Parameters
    ----------
    config : AppConfig
        The configuration of the run.
    workload : Workload
        What is summed.
    length : int
        Of the vector that is summed.
    clip_norm : float, optional
        Of this round, where it is adaptive.
    kept : Calibrations, optional
        What the node has calibrated before.
    ranges : tuple of float
        See ``exact_codec``.

    Raises
    ------
    ValueError
        If the numbers of a private run do not go together, or ranges are none.
    """
    if config.privacy.mode is not None:
        return private_codec(config, workload, length, clip_norm, kept)
    return exact_codec(config, workload, length, ranges)


def build_coding(config: AppConfig, workload: Workload, length: int) -> RunState:
    """Return the server's codec of a run, with what it changes and counts."""
    private = config.privacy.private
    if private is None:
        codec = exact_codec(config, workload, length)
        told = {"scores": workload.scores, "tells_weight": workload.averages_updates}
        if isinstance(codec, CompressedCodec):
            return CompressedRunState(codec, **told)
        if nodes_follow(config, workload):
            return FollowedRunState(codec, workload.scores, workload.loads_as)
        return RunState(codec, **told)
    adaptive = private.adaptive
    clip = adaptive and AdaptiveClip(
        target_quantile=adaptive.target_quantile,
        learning_rate=adaptive.learning_rate,
        expected_cohort=private.population * config.rounds.cohort_fraction,
    )
    codec = private_codec(config, workload, length)
    check_cost(config, codec.plan)
    return PrivateRunState(codec, clip)


def exact_codec(
    config: AppConfig, workload: Workload, length: int, ranges: tuple[float, ...] = ()
) -> Codec:
    """Return the codec of a run without differential privacy.

    Parameters
    ----------
    config : AppConfig
        The configuration of the run.
    workload : Workload
        What is summed.
    length : int
        Of the vector that is summed.
    ranges : tuple of float
        Of this round, where values are rounded at random and the server knows them.

    Raises
    ------
    ValueError
        If these are no ranges of such vectors.
    """
    names, shares = workload.sum_names(training=True), workload.share_names()
    if workload.is_integer:
        return IntegerCodec(sum_names=names, share_names=shares)
    codec = config.aggregation.codec
    given: dict[str, Any] = {
        "modulus_bits": codec.modulus_bits,
        "clip_range": codec.clip_range,
        "max_weight_examples": codec.max_weight_examples if workload.is_weighted else None,
        "sum_names": names,
        "share_names": shares,
    }
    if not codec.is_compressed:
        return FixedPointCodec(**given)
    return CompressedCodec(
        **given,
        dimension=length,
        value_bits=codec.value_bits,
        keep_fraction=codec.keep_fraction,
        error_feedback=codec.error_feedback,
    ).with_ranges(ranges)


@lru_cache(maxsize=32)
def config_hash(config: AppConfig) -> bytes:
    """Return SHA-256 of the resolved configuration (32 bytes), for the mask binding.

    Worked out once for each configuration that ``load_config`` gives: every message needs it.
    """
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
        max_silent=rounds.max_silent,
        stop_on_client_failure=rounds.on_client_failure is OnClientFailure.stop,
        deadline_seconds=rounds.deadline_seconds,
        patience=config.early_stopping.patience,
        min_delta=config.early_stopping.min_delta,
        average_from=config.average_from,
        wait_for_clients=not simulated,
        divergence_mend=_divergence_mend(config),
        min_poisson_cohort=_min_poisson_cohort(config),
    )


def _divergence_mend(config: AppConfig) -> str:
    """Return which keys to lower if training diverges, with their values."""
    if not WORKLOADS[workload_name(config.algorithm)].has_model:
        return "look for huge values in the records"
    keys: list[str] = []
    if not WORKLOADS[workload_name(config.algorithm)].idle_training:
        keys.append(f"task.training.learning_rate={config.task.training.learning_rate:g}")
    if config.privacy.stepped is not None:
        keys.append("privacy.learning_rate")
    of_server = getattr(config.algorithm, "server_learning_rate", None)
    if of_server is not None:
        keys.append(f"algorithm.server_learning_rate={of_server:g}")
    return f"lower {' or '.join(keys)}"


def _min_poisson_cohort(config: AppConfig) -> int:
    """Return the fewest that are asked where each client is drawn by a coin of its own.

    Amplification by sampling assumes such coins, and the chance of a cohort that is drawn again
    is accounted for.
    """
    mode = config.privacy.mode
    if mode is not None and mode.hides_clients:
        return min_cohort(config)
    return 0


def build_cohort_rng(config: AppConfig) -> Callable[[int], random.Random]:
    """Return what draws the cohort of a round: the operating system, or the seed if asked."""
    if config.deterministic:
        return lambda server_round: random.Random(f"cohort/{config.seed}/{server_round}")  # noqa: S311
    return lambda _: random.SystemRandom()
