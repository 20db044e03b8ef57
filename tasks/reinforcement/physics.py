"""The physics of one node's environment: from its own file, or drawn for a node of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks.records import DataError

# Beside the run's seed, so that no other draw of a task is the same.
_STREAM = 8101


def drawn_physics(
    usual: Mapping[str, float], variation: float, seed: int, partition_id: int
) -> dict[str, float]:
    """Return a physics in a public range: each quantity's logarithm is uniform in it.

    Parameters
    ----------
    usual : mapping
        The quantities by name, with their usual values, all above 0.
    variation : float
        Each is drawn from its usual value over this to its usual value times this.
    seed, partition_id : int
        The same give the same physics.
    """
    rng = np.random.default_rng([_STREAM, seed, partition_id])
    exponents = rng.uniform(-1, 1, len(usual))
    pairs = zip(usual.items(), exponents, strict=True)
    return {name: float(value * variation**power) for (name, value), power in pairs}


def read_physics(
    file: Path, usual: Mapping[str, float], most_factor: float
) -> dict[str, float]:
    """Return the physics that a YAML file describes; what it leaves out is as usual.

    A quantity is at most ``most_factor`` times its usual value, and at least one such part.

    Raises
    ------
    DataError
        If it cannot be read, or a quantity is unknown, no number or out of its bounds.
    """
    return {**usual, **_checked(file, _content(file), usual, most_factor)}


def _content(file: Path) -> dict[Any, Any]:
    if not file.is_file():
        raise DataError(f"data-path={file}: must be a YAML file of the environment's physics")
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    # A date that is none is a plain ValueError.
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{file}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DataError(
            f"{file}: must be a mapping from quantities to numbers, such as 'length: 0.7'"
        )
    return content


def _checked(
    file: Path, content: dict[Any, Any], usual: Mapping[str, float], most_factor: float
) -> dict[str, float]:
    for name, value in content.items():
        if name not in usual:
            raise DataError(f"{file}: {name!r} is none of {', '.join(usual)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{file}: {name}: {value!r} is no number")
        least, most = usual[name] / most_factor, usual[name] * most_factor
        if not least <= value <= most:
            raise DataError(
                f"{file}: {name}: {str(value)[:40]} is not in [{least:g}, {most:g}]"
            )
    return {name: float(value) for name, value in content.items()}
