"""Check a node's records against a task, before anything is sent or paid."""

from app.builders.workload import build_task
from app.config.load import ConfigError, load_config
from tasks.base import DataSource, Inspection


def check_data(task_name: str, source: DataSource, *, is_private: bool) -> Inspection:
    """Return what a run of a task would make of a node's records.

    Parameters
    ----------
    task_name : str
        The name of a YAML in conf/task.
    source : DataSource
        Where the records lie.
    is_private : bool
        Look as a private run does, which leaves out what does not fit.

    Raises
    ------
    ConfigError
        If there is no such task, its YAML is wrong, or its nodes have no records of their own.
    """
    task = build_task(load_config({"task": task_name}))
    if task.is_shared:
        raise ConfigError(
            f"task={task_name}: all nodes share its data set; only a file of a node's own can"
            " be checked, as described by a YAML like conf/task/csv.yaml"
        )
    task.is_private = is_private
    return task.inspect(source)
