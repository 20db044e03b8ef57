"""Model and checkpoint files; a model file holds what is needed to build it again.

Beside it the checkpoint: the same model with the optimiser's state, for ``RunFolder`` only.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from app.config.load import algorithm_config, option_of, task_config
from app.config.plain import to_dict
from app.config.run import AppConfig
from app.config.workload import workload_name
from tasks.base import Task
from tasks.records import Examples
from tasks.registry import TASKS
from tasks.schema import TaskConfig
from workloads.base import Setup, Workload
from workloads.model_arrays import hash_state
from workloads.registry import WORKLOADS
from workloads.values import Arrays, State

_FORMAT, _CHECKPOINT_FORMAT = "tacet-model-1", "tacet-checkpoint-1"
_MODEL, _OPTIMIZER = "model/", "optimizer/"
_HEADER = "header"
_GIVE_MODEL = "give the model.safetensors of a run folder"
_START_ANEW = "start a new run in another output-dir"

T = TypeVar("T")
Tensors = dict[str, NDArray[Any]]


class ModelFileError(ValueError):
    """A file that is no model this version can load. One line that names it."""


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file atomically: a reader finds the old one or the new one."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        # On a full disk what says so has to find some room.
        partial.unlink(missing_ok=True)
        raise
    # The name too, or the older file may be back after a power failure.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_model(path: Path, config: AppConfig, server_round: int, state: State) -> None:
    """Write the state of a round: the model, or the tables of another workload."""
    metadata = {"format": _FORMAT, **_metadata(config, server_round, state)}
    write_whole(path, save(_contiguous(state.arrays), metadata=metadata))


def save_checkpoint(
    path: Path,
    config: AppConfig,
    server_round: int,
    state: State,
    kept: Arrays,
) -> None:
    """Write the state of a round and of the server's optimiser."""
    tensors = {_MODEL + name: values for name, values in state.arrays.items()}
    tensors |= {_OPTIMIZER + name: values for name, values in kept.items()}
    metadata = {"format": _CHECKPOINT_FORMAT, **_metadata(config, server_round, state)}
    # safetensors sorts the names; the optimiser's state goes by the model's order.
    metadata["order"] = json.dumps(list(state.arrays))
    write_whole(path, save(_contiguous(tensors), metadata=metadata))


def _contiguous(arrays: Arrays) -> Tensors:
    """Return arrays whose memory is in their order: safetensors writes a column as its rows."""
    return {name: np.ascontiguousarray(values) for name, values in arrays.items()}


def model_file_of(path: Path) -> Path:
    """Return the model file of a run folder; a file is one itself."""
    return path / "model.safetensors" if path.is_dir() else path


def load_checkpoint(path: Path) -> tuple[int, State, Arrays]:
    """Return what ``save_checkpoint`` wrote: round, state, state of the optimiser.

    Raises
    ------
    ModelFileError
        If the file is damaged or not a checkpoint.
    """
    tensors, metadata = _load(path, _CHECKPOINT_FORMAT, _START_ANEW)
    try:
        order = _json_of(metadata["order"], list)
        arrays = {str(name): tensors.pop(f"{_MODEL}{name}") for name in order}
        header = _json_of(metadata.get(_HEADER, "{}"), dict)
        if foreign := [name for name in tensors if not name.startswith(_OPTIMIZER)]:
            raise ValueError(f"{foreign[0]!r} is no tensor of a checkpoint")
        kept = {name.removeprefix(_OPTIMIZER): values for name, values in tensors.items()}
        return _round_of(metadata["round"]), State(arrays, header), kept
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(path, error, _START_ANEW) from None


def load_model(path: Path, node_state: Path | None = None) -> tuple[Task, Any]:
    """Load ``model.safetensors``.

    Parameters
    ----------
    path : Path
        The file.
    node_state : Path, optional
        The own file of a node, its ``state-path``, for a model of which each node has a part
        of its own (``task.personal``).

    Returns
    -------
    task : Task
        The task, with the configuration that the model was trained with.
    model : torch.nn.Module, TableModel or GeneratingModel
        The model with its trained parameters; of a workload of tables, what predicts by them,
        and of one that makes records up, what does that.

    Raises
    ------
    ModelFileError
        If the file is damaged, of another format, or does not fit a task that exists here; if
        a part of the model is not in it, or the node's file has none that goes with it.
    """
    task, model = load_shared(path)
    names = [] if isinstance(model, TableModel) else task.config.personal
    if node_state is None and names:
        raise ModelFileError(
            f"{path}: task.personal=[{', '.join(names)}] stays on each node and is not in this"
            " file; give the own file of a node, its state-path: --node-state FILE, or"
            " node_state=FILE in Python"
        )
    if node_state is not None and not names:
        raise ModelFileError(
            f"{path}: no part of this model stays on a node, so --node-state {node_state} has"
            " no effect; leave it out"
        )
    if node_state is not None:
        _take_own_part(path, model, node_state)
    return task, model


