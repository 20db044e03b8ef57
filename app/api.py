"""What Python programs use of Tacet: simulate a run, load its model, predict rows.

    from app.api import load_model, predict, simulate

See docs/python.md. All else is internal and may change.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from app.config.load import load_given
from app.prediction.predictions import PredictionError, Predictions, Rows
from app.prediction.saved_model import SavedModel
from app.results.summary import read_summary
from app.simulation import in_process
from app.simulation.folders import new_folder

__all__ = ["PredictionError", "Predictions", "Run", "load_model", "predict", "simulate"]

_NODES = "nodes.yaml"


@dataclass(frozen=True)
class Run:
    """What a run has left.

    Attributes
    ----------
    folder : Path
        The run folder, with all files.
    num_rounds : int
        Rounds that were closed.
    metrics : dict
        The scores of the last model on held-out records; empty for a workload without scores.
    history : list of dict
        One for each round, as in metrics.jsonl.
    privacy : dict
        What the run has spent, as in summary.json; empty without privacy.
    """

    folder: Path
    num_rounds: int
    metrics: dict[str, float]
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    privacy: dict[str, Any] = field(default_factory=dict[str, Any])

    @cached_property
    def model(self) -> SavedModel:
        """The last model, as ``load_model`` gives it.

        Raises
        ------
        PredictionError
            If the run's result is tables and no model, or a part of it stays on each node.
        """
        return SavedModel.load(self.folder)

    @property
    def report(self) -> dict[str, Any]:
        """The tables of a run whose result has such, as in report.json; or empty."""
        file = self.folder / "report.json"
        return json.loads(file.read_text()) if file.exists() else {}


def load_model(path: str | Path, node_state: str | Path | None = None) -> SavedModel:
    """Load the model of a run.

    Parameters
    ----------
    path : str or Path
        A run folder, or its model.safetensors.
    node_state : str or Path, optional
        The own file of a node, its state-path, where a part of the model stays on each node
        (``task.personal``): the model is then that node's.

    Returns
    -------
    SavedModel
        Its ``predict`` takes rows; ``module`` is the torch module of a neural model, ``task``
        the task with its configuration.

    Raises
    ------
    PredictionError
        If there is none, or the run's result is tables and no model, or ``node_state`` is
        lacking, has no effect, or has no part that goes with this model.
    """
    own = None if node_state is None else Path(node_state).expanduser()
    return SavedModel.load(Path(path).expanduser(), own)


def predict(path: str | Path, rows: Rows, node_state: str | Path | None = None) -> Predictions:
    """Predict rows by the model of a run; see ``load_model`` and ``SavedModel.predict``."""
    return load_model(path, node_state).predict(rows)


def simulate(
    task: str,
    *,
    algorithm: str = "fedavg",
    aggregation: str = "secagg",
    privacy: str = "none",
    tracking: str = "none",
    num_rounds: int = 10,
    num_nodes: int = 3,
    files: Sequence[str | Path] = (),
    data_dir: str | Path = "",
    seed: int = 0,
    overrides: Sequence[str] = (),
    output_dir: str | Path | None = None,
    verbose: bool = False,
) -> Run:
    """Run one federated training, all nodes and the server in this process.

    Parameters
    ----------
    task, algorithm, aggregation, privacy, tracking : str
        Options, each the name of a YAML in a folder of conf/.
    num_rounds : int
        Rounds.
    num_nodes : int
        Simulated nodes that share one data set; without ``files``.
    files : sequence of str or Path
        A CSV file for each simulated node, for tasks whose nodes have files of their own.
    data_dir : str or Path
        Where the data set lies, for tasks that need one.
    seed : int
        Of the initial model, the partition and the held-out split.
    overrides : sequence of str
        Keys of the configuration as ``"algorithm.learning_rate=0.1"``.
    output_dir : str or Path, optional
        The run folder; a new one below ~/.tacet/runs if there is none.
    verbose : bool
        Show the run's log, and not its warnings only.

    Raises
    ------
    ValueError
        If the configuration or a file is wrong: one line with the key and the mend. A run that
        could not go on raises ``strategies.rounds.attempt.RunStoppedError``.
    """
    folder = _folder(output_dir)
    given: dict[str, bool | int | float | str] = {
        "task": task,
        "algorithm": algorithm,
        "aggregation": aggregation,
        "privacy": privacy,
        "tracking": tracking,
        "num-rounds": num_rounds,
        "seed": seed,
        "data-dir": str(Path(data_dir).expanduser().absolute()) if data_dir else "",
        "output-dir": str(folder),
        "overrides": " ".join(overrides),
    }
    with _left_clean(folder, is_new=output_dir is None):
        if files:
            given["simulation-nodes"] = str(_write_nodes(folder, files))
        load_given(given)
        with _as_loud_as(verbose):
            in_process.simulate(given, len(files) or num_nodes)
    summary = read_summary(folder)
    return Run(
        folder,
        int(summary["num_rounds"]),
        dict(summary["metrics"]),
        _history(folder),
        dict(summary.get("privacy") or {}),
    )


def _folder(given: str | Path | None) -> Path:
    if given is None:
        return new_folder(Path.home() / ".tacet" / "runs")
    return Path(given).expanduser().absolute()


def _write_nodes(folder: Path, files: Sequence[str | Path]) -> Path:
    """Write which file is whose, as ``simulation-nodes`` has it; not over one that is there.

    Raises
    ------
    ValueError
        If the folder is in use.
    """
    nodes = [{"data-path": str(Path(file).expanduser().absolute())} for file in files]
    path = folder / _NODES
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            yaml.safe_dump(nodes, file)
    except FileExistsError:
        raise ValueError(
            f"output_dir={str(folder)!r}: holds a run already; choose another"
        ) from None
    return path


@contextmanager
def _left_clean(folder: Path, *, is_new: bool) -> Iterator[None]:
    """Remove what was written here, where the run was refused before it began."""
    had_nodes = (folder / _NODES).exists()
    try:
        yield
    finally:
        if not (folder / "metrics.jsonl").exists():
            with suppress(OSError):
                if not had_nodes:
                    (folder / _NODES).unlink(missing_ok=True)
                if is_new:
                    folder.rmdir()


@contextmanager
def _as_loud_as(verbose: bool) -> Iterator[None]:
    logger = logging.getLogger("flwr.tacet")
    before = logger.level
    if not verbose:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _history(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
