"""Every task by name. A new one is one line here, one file beside, one YAML in conf/task."""

from tasks.adult import Adult
from tasks.base import Task
from tasks.breast_cancer import BreastCancer
from tasks.csv.task import Csv
from tasks.digits import Digits
from tasks.heart import Heart
from tasks.mnist import Mnist
from tasks.schema import TaskConfig

TASKS: dict[str, type[Task]] = {
    "adult": Adult,
    "breast_cancer": BreastCancer,
    "csv": Csv,
    "digits": Digits,
    "heart": Heart,
    "mnist": Mnist,
}


def task_of(config: TaskConfig) -> type[Task]:
    """Return the class of the task that a configuration is of."""
    return next(task for task in TASKS.values() if type(config) is task.Config)
