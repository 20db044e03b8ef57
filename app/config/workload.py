"""Which workload a run has, and whether its privacy option has a bound for it."""

from app.config.algorithm import AlgorithmConfig
from app.config.privacy import LARGEST_NORM, SMALLEST_NORM, PrivacyConfig, PrivateConfig
from tasks.schema import TrainingConfig, require
from workloads.base import Workload, WorkloadConfig
from workloads.registry import WORKLOADS

# Of a record's gradient. What counts is the learning rate times the clip norm, and that is
# settled together with it (`app.builders.step`).
_OF_RECORD = 1.0
# Of an update, in learning rates: a single step along a gradient of length 1/2 is as long, and
# most updates are longer. So nearly all count the same, whatever the learning rate is.
_OF_UPDATE = 0.5


def workload_name(algorithm: WorkloadConfig) -> str:
    """Return the name of the workload in the registry."""
    if isinstance(algorithm, AlgorithmConfig):
        return algorithm.workload.value
    return next(name for name, cls in WORKLOADS.items() if cls.Config is type(algorithm))


def exact_workload(algorithm: WorkloadConfig, privacy: PrivacyConfig) -> str | None:
    """Return the workload if its sums are exact and answer what the server asks, else None."""
    name = workload_name(algorithm)
    return name if privacy.mode is None and WORKLOADS[name].is_integer else None


def check_initial_model(given: str, resume_from: str, algorithm: WorkloadConfig) -> None:
    """Refuse a model to begin with where a run does not begin, or begins in one way only.

    Raises
    ------
    ValueError
        Naming the values and the mend.
    """
    require(
        not resume_from,
        f"initial-model={given!r} with resume-from={resume_from!r}: a resumed run goes on with"
        " the model that it stopped at, and its folder says what it began with; take"
        " initial-model out",
    )
    name = workload_name(algorithm)
    why = WORKLOADS[name].begins_afresh
    require(not why, f"initial-model={given!r} with algorithm={name}: {why}")


def check_workload(
    algorithm: WorkloadConfig, privacy: PrivacyConfig, training: TrainingConfig
) -> None:
    """Refuse a workload that has no bound for the privacy unit, or a clip norm without effect.

    The clip norm of a record, or of a model's update, is set where none is given.

    Raises
    ------
    ValueError
        Naming the values and the mend.
    """
    name = workload_name(algorithm)
    workload, private = WORKLOADS[name], privacy.private
    if private is None:
        require(
            workload.serves_exact,
            f"workload {name}: it is summed under differential privacy only; {_mend(workload)}",
        )
        return
    require(
        private.mode in workload.serves,
        f"workload {name}: it has no bound for the unit {private.mode.unit} with"
        f" {private.mode.place} noise; {_mend(workload)}",
    )
    if (example := privacy.example) and not workload.takes_samples:
        require(
            example.sampling_rate == 1,
            f"privacy.sampling_rate={example.sampling_rate:g}: the workload {name} counts all"
            " records; give privacy.sampling_rate=1",
        )
    if workload.needs_clip_norm:
        if private.clip_norm is None:
            private.clip_norm = _settled_clip_norm(algorithm, private, training)
    else:
        require(
            private.clip_norm is None,
            f"privacy.clip_norm={private.clip_norm}: it has no effect on the workload {name},"
            " whose terms are bounded by what they are; take it out",
        )
        if private.adaptive is not None:
            raise ValueError(
                f"privacy.adaptive_clip.bit_noise={private.adaptive.bit_noise:g}: the workload"
                f" {name} has no clip norm that could follow its terms, which are bounded by"
                " what they are; take it out"
            )


def _settled_clip_norm(
    algorithm: WorkloadConfig, private: PrivateConfig, training: TrainingConfig
) -> float:
    """Return the clip norm of a run that gives none.

    Raises
    ------
    ValueError
        If none suits.
    """
    if private.mode.hides_records:
        return _OF_RECORD
    require(
        isinstance(algorithm, AlgorithmConfig),
        'privacy.clip_norm has no default and must be given, e.g. overrides="privacy.'
        'clip_norm=..."',
    )
    require(
        private.adaptive is None,
        "privacy.clip_norm: where it is adaptive, it has to begin somewhere; give"
        " privacy.clip_norm=0.1, say, or take privacy.adaptive_clip.bit_noise=0",
    )
    norm, rate = _OF_UPDATE * training.learning_rate, training.learning_rate
    require(
        SMALLEST_NORM <= norm <= LARGEST_NORM,
        f"task.training.learning_rate={rate:g}: half of it is the clip norm, and must be in"
        f" [{SMALLEST_NORM:g}, {LARGEST_NORM:g}]; give privacy.clip_norm",
    )
    return norm


def _mend(workload: type[Workload]) -> str:
    options = sorted(f"{unit}_{place}" for unit, place in workload.serves)
    if workload.serves_exact:
        options.append("none")
    other = "algorithm" if workload.Config is not None else "algorithm.workload"
    other = workload.instead or f"take another {other}"
    return f"{other}, or privacy={' or '.join(options)}"
