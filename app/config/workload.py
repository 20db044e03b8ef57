"""Which workload a run has, and whether its privacy option has a bound for it."""

from app.config.algorithm import AlgorithmConfig
from app.config.privacy import PrivacyConfig
from tasks.schema import require
from workloads.base import Workload, WorkloadConfig
from workloads.registry import WORKLOADS

# Of a record's gradient. What counts is the learning rate times this, and that is settled
# together with it (`app.builders.step`).
_CLIP_NORM = 1.0


def workload_name(algorithm: WorkloadConfig) -> str:
    """Return the name of the workload in the registry."""
    if isinstance(algorithm, AlgorithmConfig):
        return algorithm.workload.value
    return next(name for name, cls in WORKLOADS.items() if cls.Config is type(algorithm))


def check_workload(algorithm: WorkloadConfig, privacy: PrivacyConfig) -> None:
    """Refuse a workload that has no bound for the privacy unit, or a clip norm without effect.

    A record's clip norm is set where none is given.

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
    if workload.needs_clip_norm:
        require(
            private.clip_norm is not None or private.mode.hides_records,
            'privacy.clip_norm has no default and must be given, e.g. overrides="privacy.'
            'clip_norm=..."',
        )
        private.clip_norm = private.clip_norm or _CLIP_NORM
    else:
        require(
            private.clip_norm is None,
            f"privacy.clip_norm={private.clip_norm}: it has no effect on the workload {name},"
            " whose terms are bounded by what they are; take it out",
        )


def _mend(workload: type[Workload]) -> str:
    options = sorted(f"{unit}_{place}" for unit, place in workload.serves)
    if workload.serves_exact:
        options.append("none")
    other = "algorithm" if workload.Config is not None else "algorithm.workload"
    return f"take another {other}, or privacy={' or '.join(options)}"
