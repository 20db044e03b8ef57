"""The trained model as a file that says by itself how to build and load it again."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from app.build import task_name
from app.config import task_config, to_dict
from app.schema import AppConfig
from tasks.base import Task
from tasks.registry import TASKS
from tasks.schema import TaskConfig

_FORMAT = "tacet-model-1"


class ModelFileError(ValueError):
    """A file is not a model that this version can load."""


def save_tensors(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file so that a reader finds the old one or the new one, whole."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(save(dict(tensors), metadata=dict(metadata)))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return tensors and metadata of a safetensors file.

    Raises
    ------
    ModelFileError
        Naming the file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: {error}") from None


def model_metadata(config: AppConfig, server_round: int) -> dict[str, str]:
    """Return what is needed to build the model again."""
    return {
        "format": _FORMAT,
        "task": task_name(config),
        "config": json.dumps(to_dict(config.task)),
        "seed": str(config.seed),
        "round": str(server_round),
    }


def load_model(path: Path) -> tuple[Task, Any]:
    """Load ``model.safetensors``.

    Returns
    -------
    task : Task
        With the configuration that the model was trained with.
    model : torch.nn.Module
        With the trained parameters.

    Raises
    ------
    ModelFileError
        If the file is damaged, of another format, or of a task that does not exist here.
    """
    from tasks.training import initial_model, set_parameters

    tensors, metadata = load_tensors(path)
    if metadata.get("format") != _FORMAT:
        raise ModelFileError(
            f"{path}: format {metadata.get('format')!r} is not {_FORMAT!r}; give the"
            " model.safetensors of a run folder"
        )
    name = metadata["task"]
    if name not in TASKS:
        raise ModelFileError(f"{path}: task {name!r} is none of {', '.join(sorted(TASKS))}")
    values = task_config(name, json.loads(metadata["config"]))
    task = TASKS[name](cast(TaskConfig, values), int(metadata["seed"]))
    model = initial_model(task)
    set_parameters(model, tensors)
    return task, model
