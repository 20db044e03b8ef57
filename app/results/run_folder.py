"""The run folder, written while the run goes on.

``config.yaml`` the resolved configuration, ``metrics.jsonl`` a line a round,
``model.safetensors`` the last global model, ``checkpoint.safetensors`` model and optimiser
state of the same round in one file, ``summary.json`` how it ended.
"""

import json
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TextIO

import yaml

from app.config.load import resolved, to_yaml
from app.config.run import AppConfig
from app.results.history import START_ANEW, History, RunFolderError
from app.results.initial_model import (
    INITIAL_MODEL,
    InitialModel,
    InitialModelError,
    read_initial_model,
)
from app.results.model_file import load_checkpoint, save_checkpoint, save_model, write_whole
from app.results.summary import (
    COMPLETED,
    FAILED,
    RUNNING,
    STOPPED,
    STOPPED_EARLY,
    summary_file,
    take_lock,
    write_summary,
)
from strategies.rounds.checkpoint import Checkpoint
from strategies.rounds.observer import ClosedRound, Outcome
from strategies.rounds.report import RoundReport

_STOPPED = "somebody stopped it (flwr stop, or a signal); resume-from goes on with it"
#: A resumed run may differ in these; in anything else it would not be the same run.
MAY_CHANGE = (
    "num_rounds",
    "output_dir",
    "resume_from",
    # What it was stands in the folder, and goes with it.
    "initial_model",
    "data_dir",
    "simulation_nodes",
    "rounds",
    "early_stopping",
    "tracking",
)
#: Of ``rounds``, what a private run may not change.
_DRAWS = ("cohort_fraction", "min_replies")


def folder_path(config: AppConfig, run_id: int) -> Path:
    """Return where the run's folder is."""
    given = config.resume_from or config.output_dir
    return Path(given).expanduser() if given else Path.home() / ".tacet" / "runs" / str(run_id)


