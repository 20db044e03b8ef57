"""From the configuration to the workload: whose records, what is summed, what becomes of it."""

from typing import Any

from app.config.privacy import ExamplePrivacyConfig
from app.config.run import AppConfig
from app.config.workload import workload_name
from tasks.base import Task
from tasks.registry import task_of
from workloads.base import Setup, Workload
from workloads.registry import WORKLOADS


def build_task(config: AppConfig) -> Task:
    """Return the task.

    Raises
    ------
    ValueError
        If the run is private and the task's preprocessing is not.
    """
    task = task_of(config.task)(config.task, config.seed)
    if config.privacy.mode is not None:
        task.is_private = True
        task.check_private()
    return task


def build_workload(config: AppConfig) -> Workload:
    """Return the workload of a run, the same on server and clients.

    Raises
    ------
    ValueError
        If the run is private and the task's preprocessing is not.
    """
    privacy = config.privacy
    private, example = privacy.private, privacy.example
    setup = Setup(
        task=build_task(config),
        algorithm=config.algorithm,
        mode=privacy.mode,
        population=private.population if private else 0,
        cohort_fraction=config.rounds.cohort_fraction,
        **(_example(example) if example else {}),
    )
    return WORKLOADS[workload_name(config.algorithm)](setup)


def _example(privacy: ExamplePrivacyConfig) -> dict[str, Any]:
    """Return the settings that only the example unit has."""
    return {
        "expected_batch_size": privacy.expected_batch_size,
        "grad_sample_mode": privacy.grad_sample_mode,
        "max_physical_batch": privacy.max_physical_batch,
        "fix_model": privacy.fix_model,
    }
