"""Every task by name. A new one is one line here, one file beside, one YAML in conf/task."""

from tasks.adult import Adult
from tasks.base import Task
from tasks.breast_cancer import BreastCancer
from tasks.csv.task import Csv
from tasks.digits import Digits
from tasks.heart import Heart
from tasks.images.task import ImageFolders
from tasks.mnist import Mnist
from tasks.ratings.task import Ratings
from tasks.reinforcement.acrobot import Acrobot
from tasks.reinforcement.cartpole import CartPole
from tasks.schema import TaskConfig
from tasks.series.task import Series
from tasks.shakespeare import Shakespeare

TASKS: dict[str, type[Task]] = {
    "acrobot": Acrobot,
    "adult": Adult,
    "breast_cancer": BreastCancer,
    "cartpole": CartPole,
    "csv": Csv,
    "digits": Digits,
    "heart": Heart,
    "images": ImageFolders,
    "mnist": Mnist,
    "ratings": Ratings,
    "series": Series,
    "shakespeare": Shakespeare,
}

#: What is wrong with a task's YAML that does not say which task it is of.
LACKS_SCHEMA = (
    "the YAML of the task does not begin with the schema of one: write"
    f" defaults: [NAME_schema, _self_], NAME being one of {', '.join(TASKS)}"
)


def task_of(config: TaskConfig) -> type[Task]:
    """Return the class of the task that a configuration is of.

    Raises
    ------
    ValueError
        If it is of none: its YAML does not say which.
    """
    for task in TASKS.values():
        if type(config) is task.Config:
            return task
    raise ValueError(LACKS_SCHEMA)
