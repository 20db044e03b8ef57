"""From the configuration of privacy to the noise: the private half of ``app.builders.run``."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, cast

from app.config.privacy import PrivateConfig
from app.config.run import AppConfig
from privacy.accounting.calibration_cache import Calibrations
from privacy.accounting.resolve import resolve
from privacy.accounting.run_spent import spent_of
from privacy.plan.plan import PrivacyPlan
from privacy.plan.release import ReleaseError
from privacy.plan.terms import PrivacyTerms
from strategies.codec.private_codec import PrivateCodec
from workloads.base import Workload

_USUAL = {
    "privacy.epsilon": (0.01, 100.0),
    "privacy.noise_multiplier": (0.01, 1000.0),
    "privacy.delta": (1e-12, 0.01),
}


def num_local_steps(config: AppConfig) -> int:
    """Return the steps of DP-SGD in one contribution: a public number, whatever a node has."""
    example = config.privacy.example
    if example is None or not example.mode.trains_privately:
        return 1
    return example.num_local_steps(config.task.training)


def privacy_terms(config: AppConfig, workload: Workload, length: int) -> PrivacyTerms:
    """Return the public numbers of a private run.

    Raises
    ------
    ValueError
        If they do not go together; names the values.
    """
    privacy, example = _private(config), config.privacy.example
    adaptive, aggregation = privacy.adaptive, config.aggregation
    return PrivacyTerms(
        unit=privacy.mode.unit,
        place=privacy.mode.place,
        mechanism=privacy.noise,
        epsilon=privacy.epsilon,
        noise_multiplier=privacy.noise_multiplier,
        delta=privacy.delta,
        dimension=length,
        population=privacy.population,
        cohort_fraction=config.rounds.cohort_fraction,
        min_survivors=min_survivors(config),
        min_cohort=min_cohort(config),
        # Without masks nobody's noise is anybody else's, and c is 0.
        max_colluding=aggregation.promised_colluding,
        sampling_rate=example.sampling_rate if example else 1.0,
        batch_size=example.expected_batch_size if example else 0.0,
        num_rounds=config.num_rounds,
        spare_attempts=privacy.spare_attempts,
        num_local_steps=num_local_steps(config),
        modulus_bits=aggregation.codec.modulus_bits,
        range_deviations=privacy.range_deviations,
        num_metrics=len(workload.score_names),
        metrics_bound=workload.scores_bound,
        metrics_every=privacy.metrics.every,
        metrics_noise_multiplier=privacy.metrics.noise_multiplier,
        clip_bit_noise=adaptive.bit_noise if adaptive else 0.0,
        keep_fraction=aggregation.codec.keep_fraction,
    )


def privacy_plan(
    config: AppConfig, workload: Workload, length: int, kept: Calibrations | None = None
) -> PrivacyPlan:
    """Return the run's noise, calibrated once in a process, or once on a node.

    Raises
    ------
    ValueError
        If no noise keeps to epsilon and fits the modulus.
    """
    with naming_extremes(_private(config)):
        return resolve(privacy_terms(config, workload, length), kept)


@contextmanager
def naming_extremes(privacy: PrivateConfig) -> Generator[None]:
    """Name the numbers of a private run where arithmetic fails on them, and the mend.

    Raises
    ------
    ValueError
        In place of an overflow, say, or of noise that is not finite.
    """
    try:
        yield
    except (ArithmeticError, ReleaseError):
        numbers = dict(_numbers("privacy", privacy))
        extreme = {key: value for key, value in numbers.items() if not _is_usual(key, value)}
        told = "; ".join(
            "{}={:g}: take a value from {:g} to {:g}".format(key, value, *_usual(key))
            for key, value in (extreme or numbers).items()
        )
        raise ValueError(f"numbers too extreme to compute with: {told}") from None


def _usual(key: str) -> tuple[float, float]:
    """Return between what a number of a private run lies wherever it makes sense."""
    return _USUAL.get(key, (1e-6, 1e9))


def _is_usual(key: str, value: float) -> bool:
    least, most = _usual(key)
    return least <= value <= most


def _numbers(prefix: str, part: object) -> Iterator[tuple[str, float]]:
    """Yield every number above 0 of a part of the configuration, with its dotted key."""
    for field in fields(cast(Any, part)):
        key, value = f"{prefix}.{field.name}", getattr(part, field.name)
        if is_dataclass(value):
            yield from _numbers(key, value)
        elif isinstance(value, int | float) and value > 0 and value is not True:
            yield key, value


def private_codec(
    config: AppConfig,
    workload: Workload,
    length: int,
    clip_norm: float | None = None,
    kept: Calibrations | None = None,
) -> PrivateCodec:
    """Return how private contributions become integers; the same on server and clients.

    Parameters
    ----------
    config : AppConfig
        With a privacy option.
    workload : Workload
        What is summed.
    length : int
        Of the vector that is summed.
    clip_norm : float, optional
        Where an adaptive clip norm stands; the configured one unless given.
    kept : Calibrations, optional
        The node's, which has calibrated this run before, perhaps.
    """
    privacy = _private(config)
    return PrivateCodec(
        plan=privacy_plan(config, workload, length, kept),
        clip_norm=clip_norm or privacy.clip_norm or workload.bound(),
        score_names=workload.score_names,
        loss_clip=privacy.metrics.loss_clip,
        clip_range=config.aggregation.codec.clip_range,
    )


def check_cost(config: AppConfig, plan: PrivacyPlan) -> None:
    """Refuse a run whose cost cannot be computed, before any node is asked.

    Raises
    ------
    ValueError
        Naming the numbers and the mend.
    """
    terms = plan.terms
    with naming_extremes(_private(config)):
        spent_of(plan, terms.num_updates, terms.num_metric_releases, terms.population)


def min_survivors(config: AppConfig) -> int:
    """Return T, as far as the configuration gives it."""
    return config.aggregation.promised_survivors or config.rounds.min_replies


def min_cohort(config: AppConfig) -> int:
    """Return the fewest nodes that a round can close with: a smaller cohort is drawn again."""
    return max(config.rounds.min_replies, config.aggregation.fewest_nodes)


def _private(config: AppConfig) -> PrivateConfig:
    private = config.privacy.private
    if private is None:
        raise TypeError("privacy=none promises nothing")
    return private
