"""Every task by name. A new one is one line here, one file beside, one YAML in conf/task."""

from tasks.base import Task
from tasks.digits import Digits

TASKS: dict[str, type[Task]] = {
    "digits": Digits,
}
