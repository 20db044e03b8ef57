"""What a run leaves on disk, written as it goes.

``config.yaml`` the resolved configuration, ``metrics.jsonl`` a line a round,
``model.safetensors`` the last global model, ``checkpoint.safetensors`` model and optimiser
state of the same round in one file, ``summary.json`` how it ended.
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TextIO

import yaml
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from app.config import resolved, to_yaml
from app.model_file import load_tensors, model_metadata, save_tensors
from app.schema import AppConfig
from strategies.contribution import to_arrays, to_parameters
from strategies.loop import Outcome
from strategies.optimizer_state import State
from strategies.report import RoundReport

#: A resumed run may differ in these; in anything else it would not be the same run.
_MAY_CHANGE = (
    *("num_rounds", "output_dir", "resume_from", "data_dir", "simulation_nodes"),
    *("rounds", "early_stopping"),
)
_MODEL, _OPTIMIZER = "model/", "optimizer/"


class RunFolderError(ValueError):
    """The run folder cannot be used. The message names it and the mend."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run goes on.

    Attributes
    ----------
    arrays : ArrayRecord
        The global model.
    optimizer_state : dict of ndarray
        For ``restore_state``.
    reports : list of RoundReport
        The rounds done.
    """

    arrays: ArrayRecord
    optimizer_state: State
    reports: list[RoundReport]


def folder_path(config: AppConfig, run_id: int) -> Path:
    """Return where the run's folder is."""
    given = config.resume_from or config.output_dir
    return Path(given).expanduser() if given else Path.home() / ".tacet" / "runs" / str(run_id)


class RunFolder:
    """One run's folder, held by one process at a time; a context manager that lets it go."""

    def __init__(self, path: Path, config: AppConfig) -> None:
        self.path = path
        self._lock: TextIO | None = None
        self._config = config
        self._started = time.time()
        self._seconds_before = 0.0

    @classmethod
    def create(cls, path: Path, config: AppConfig) -> "RunFolder":
        """Make a new folder.

        Raises
        ------
        RunFolderError
            If a run is there already, or the folder cannot be made.
        """
        folder = cls(path, config)
        if folder._metrics.exists():
            raise RunFolderError(
                f'{path} holds a run already; go on with it (resume-from="{path}") or choose'
                " another output-dir"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder._take()
            folder._metrics.touch()
            (path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        except OSError as error:
            raise RunFolderError(f"output-dir={str(path)!r}: {error}") from None
        folder._write_summary(status="running")
        return folder

    @classmethod
    def resume(cls, path: Path, config: AppConfig) -> tuple["RunFolder", Checkpoint | None]:
        """Take up a folder where its run ended.

        Returns
        -------
        folder : RunFolder
        checkpoint : Checkpoint or None
            None if the run ended before its first round closed.

        Raises
        ------
        RunFolderError
            If there is no such run, or it was another run than this one asks for.
        """
        folder = cls(path, config)
        if not folder._metrics.exists():
            raise RunFolderError(f"resume-from={str(path)!r}: there is no run")
        folder._take()
        try:
            folder._check_same_run()
            checkpoint = folder._load_checkpoint()
        except BaseException:
            folder.__exit__()
            raise
        folder._write_summary(status="running")
        return folder, checkpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def write_round(self, report: RoundReport, arrays: ArrayRecord, state: State) -> None:
        """Keep a round: first its line, then the checkpoint that makes the line count."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(report)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        parameters = to_parameters(arrays)
        metadata = model_metadata(self._config, report.round)
        tensors: dict[str, NDArray[Any]] = {_MODEL + n: v for n, v in parameters.items()}
        tensors |= {_OPTIMIZER + name: values for name, values in state.items()}
        order = {"order": json.dumps(list(parameters))}
        save_tensors(self._checkpoint, tensors, metadata | order)
        save_tensors(self.path / "model.safetensors", parameters, metadata)

    def finish(self, outcome: Outcome) -> None:
        """Say how the run ended."""
        self._write_summary(
            status="stopped early" if outcome.stopped_early else "completed",
            num_rounds=outcome.num_rounds,
            metrics=outcome.metrics,
        )

    def fail(self, reason: str) -> None:
        """Say why the run could not go on."""
        self._write_summary(status="failed", reason=reason)

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def _checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    def _take(self) -> None:
        """Hold the folder until it is let go or this process ends, however it ends."""
        lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise RunFolderError(f"{self.path}: another process is writing this run") from None
        self._lock = lock

    def _check_same_run(self) -> None:
        text = (self.path / "config.yaml").read_text(encoding="utf-8")
        before, now = yaml.safe_load(text), resolved(self._config)
        for key in sorted(before.keys() | now.keys()):
            if key not in _MAY_CHANGE and before.get(key) != now.get(key):
                difference = _difference(key, before.get(key), now.get(key))
                raise RunFolderError(
                    f"resume-from={str(self.path)!r}: {difference}; give the run config of the"
                    " run that is resumed"
                )

    def _load_checkpoint(self) -> Checkpoint | None:
        if not self._checkpoint.exists():
            self._metrics.write_text("", encoding="utf-8")
            return None
        tensors, metadata = load_tensors(self._checkpoint)
        num_rounds = int(metadata["round"])
        if num_rounds > self._config.num_rounds:
            raise RunFolderError(
                f"resume-from={str(self.path)!r} has {num_rounds} rounds already,"
                f" num-rounds={self._config.num_rounds}: ask for more rounds in all"
            )
        lines = self._metrics.read_text(encoding="utf-8").splitlines()[:num_rounds]
        # A line beyond the checkpoint belongs to a round that is going to be done again.
        self._metrics.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        reports = [RoundReport(**_integer_keys(json.loads(line))) for line in lines]
        self._seconds_before = sum(report.seconds for report in reports)
        order = json.loads(metadata["order"])
        return Checkpoint(
            arrays=to_arrays({name: tensors[_MODEL + name] for name in order}),
            optimizer_state={
                name.removeprefix(_OPTIMIZER): values
                for name, values in tensors.items()
                if name.startswith(_OPTIMIZER)
            },
            reports=reports,
        )

    def _write_summary(self, **values: object) -> None:
        seconds = self._seconds_before + time.time() - self._started
        text = json.dumps({**values, "seconds": round(seconds, 3)}, indent=2) + "\n"
        partial = self.path / "summary.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / "summary.json")


def _integer_keys(line: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to node ids that are keys."""
    return line | {"failures": {int(node): reason for node, reason in line["failures"].items()}}


def _difference(key: str, before: object, now: object) -> str:
    """Name the first key, at any depth, in which two configurations differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        # An option's name first: the rest differs because of it.
        for inner in sorted(before.keys() | now.keys(), key=lambda k: (k != "name", k)):
            if before.get(inner) != now.get(inner):
                return _difference(f"{key}.{inner}", before.get(inner), now.get(inner))
    return f"{key} was {before!r}, now {now!r}"
