"""One audit, from a run config to its findings: refuse, play the runs, judge."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.audit.attack import Attack
from app.audit.canaries import Canaries, Terms, make_canaries
from app.audit.verdict import Findings, confidence_of_each, findings
from app.builders.privacy import min_survivors, naming_extremes, private_codec
from app.builders.workload import build_workload
from app.config.load import ConfigError, Scalar, load_config, load_given, option_of
from app.config.run import AppConfig
from app.config.words import replaced
from app.results.run_folder import RunFolderError
from privacy.audit.claim import Claim, claim_of
from privacy.plan.plan import PrivacyPlan
from privacy.unit import Unit
from strategies.rounds.attempt import RunStoppedError

_CANARIES = 8
# Of a real run's places: an audit opens none of them.
_NOT_READ = ("output-dir", "resume-from", "initial-model", "data-dir", "simulation-nodes")


class AuditError(ValueError):
    """The run cannot be audited. The message says why, and the mend."""


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """The size of an audit.

    Attributes
    ----------
    num_canaries : int or None
        Of each run, at least 1; None for 8, or one for each node under the client unit.
    num_runs : int
        Independent runs, at least 1.
    confidence : float
        Of both bounds together, in (0, 1).
    """

    num_canaries: int | None
    num_runs: int
    confidence: float

    def __post_init__(self) -> None:
        if self.num_canaries is not None and self.num_canaries < 1:
            raise AuditError(f"--canaries {self.num_canaries}: must be at least 1")
        if self.num_runs < 1:
            raise AuditError(f"--repeats {self.num_runs}: must be at least 1")
        # As the bounds reckon with it: next to 1 it would be rounded to that, after all runs.
        if not (self.confidence > 0 and confidence_of_each(self.confidence) < 1):
            raise AuditError(
                f"--confidence {self.confidence:.17g}: must be above 0 and below 1, and no"
                " nearer to 1 than 1e-15; take 0.999999, say"
            )


def audit(
    run_config: Mapping[str, Scalar],
    options: AuditOptions,
    progress: Callable[[int], None],
) -> Findings:
    """Attack a run's privacy through the real apps, in this process.

    Parameters
    ----------
    run_config : mapping
        As of ``flwr run``. Its folders and nodes are not read: all records are made up.
    options : AuditOptions
        The size.
    progress : callable
        Told the number of runs that are done, after each.

    Raises
    ------
    AuditError
        If the configuration is wrong or cannot be audited, or a run does not end.
    """
    chosen = {key: value for key, value in run_config.items() if key not in _NOT_READ}
    # A plan or a model that is refused is a ValueError too.
    with _telling(ValueError):
        config = load_given(chosen)
        chosen = _with_fewest(chosen, config)
        stage = _prepare(load_config(chosen), chosen, options)
    num_canaries = len(stage.canaries)
    coins = np.random.default_rng().integers(0, 2, (options.num_runs, num_canaries)) > 0
    scores = np.empty(coins.shape)
    with tempfile.TemporaryDirectory(prefix="tacet-audit-") as folder, _quiet():
        for number in range(options.num_runs):
            with _telling(ConfigError, RunFolderError, RunStoppedError):
                scores[number] = stage.attack.play(coins[number], Path(folder) / "run")
            progress(number + 1)
    return findings(stage.plan, stage.claim, scores, coins, options.confidence, stage.reach)


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """All that the runs of an audit share."""

    plan: PrivacyPlan
    claim: Claim
    canaries: Canaries
    attack: Attack
    reach: float


def _prepare(
    config: AppConfig, run_config: Mapping[str, Scalar], options: AuditOptions
) -> _Stage:
    unit = _auditable(config)
    workload = build_workload(config)
    workload.rehearse()
    initial = workload.initial_state()
    codec = private_codec(config, workload, workload.length(initial))
    plan, num_nodes = codec.plan, _fewest_nodes(config)
    num_canaries = _num_canaries(unit, options, num_nodes)
    canaries = make_canaries(workload.task, unit, num_canaries, num_nodes)
    terms = Terms(workload, plan, codec.clip_norm, canaries)
    lengths = np.linalg.norm(terms.at(initial, 1), axis=1)
    release = plan.update_release(colluding=0)
    attack = Attack(
        run_config,
        num_nodes,
        canaries,
        terms,
        initial,
        deviation=codec.clip_norm * release.noise_scale / release.l2_sensitivity,
        chance=release.sampling_rate,
    )
    private = config.privacy.private
    assert private is not None  # noqa: S101 - refused otherwise, see _auditable
    with naming_extremes(private):
        claim = claim_of(plan)
    return _Stage(
        plan=plan,
        claim=claim,
        canaries=canaries,
        attack=attack,
        reach=float(lengths.mean()) / codec.clip_norm,
    )


@contextmanager
def _telling(*errors: type[Exception]) -> Generator[None]:
    """Turn errors whose message says all that a user needs into this module's, in one line."""
    try:
        yield
    except errors as error:
        raise AuditError(" ".join(str(error).split())) from None


def _auditable(config: AppConfig) -> Unit:
    """Return the unit of the canaries; refuse what this attack cannot judge."""
    option, mode = option_of(config, "privacy"), config.privacy.mode
    if mode is None:
        raise AuditError("privacy=none claims nothing; choose a privacy option to audit")
    if not (mode.is_distributed or mode.is_central):
        raise AuditError(
            f"privacy={option}: its noise is added before the sum that an audit looks at;"
            " audit a _distributed or _central option"
        )
    if config.rounds.cohort_fraction < 1:
        raise AuditError(
            f"rounds.cohort_fraction={config.rounds.cohort_fraction:g}: a canary would miss"
            " rounds; audit with 1, for the server's figure does not count on cohorts"
        )
    if config.privacy.adaptive is not None:
        raise AuditError(
            "privacy.adaptive_clip.bit_noise above 0: a canary's term would not be known;"
            " audit with a fixed clip norm"
        )
    if config.aggregation.codec.keep_fraction < 1:
        raise AuditError(
            f"aggregation.codec.keep_fraction={config.aggregation.codec.keep_fraction:g}: this"
            " attack looks for whole terms; audit with aggregation.codec.keep_fraction=1,"
            " which has the same noise"
        )
    if config.deterministic:
        raise AuditError("deterministic=true: the runs of an audit must be independent")
    if config.aggregation.is_signed:
        raise AuditError(
            "aggregation.identities=true: an audit's nodes have no keys; audit with false, for"
            " the noise is the same"
        )
    return mode.unit


def _with_fewest(run_config: Mapping[str, Scalar], config: AppConfig) -> dict[str, Scalar]:
    """Return the run config of a run that begins with the fewest nodes that a round can have.

    In a deployment so many of those that were connected may answer.
    """
    return replaced(run_config, {"rounds.min_clients": str(_fewest_nodes(config))})


def _fewest_nodes(config: AppConfig) -> int:
    """Return the fewest nodes that a round can have: more would add more noise."""
    return max(min_survivors(config), config.rounds.min_replies)


def _num_canaries(unit: Unit, options: AuditOptions, num_nodes: int) -> int:
    if unit is Unit.EXAMPLE:
        return _CANARIES if options.num_canaries is None else options.num_canaries
    if options.num_canaries not in (None, num_nodes):
        raise AuditError(
            f"--canaries {options.num_canaries}: under the client unit each of the"
            f" {num_nodes} nodes is one; leave it out"
        )
    return num_nodes


@contextmanager
def _quiet() -> Generator[None]:
    """Keep Flower and Tacet from logging every round of every run; errors are still told."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
