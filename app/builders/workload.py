"""From the configuration to the workload: whose records, what is summed, what becomes of it."""

from typing import Any

from app.config.privacy import ExamplePrivacyConfig
from app.config.run import AppConfig
from app.config.workload import workload_name
from tasks.base import Task
from tasks.registry import TASKS, task_of
from workloads.base import Setup, Workload
from workloads.registry import WORKLOADS
from workloads.scoring import spread


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
        task.check_private(config.privacy.mode.unit)
    return task


def build_workload(config: AppConfig) -> Workload:
    """Return the workload of a run, the same on server and clients.

    Raises
    ------
    ValueError
        If the run is private and the task's preprocessing is not, or the workload works on a
        table and the task has none, or on another kind of label, or it has no scores where some
        are asked for.
    """
    privacy = config.privacy
    private, example = privacy.private, privacy.example
    setup = Setup(
        task=build_task(config),
        algorithm=config.algorithm,
        mode=privacy.mode,
        population=private.population if private else 0,
        cohort_fraction=config.rounds.cohort_fraction,
        num_rounds=config.num_rounds,
        counts_participants=config.rounds.participant_spread,
        **(_example(example) if example else {}),
    )
    name = workload_name(config.algorithm)
    if WORKLOADS[name].needs_table:
        _prepare_table(setup.task, name)
    _check_label(setup.task, name)
    _check_weights(setup.task, name)
    workload = WORKLOADS[name].build(setup)
    if not workload.scores:
        _refuse_scores(config, name)
    if config.rounds.participant_spread and spread.SCORE not in workload.metric_names:
        raise ValueError(
            f"rounds.participant_spread=true: the workload {name} has no {spread.SCORE} here"
            " that participants could differ in; take it out"
        )
    return workload


def _prepare_table(task: Task, workload: str) -> None:
    """Let a task keep records that miss a value; refuse one whose records have no columns."""
    if task.table is None:
        named = ", ".join(name for name, other in TASKS.items() if other.has_table)
        raise ValueError(f"it has no columns for the workload {workload}; take task={named}")
    if task.table.texts:
        named = ", ".join(task.table.texts)
        raise ValueError(
            f"task.text: {named}: the workload {workload} has no words of a text in its"
            " columns; list that under task.drop in place of task.text, or take"
            " algorithm=fedavg"
        )
    task.keeps_missing = True


def _check_label(task: Task, workload: str) -> None:
    """Refuse a label that a workload does not know: a time to an event is of its own kind."""
    needs = WORKLOADS[workload].needs_times
    if task.has_times and not needs and WORKLOADS[workload].needs_table:
        able = " or ".join(
            f"algorithm={name}" for name, one in WORKLOADS.items() if one.needs_times
        )
        raise ValueError(
            f"the label is a time to an event, which the workload {workload} has no loss for;"
            f" take {able}, or a network of hazards by algorithm=fedavg"
        )
    if needs and not task.has_times:
        raise ValueError(
            f"algorithm={workload}: the label has no time and event; give both in the YAML of a"
            " csv task: label: {time: {column: days, max: 1000}, event: died}"
        )


def _check_weights(task: Task, workload: str) -> None:
    """Refuse a column of weights where every record counts once."""
    table = task.table
    if table is None or table.largest_weight is None or WORKLOADS[workload].takes_weights:
        return
    able = ", ".join(name for name, one in WORKLOADS.items() if one.takes_weights)
    raise ValueError(
        f"task.weight has no effect: the workload {workload} counts every record once; take it"
        f" out and list its column under task.drop, or take an algorithm of {able}"
    )


def _refuse_scores(config: AppConfig, workload: str) -> None:
    """Refuse what waits for, or pays for, scores that a workload does not give."""
    private, patience = config.privacy.private, config.early_stopping.patience
    if private is not None and private.metrics.every:
        raise ValueError(
            f"privacy.metrics.every={private.metrics.every}: the workload {workload} scores"
            " nothing, and each node would pay for it; take it out"
        )
    if patience:
        raise ValueError(
            f"early_stopping.patience={patience}: the workload {workload} scores nothing, so"
            " no loss could stop the run; take it out"
        )


def _example(privacy: ExamplePrivacyConfig) -> dict[str, Any]:
    """Return the settings that only the example unit has."""
    return {
        "expected_batch_size": privacy.expected_batch_size,
        "clip_norm": privacy.clip_norm,
        "fix_model": privacy.fix_model,
    }