def load_shared(path: Path) -> tuple[Task, Any]:
    """Load ``model.safetensors``; what stays on each node is untrained.

    Returns and raises as ``load_model`` does.
    """
    tensors, metadata = _load(path, _FORMAT, _GIVE_MODEL)
    try:
        workload = _kind_of(metadata)
        task = _build_task(metadata)
        if workload.has_model:
            return task, _neural_model(task, tensors, metadata)
        if workload.generates():
            return task, _generating_model(workload, task, tensors, metadata)
        return task, _table_model(workload, task, tensors, metadata)
    # The file comes from anywhere, and each layer has its own error for what does not fit.
    except Exception as error:
        raise _unusable(path, error, _GIVE_MODEL) from None


def workload_of(path: Path) -> tuple[str, type[Workload]]:
    """Return the name and the class of the workload that a model file is a state of.

    Raises
    ------
    ModelFileError
        As of ``load_model``.
    """
    _, metadata = _load(path, _FORMAT, _GIVE_MODEL)
    try:
        kind = _kind_of(metadata)
    except ValueError as error:
        raise _unusable(path, error, _GIVE_MODEL) from None
    return metadata.get("workload", "model_update"), kind


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """What a model file holds, read but not built.

    Attributes
    ----------
    workload : str
        The name of the workload that it is a state of.
    task : str
        The option of ``task``.
    config : dict
        The task's configuration, as ``to_dict`` gives it.
    seed : int
        Of the run.
    fixed : bool
        Whether layers of the task's model were replaced, see ``privacy.fix_model``.
    num_rounds : int
        Rounds that the model is of.
    state : State
        The numbers themselves, in an order of their own.
    """

    workload: str
    task: str
    config: dict[str, Any]
    seed: int
    fixed: bool
    num_rounds: int
    state: State

    @property
    def hash(self) -> str:
        """Return SHA-256 of the state as a node loads it, in hexadecimal digits."""
        return hash_state(self.state, {}, WORKLOADS[self.workload].loads_as).hex()


def read_model(path: Path) -> ModelFile:
    """Read ``model.safetensors``, for whoever goes on with its numbers.

    Raises
    ------
    ModelFileError
        As of ``load_model``.
    """
    tensors, metadata = _load(path, _FORMAT, _GIVE_MODEL)
    try:
        _kind_of(metadata)
        name = metadata["task"]
        if name not in TASKS:
            raise ValueError(f"task {name!r} is none of {', '.join(sorted(TASKS))}")
        config = task_config(name, _json_of(metadata["config"], dict))
        return ModelFile(
            workload=metadata.get("workload", "model_update"),
            task=name,
            config=to_dict(config),
            seed=int(metadata["seed"]),
            fixed=bool(json.loads(metadata.get("fixed", "false"))),
            num_rounds=_round_of(metadata["round"]),
            state=State(tensors, _json_of(metadata.get(_HEADER, "{}"), dict)),
        )
    except Exception as error:
        raise _unusable(path, error, _GIVE_MODEL) from None