class RunFolder:
    """A run's folder, locked by one process at a time; a context manager that unlocks it."""

    def __init__(self, path: Path, config: AppConfig, run_id: int = 0) -> None:
        self.path = path
        self._run_id = run_id
        # A signal may be handled while a summary is being written, and in the same thread.
        self._writing = threading.RLock()
        self._history = History(path / "metrics.jsonl")
        self._lock: TextIO | None = None
        self._config = config
        self._started = time.time()
        self._seconds_before = 0.0
        self._status = ""
        # Of the round whose model is in the folder, as far as this process knows.
        self._model_round = 0
        self._learning_rate: float | None = None
        self._initial: InitialModel | None = None
        # What every summary says, whatever the status: how far the run is, and how good.
        self._progress: dict[str, object] = {}
        self._note_progress(0, {}, {}, 0)

    @classmethod
    def create(
        cls,
        path: Path,
        config: AppConfig,
        run_id: int = 0,
        initial: InitialModel | None = None,
    ) -> "RunFolder":
        """Make a new folder.

        Parameters
        ----------
        path : Path
            Where.
        config : AppConfig
            Of the run.
        run_id : int
            Flower's id of the run, for whoever wants to stop it; 0 for none.
        initial : InitialModel, optional
            What the run begins with, where that is another run's model.

        Raises
        ------
        RunFolderError
            If a run is there already, or the folder cannot be made.
        """
        folder = cls(path, config, run_id)
        with folder._released_on_error("output-dir"):
            path.mkdir(parents=True, exist_ok=True)
            folder._take()
            if folder._history.exists() or folder._checkpoint.exists():
                raise RunFolderError(
                    f'{path} holds a run already; go on with it (resume-from="{path}") or'
                    " choose another output-dir"
                )
            folder._write_config()
            if initial is not None:
                folder._initial = initial
                write_whole(path / INITIAL_MODEL, initial.to_bytes())
            folder._write_summary(RUNNING)
            # Last: with it the folder holds a run, which can be resumed.
            folder._history.begin()
        return folder

    @classmethod
    def resume(
        cls, path: Path, config: AppConfig, run_id: int = 0
    ) -> tuple["RunFolder", Checkpoint]:
        """Open the folder of an earlier run to resume it; parameters as of ``create``.

        Returns
        -------
        folder : RunFolder
        checkpoint : Checkpoint
            Where the run stood.

        Raises
        ------
        RunFolderError
            If there is no such run, or it was another run than this one asks for.
        """
        folder = cls(path, config, run_id)
        with folder._released_on_error("resume-from"):
            if not folder._history.exists():
                raise RunFolderError(f"resume-from={str(path)!r}: there is no run")
            folder._take()
            folder._check_same_run()
            folder._initial = folder._read_initial()
            checkpoint = folder._load_checkpoint()
            # From here on it is the run that was asked for now, of more rounds perhaps.
            folder._write_config()
            folder._write_summary(RUNNING)
        return folder, checkpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Unlock the folder. What ends the run in any other way is written as its failure."""
        if self._lock is None:
            return
        error = raised[1] if len(raised) > 1 else None
        if error is not None and self._status == RUNNING:
            # That error is on its way, and says more than that this could not be written.
            with suppress(OSError):
                self.fail(f"{type(error).__name__}: {error}")
        self._lock.close()
        self._lock = None

    def write_round(self, closed: ClosedRound) -> None:
        """Write a round: first its line, then the checkpoint that makes the line count."""
        report, config = closed.report, self._config
        self._history.append(report)
        save_checkpoint(self._checkpoint, config, report.round, closed.state, closed.kept)
        save_model(self._model, config, report.round, closed.published)
        self._model_round = report.round
        self._note_report(report)
        self._write_summary(RUNNING)

    def note_learning_rate(self, learning_rate: float | None) -> None:
        """Write what the server multiplies noisy means by, where it does: a resume needs it."""
        self._learning_rate = learning_rate
        if learning_rate is not None:
            self._write_summary(RUNNING)

    def note_release(self, privacy: Mapping[str, Any]) -> None:
        """Write what a private run will have spent once the nodes are asked for more."""
        self._progress["privacy"] = dict(privacy)
        self._write_summary(RUNNING)

    def finish(self, outcome: Outcome) -> None:
        """Write the summary of a run that has ended.

        And its model, where that is not of this process: one that was killed may have left the
        last round's checkpoint without it.
        """
        num_rounds = outcome.num_rounds
        if self._model_round != num_rounds:
            save_model(self._model, self._config, num_rounds, outcome.state)
        self._note_progress(num_rounds, outcome.privacy, outcome.metrics, num_rounds)
        status = STOPPED_EARLY if outcome.stopped_early else COMPLETED
        figures = {str(node): dict(own) for node, own in outcome.published.items()}
        more = {"published": figures} if figures else {}
        self._write_summary(status, **outcome.ending, **more)

    def fail(self, reason: str) -> None:
        """Write the summary of a run that has failed."""
        self._write_summary(FAILED, reason=reason)

    def stop(self) -> None:
        """Write the summary of a run that somebody has stopped, unless it has ended already.

        Whatever is written later does not count: the process is about to exit.
        """
        with self._writing:
            if self._status == RUNNING:
                self._write_summary(STOPPED, reason=_STOPPED)

    @property
    def _checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def _model(self) -> Path:
        return self.path / "model.safetensors"

    @contextmanager
    def _released_on_error(self, key: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.__exit__(OSError, error)
            raise RunFolderError(f"{key}={str(self.path)!r}: {error}") from None
        except BaseException as error:
            self.__exit__(type(error), error)
            raise

    def _take(self) -> None:
        """Lock the folder until it is unlocked or this process ends."""
        self._lock = take_lock(self.path)
        if self._lock is None:
            raise RunFolderError(f"{self.path}: another process is writing this run")

    def _write_config(self) -> None:
        write_whole(self.path / "config.yaml", to_yaml(self._config).encode())

    def _check_same_run(self) -> None:
        file = self.path / "config.yaml"
        now = resolved(self._config)
        try:
            before = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise RunFolderError(f"{file}: {reason}; {START_ANEW}") from None
        if not isinstance(before, dict):
            raise RunFolderError(f"{file} holds no configuration; {START_ANEW}")
        before, now = self._fixed(before), self._fixed(now)
        for key in sorted(before.keys() | now.keys(), key=str):
            if before.get(key) != now.get(key):
                found = difference(key, before.get(key), now.get(key))
                raise RunFolderError(
                    f"resume-from={str(self.path)!r}: {found}; give the run config of the"
                    " run that is resumed, and as it was what is settled from another key"
                )

    def _fixed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a configuration may not change when this run is resumed."""
        privacy, may_change = self._config.privacy, set(MAY_CHANGE)
        if getattr(privacy, "epsilon", None) is not None:
            # The noise was calibrated to this many rounds and spare attempts.
            may_change.remove("num_rounds")
        fixed = {key: value for key, value in values.items() if key not in may_change}
        if privacy.mode is not None:
            # By how cohorts are drawn and rounds close, all rounds are accounted for.
            rounds = values.get("rounds") or {}
            fixed["rounds"] = {key: rounds.get(key) for key in _DRAWS}
        return fixed

    def _read_initial(self) -> InitialModel | None:
        try:
            return read_initial_model(self.path)
        except InitialModelError as error:
            raise RunFolderError(str(error)) from None

    def _load_checkpoint(self) -> Checkpoint:
        if not self._checkpoint.exists():
            # The second round's line, and the model, come after the first checkpoint.
            if self._model.exists() or self._history.num_lines() > 1:
                raise RunFolderError(
                    f"{self._checkpoint} is missing, though rounds were done; put it back or"
                    f" {START_ANEW}"
                )
            self._history.cut(0)
            self._progress["privacy"] = spent = self._spent({})
            return Checkpoint(None, {}, [], spent)
        num_rounds, state, kept = load_checkpoint(self._checkpoint)
        if num_rounds > self._config.num_rounds:
            raise RunFolderError(
                f"resume-from={str(self.path)!r} has {num_rounds} rounds already,"
                f" num-rounds={self._config.num_rounds}: ask for more rounds in all"
            )
        reports = self._history.read(num_rounds)
        self._history.cut(num_rounds)
        self._seconds_before = sum(report.seconds for report in reports)
        self._note_report(reports[-1])
        self._progress["privacy"] = spent = self._spent(reports[-1].privacy)
        return Checkpoint(state, kept, reports, spent)

    def _spent(self, last: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the run has spent, which is more than at the last round's end, perhaps.

        A finished run has scored its last model as well, and one that ended within a round had
        asked for that round's contributions.

        Raises
        ------
        RunFolderError
            If that cannot be read, of a private run.
        """
        if self._config.privacy.mode is None:
            return {}
        file = summary_file(self.path)
        try:
            noted = dict(json.loads(file.read_text(encoding="utf-8"))["privacy"])
            more = any(noted.get(c, 0) > last.get(c, 0) for c in ("num_updates", "num_metrics"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{file}: {type(error).__name__}: what this private run has spent is not known,"
                f" as it may have ended within a round; put the file back. {START_ANEW}"
            ) from None
        return noted if more else dict(last)

    def _note_report(self, last: RoundReport) -> None:
        self._note_progress(last.round, last.privacy, last.metrics, last.evaluated_round)

    def _note_progress(
        self,
        num_rounds: int,
        privacy: Mapping[str, Any],
        metrics: Mapping[str, float],
        evaluated_round: int,
    ) -> None:
        self._progress = {
            "privacy": dict(privacy),
            "num_rounds": num_rounds,
            "evaluated_round": evaluated_round,
            "metrics": dict(metrics),
        }

    def _write_summary(self, status: str, **values: object) -> None:
        with self._writing:
            if self._status == STOPPED:
                return
            self._status = status
            write_summary(self.path, self._summary(status, values))

    def _summary(self, status: str, values: Mapping[str, object]) -> dict[str, object]:
        seconds = round(self._seconds_before + time.time() - self._started, 3)
        summary = {"status": status, **values, **self._progress, "seconds": seconds}
        if self._run_id:
            # As text: it is larger than what JSON's numbers hold elsewhere.
            summary["run_id"] = str(self._run_id)
        if self._initial is not None:
            spent: Any = self._progress["privacy"]
            summary["initial_model"] = self._initial.to_summary(spent)
        if self._learning_rate is not None:
            summary["learning_rate"] = self._learning_rate
        return summary


def recorded_learning_rate(path: Path) -> float | None:
    """Return what the run in a folder multiplied noisy means by; None where it did not.

    Raises
    ------
    RunFolderError
        If what is there is no positive number.
    """
    file = summary_file(path.expanduser())
    try:
        told = json.loads(file.read_text(encoding="utf-8")).get("learning_rate")
    except (OSError, ValueError, AttributeError):
        # Whether the folder can be resumed at all is for ``RunFolder.resume`` to say.
        return None
    if told is not None and not (isinstance(told, float) and 0 < told < float("inf")):
        raise RunFolderError(f"{file}: learning_rate={told!r} is no positive number")
    return told


def difference(key: str, before: object, now: object) -> str:
    """Name the first key, at any depth, in which two configurations differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        # An option's name first: the rest differs because of it.
        for inner in sorted(before.keys() | now.keys(), key=lambda k: (k != "name", k)):
            if before.get(inner) != now.get(inner):
                return difference(f"{key}.{inner}", before.get(inner), now.get(inner))
    return f"{key} was {before!r}, now {now!r}"
