"""The labels of a file's rows as targets, and how many there are of each kind."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.csv.schema import CsvConfig

#: A class or a number; of a label with a time that and the event.
Target = float | tuple[float, float]


def classes_of(targets: list[Target], config: CsvConfig) -> dict[str, int]:
    """Return the number of records by class, or of a time by how it ended."""
    if config.label.time is None:
        return {name: targets.count(code) for code, name in enumerate(config.label.classes)}
    events = sum(isinstance(target, tuple) and target[1] == 1 for target in targets)
    return {"censored": len(targets) - events, "event": events}


def targets_of(targets: list[Target], config: CsvConfig, keeps_missing: bool) -> NDArray[Any]:
    """Return targets as ``tasks.records.Examples`` has them."""
    if config.label.time is not None:
        return np.array(targets, np.float64).reshape(len(targets), 2)
    # A table keeps all digits, a model is trained in float32.
    of_number = np.float64 if keeps_missing else np.float32
    return np.array(targets, dtype=np.int64 if config.label.classes else of_number)
