"""Which workload a run has, and whether its privacy option has a bound for it."""

from app.config.algorithm import AlgorithmConfig, NeuralWorkload
from app.config.privacy import PrivacyConfig, PrivateConfig, mode_of
from privacy.plan.terms import Place
from privacy.unit import Unit
from tasks.schema import require
from workloads.base import Workload, WorkloadConfig
from workloads.registry import WORKLOADS


def settle_workload(algorithm: WorkloadConfig, privacy: PrivacyConfig) -> None:
    """Replace ``algorithm.workload=auto`` by the workload that it stands for."""
    if isinstance(algorithm, AlgorithmConfig) and algorithm.workload is NeuralWorkload.auto:
        mode = mode_of(privacy)
        summed = mode is not None and mode[0] is Unit.EXAMPLE and mode[1] is not Place.LOCAL
        algorithm.workload = (
            NeuralWorkload.gradient_sum if summed else NeuralWorkload.model_update
        )


def workload_name(algorithm: WorkloadConfig) -> str:
    """Return the name of the workload in the registry."""
    if isinstance(algorithm, AlgorithmConfig):
        return algorithm.workload.value
    return next(name for name, cls in WORKLOADS.items() if cls.Config is type(algorithm))


def check_workload(algorithm: WorkloadConfig, privacy: PrivacyConfig) -> None:
    """Refuse a workload that has no bound for the privacy unit, or a clip norm without effect.

    Raises
    ------
    ValueError
        Naming the values and the mend.
    """
    name = workload_name(algorithm)
    workload, mode = WORKLOADS[name], mode_of(privacy)
    if mode is None:
        require(
            workload.serves_exact,
            f"workload {name}: it is summed under differential privacy only; {_mend(workload)}",
        )
        return
    require(
        mode in workload.serves,
        f"workload {name}: it has no bound for the unit {mode[0]} with {mode[1]} noise;"
        f" {_mend(workload)}",
    )
    assert isinstance(privacy, PrivateConfig)  # noqa: S101 - only such have a mode
    if workload.needs_clip_norm:
        require(
            privacy.clip_norm is not None,
            'privacy.clip_norm has no default and must be given, e.g. overrides="privacy.'
            'clip_norm=..."',
        )
    else:
        require(
            privacy.clip_norm is None,
            f"privacy.clip_norm={privacy.clip_norm}: it has no effect on the workload {name},"
            " whose terms are bounded by what they are; take it out",
        )


def _mend(workload: type[Workload]) -> str:
    options = sorted(f"{unit}_{place}" for unit, place in workload.serves)
    if workload.serves_exact:
        options.append("none")
    return f"take another algorithm.workload, or privacy={' or '.join(options)}"