@dataclass(frozen=True)
class TableModel:
    """A model that is no neural one: the state of a workload that predicts from columns.

    Attributes
    ----------
    workload : Workload
        What the state is one of.
    state : State
        As published by the run.
    """

    workload: Workload
    state: State

    def predict(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (n, classes), or values in the label's unit (n,).

        Parameters
        ----------
        columns : ndarray, float64, shape (n, columns)
            Rows of ``task.table``: numbers in the columns' own units, positions of categories,
            NaN for what is missing; as ``Examples.columns`` of the task's records.
        """
        return self.workload.predict(self.state, columns)


@dataclass(frozen=True)
class GeneratingModel:
    """A model that makes records up: the state of a workload that ``generates``.

    Attributes
    ----------
    workload : Workload
        What the state is one of.
    state : State
        As published by the run.
    """

    workload: Workload
    state: State

    @property
    def network(self) -> Any:
        """Return the torch module that makes them, see ``Workload.generator_inputs``."""
        return self.workload.generator(self.state)

    def generate(self, num_records: int, rng: np.random.Generator) -> Examples:
        """Return records of nobody, as ``Workload.generate`` does."""
        return self.workload.generate(self.state, num_records, rng)


def _kind_of(metadata: Mapping[str, str]) -> type[Workload]:
    name = metadata.get("workload", "model_update")
    if name not in WORKLOADS:
        raise ValueError(f"workload {name!r} is none of {', '.join(sorted(WORKLOADS))}")
    return WORKLOADS[name]


def _neural_model(task: Task, tensors: Tensors, metadata: Mapping[str, str]) -> Any:
    from tasks.training.adapters import Adapted
    from tasks.training.local import initial_model, set_parameters

    model = initial_model(task)
    if json.loads(metadata.get("fixed", "false")):
        from tasks.training.model_check import fix_model

        model = fix_model(model)
    for tensor, values in tensors.items():
        if values.dtype.kind != "f":
            raise ValueError(f"{tensor} is of type {values.dtype}")
        if isinstance(model, Adapted) and tensor.startswith("columns."):
            raise ValueError(
                "its adapters have other directions than those of this version, and would"
                " change the base otherwise; export it with the version that trained it"
            )
    set_parameters(model, tensors)
    return model.merged() if isinstance(model, Adapted) else model


def _take_own_part(path: Path, model: Any, node_state: Path) -> None:
    """Give a model a node's own part."""
    from app.node.personal import NoPartError, kept_part
    from tasks.training.personal import get_personal, set_personal

    file, initial = read_model(path), get_personal(model)
    try:
        part = kept_part(node_state, file.task, file.state, file.num_rounds, initial)
    except NoPartError as error:
        raise ModelFileError(f"{path}: {error}") from None
    set_personal(model, part)


def _table_model(
    kind: type[Workload], task: Task, tensors: Tensors, metadata: Mapping[str, str]
) -> TableModel:
    if kind.Config is None or kind.predict is Workload.predict:
        raise ValueError(f"the workload {metadata['workload']} has tables, not a model")
    task.keeps_missing = True
    workload, state = _built(kind, task, tensors, metadata)
    workload.check(state)
    return TableModel(*workload.opened(state))


def _generating_model(
    kind: type[Workload], task: Task, tensors: Tensors, metadata: Mapping[str, str]
) -> GeneratingModel:
    for tensor, values in tensors.items():
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            raise ValueError(f"{tensor} is not of finite numbers")
    made = GeneratingModel(*_built(kind, task, tensors, metadata))
    # What does not fit fails here, and not where it is used.
    made.generate(1, np.random.default_rng(0))
    return made


def _built(
    kind: type[Workload], task: Task, tensors: Tensors, metadata: Mapping[str, str]
) -> tuple[Workload, State]:
    """Return a workload with an option of its own, and the state that a file has of it."""
    settings = _json_of(metadata["algorithm"], dict)
    assert kind.Config is not None  # noqa: S101
    workload = kind.build(Setup(task=task, algorithm=algorithm_config(kind.Config, settings)))
    return workload, State(tensors, _json_of(metadata.get(_HEADER, "{}"), dict))


def _metadata(config: AppConfig, server_round: int, state: State) -> dict[str, str]:
    """Return what is needed to build the model again."""
    of_round = {_HEADER: json.dumps(dict(state.header)), "round": str(server_round)}
    return {**_of_run(config), **of_round}


@lru_cache(maxsize=32)
def _of_run(config: AppConfig) -> Mapping[str, str]:
    """Return what is the same in every round; OmegaConf takes milliseconds."""
    return {
        "workload": workload_name(config.algorithm),
        "task": option_of(config, "task"),
        "config": json.dumps(to_dict(config.task)),
        "algorithm": json.dumps(to_dict(config.algorithm)),
        "seed": str(config.seed),
        # Whether Opacus replaced layers: then the task alone builds another model.
        "fixed": json.dumps(_has_fixed_model(config)),
    }


def _has_fixed_model(config: AppConfig) -> bool:
    example = config.privacy.example
    return example is not None and example.fix_model


def _build_task(metadata: Mapping[str, str]) -> Task:
    name = metadata["task"]
    if name not in TASKS:
        raise ValueError(f"task {name!r} is none of {', '.join(sorted(TASKS))}")
    values = task_config(name, json.loads(metadata["config"]))
    return TASKS[name](cast(TaskConfig, values), int(metadata["seed"]))


def _load(path: Path, expected: str, mend: str) -> tuple[Tensors, dict[str, str]]:
    """Return tensors and metadata of a safetensors file, which must have this format."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            if metadata.get("format") != expected:
                raise ValueError(f"format {metadata.get('format')!r} is not {expected!r}")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise _unusable(path, error, mend) from None


def _json_of(text: str, kind: type[T]) -> T:
    """Return what a JSON text holds, which must be of this type."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is too deep") from None
    if not isinstance(value, kind):
        raise ValueError(f"{text[:40]} is no {kind.__name__}")
    return value


def _round_of(text: str) -> int:
    """Return the number of a round, as ``save_checkpoint`` writes it."""
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise ValueError(f"round {text[:40]!r} is no round")
    return int(text)


def _unusable(path: Path, error: Exception, mend: str) -> ModelFileError:
    """Return the error that names the file and the first line of the cause."""
    lines = str(error).splitlines() or [type(error).__name__]
    # The text of a plain KeyError is the key and nothing else.
    what = f"{error} is missing" if type(error) is KeyError else lines[0]
    return ModelFileError(f"{path}: {what}; {mend}")
