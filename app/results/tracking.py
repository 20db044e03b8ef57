"""The observer that logs a run to MLflow beside its folder, and never keeps the run waiting.

What it logs is what the folder has: the curves of ``events/`` by the same names, the files that
people read, and at the end the model. A thread speaks to MLflow, so a server that is slow or
goes away costs the run nothing but one warning.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from posixpath import normpath
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from app.config.load import GROUP_KEYS, option_of
from app.config.plain import to_dict
from app.config.run import AppConfig
from app.config.tracking import MLflowConfig
from app.config.workload import workload_name
from app.results.events import numbers, of_last_model
from app.results.history import RunFolderError
from app.results.mlflow_model import register
from app.results.mlflow_run import MLflowRun, Point, told
from app.results.model_file import write_whole
from strategies.rounds.observer import ClosedRound, Observer, Outcome
from strategies.rounds.report import RoundReport
from workloads.registry import WORKLOADS

log = logging.getLogger("flwr.tacet")

#: In the run folder: which run in MLflow is this one.
RECORD = "mlflow.json"
#: What is put beside the curves, as far as it is there.
FILES = (
    "config.yaml",
    "metrics.jsonl",
    "summary.json",
    "report.html",
    "report.json",
    "evaluation.json",
    "log.jsonl",
    "head.json",
)
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
# Places on a machine: the same run elsewhere is not another one.
_PLACES = ("output_dir", "resume_from", "data_dir", "simulation_nodes")
_LONGEST_VALUE = 500
# At the end: for a model to be put. A server that is gone takes less, see mlflow_run.
_LAST_SECONDS = 300.0
# Flower ends a process five seconds after its exit handlers began.
_STOP_SECONDS = 2.5


class TrackingObserver(Observer):
    """Log a run to MLflow. To be told last, when the folder has everything.

    Parameters
    ----------
    run : MLflowRun
        That has not begun.
    config : AppConfig
        The configuration of the run.
    """

    def __init__(self, run: MLflowRun, config: AppConfig) -> None:
        self._run, self._config = run, config
        self._folder = Path()
        # Points, and how the run has ended. It may be put into within a signal's handler.
        self._queue: SimpleQueue[list[Point] | str] = SimpleQueue()
        self._has_warned = False
        self._thread = Thread(target=self._work, name="mlflow", daemon=True)

    def begin(self, folder: Path, run_id: int, done: Sequence[RoundReport]) -> None:
        """Begin a run in MLflow, or go on with the one that the folder tells of.

        Parameters
        ----------
        folder : Path
            The run folder, with its configuration.
        run_id : int
            Flower's id of the run.
        done : sequence of RoundReport
            The rounds of a run that is resumed; those that MLflow lacks are logged now.

        Raises
        ------
        ConfigError
            If MLflow does not take it.
        RunFolderError
            If what the folder tells cannot be read.
        """
        self._folder = folder
        run, before = self._run, recorded(folder)
        last = None
        if (before.get("uri"), before.get("experiment")) == (run.uri, run.experiment):
            last = run.go_on(str(before.get("run_id", "")))
        if last is None:
            last, tags = 0, {"mlflow.source.name": "tacet", "tacet.run_id": str(run_id)}
            run.begin(folder.name, tags, [folder / "config.yaml"])
        about = {"uri": run.uri, "experiment": run.experiment, "run_id": run.run_id}
        write_whole(folder / RECORD, (json.dumps(about, indent=2) + "\n").encode())
        lacking = [report for report in done if report.round > last]
        self._queue.put([point for report in lacking for point in _points(report)])
        log.info("MLflow: %s", run.where())
        self._thread.start()

    def round_closed(self, closed: ClosedRound) -> None:
        """Log the numbers of the round's line, at its round."""
        self._queue.put(list(_points(closed.report)))

    def finished(self, outcome: Outcome) -> None:
        """Log the scores of the last model, the files and the model."""
        step = outcome.num_rounds + 1
        last = of_last_model(outcome).items()
        self._queue.put([(metric_name(name), number, step) for name, number in last])
        self._end(FINISHED, _LAST_SECONDS)

    def failed(self, error: BaseException) -> None:
        """Log the files of a run that failed, and that it did."""
        self._end(FAILED if isinstance(error, Exception) else KILLED, _LAST_SECONDS)

    def stop(self) -> None:
        """Mark a run that somebody has stopped, in the short time that is left."""
        self._end(KILLED, _STOP_SECONDS)

    def _end(self, status: str, seconds: float) -> None:
        if not self._thread.is_alive():
            return
        self._queue.put(status)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._warn("it has not taken everything in time")

    def _work(self) -> None:
        """Tell MLflow what has come up, until the run has ended."""
        is_told, status = False, ""
        waiting: list[Point] = []
        while not status:
            for item in self._taken():
                if isinstance(item, str):
                    status = status or item
                else:
                    waiting += item
            try:
                if not is_told:
                    self._run.tell(parameters(self._config))
                    is_told = True
                # What it does not take now goes with the next round.
                self._run.log(waiting)
                waiting.clear()
            except Exception as error:
                self._warn(told(error))
        # Whatever it would not take of the curves: files, model and end are other things.
        try:
            self._close(status)
        except Exception as error:
            self._warn(told(error))

    def _taken(self) -> list[list[Point] | str]:
        """Wait until there is something; return all that there is."""
        found = [self._queue.get()]
        with suppress(Empty):
            while True:
                found.append(self._queue.get_nowait())
        return found

    def _close(self, status: str) -> None:
        """Mark the end; put the files and the model before it, if there is the time."""
        if status == KILLED:
            self._run.end(status)
        try:
            self._run.put(file for name in FILES if (file := self._folder / name).exists())
            if status == FINISHED and (name := model_name(self._config)):
                version = register(self._run, self._folder / "model.safetensors", name)
                log.info("MLflow's registry: models:/%s/%d", name, version)
        finally:
            if status != KILLED:
                self._run.end(status)

    def _warn(self, reason: str) -> None:
        """Say once that MLflow lacks something."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "MLflow (%s) does not take what it is told; the run goes on, and tells it again"
                " after each round, and all is in the run folder: %s",
                self._run.uri,
                reason,
            )


def tracking_of(config: AppConfig) -> TrackingObserver | None:
    """Return what logs the run beside its folder, after a rehearsal; None where nothing does.

    Raises
    ------
    ConfigError
        If it could not.
    """
    if not isinstance(config.tracking, MLflowConfig):
        return None
    return TrackingObserver(MLflowRun.connect(config.tracking), config)


def model_name(config: AppConfig) -> str:
    """Return the name that the model has in the registry; empty where there is no whole one."""
    if not isinstance(config.tracking, MLflowConfig):
        return ""
    kind = WORKLOADS[workload_name(config.algorithm)]
    if not kind.gives_model() or config.has_own_parts:
        return ""
    return config.tracking.registered_model or f"tacet-{option_of(config, 'task')}"


def recorded(folder: Path) -> dict[str, Any]:
    """Return what a run folder tells of its run in MLflow; empty if nothing.

    Raises
    ------
    RunFolderError
        If it cannot be read.
    """
    file = folder / RECORD
    if not file.exists():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RunFolderError(
            f"{file}: {told(error)}; put the file back, or remove it and MLflow gets a new run"
        ) from None


def parameters(config: AppConfig) -> dict[str, str]:
    """Return the configuration as MLflow shows it: dotted keys, and texts of a bounded length.

    Whatever is cut off is in ``config.yaml``, which MLflow gets too.
    """
    found = {group: option_of(config, group) for group in GROUP_KEYS}
    for key, value in _leaves("", config):
        if key not in _PLACES and value not in ("", None):
            text = value if isinstance(value, str) else json.dumps(value)
            found[key] = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
    return found


def _leaves(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield each value that is no dataclass; a mapping of the user's own names is one value."""
    if not is_dataclass(value):
        yield key, to_dict(value)
        return
    for item in fields(value):
        yield from _leaves(
            f"{key}.{item.name}" if key else item.name, getattr(value, item.name)
        )


def _points(report: RoundReport) -> Iterator[Point]:
    for name, number in numbers(report.to_dict()):
        yield metric_name(name), number, report.round


def metric_name(name: str) -> str:
    """Return a name that MLflow takes; names of other classes stay apart."""
    clean = re.sub(r"[^\w.\-/ ]", _escaped, name)
    if normpath(clean) == clean:
        return clean
    # MLflow takes a name for a path, and refuses one that a class such as "n/" has made odd.
    group, slash, rest = clean.partition("/")
    return group + slash + rest.replace("/", "_2f_")


def _escaped(found: re.Match[str]) -> str:
    return f"_{ord(found[0]):x}_"
