"""Every task by name. A new one is one line here, one file beside, one YAML in conf/task."""

from tasks.base import Task
from tasks.breast_cancer import BreastCancer
from tasks.csv.task import Csv
from tasks.digits import Digits
from tasks.heart import Heart
from tasks.mnist import Mnist

TASKS: dict[str, type[Task]] = {
    "breast_cancer": BreastCancer,
    "csv": Csv,
    "digits": Digits,
    "heart": Heart,
    "mnist": Mnist,
}
