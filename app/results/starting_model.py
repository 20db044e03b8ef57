"""Take the model of another run, or of a registry's entry, for a run to begin with."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from app.config.load import ConfigError
from app.config.run import AppConfig
from app.config.workload import workload_name
from app.node.lineage import Guarantee, LineageError, PastRun, line_of
from app.node.model_entry import ENTRY, EntryError, ModelEntry, read_entry
from app.results.initial_model import InitialModel, InitialModelError, read_initial_model
from app.results.model_file import ModelFile, ModelFileError, model_file_of, read_model
from app.results.run_log import hash_of
from app.results.same_meaning import meaning_objection
from app.results.summary import RUNNING, read_summary
from app.results.verify import VerificationError, verify
from workloads.base import Workload
from workloads.registry import WORKLOADS
from workloads.values import State, StateRefusedError

log = logging.getLogger("flwr.tacet")


class NoStartError(ValueError):
    """A model that a run cannot begin with. Without the key, which the caller puts in front."""


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes
    ----------
    state : State
        The state that its first round asks about.
    record : InitialModel
        Where it came from.
    """

    state: State
    record: InitialModel


def start_of(config: AppConfig, workload: Workload, own: State) -> Start | None:
    """Return what a run begins with, where that is another run's model; None where it is not.

    Parameters
    ----------
    config : AppConfig
        Of the run, new or resumed: of a resumed one the folder says it.
    workload : Workload
        Of the run.
    own : State
        The workload's initial state.

    Raises
    ------
    ConfigError
        Naming the folder, the reason and the mend.
    """
    if config.resume_from:
        return _resumed(config, workload, own)
    if not config.initial_model:
        return None
    given = config.initial_model
    try:
        start = _taken(given, config, workload, own)
    except (NoStartError, ModelFileError) as error:
        raise ConfigError(f"initial-model={given!r}: {error}") from None
    log.info("the run begins with the model of %s, SHA-256 %s", given, start.record.model)
    if all(one.privacy for one in start.record.runs) or config.privacy.mode is None:
        return start
    log.warning(
        "the initial model was trained without differential privacy: this run's epsilon does"
        " not cover the records that it was trained on"
    )
    return start


def _resumed(config: AppConfig, workload: Workload, own: State) -> Start | None:
    """Return what the first part of a run began with."""
    folder = Path(config.resume_from).expanduser()
    try:
        record = read_initial_model(folder)
        if record is None:
            return None
        if (folder / "checkpoint.safetensors").exists():
            # The state is that of the checkpoint; this one only lends its names and shapes.
            return Start(own, record)
        start = _taken(record.path, config, workload, own)
        if start.record != record:
            raise NoStartError(
                f"{record.path}, which the run was to begin with, has changed since; begin a"
                " new run in another output-dir"
            )
    except (InitialModelError, NoStartError, ModelFileError) as error:
        raise ConfigError(f"resume-from={config.resume_from!r}: {error}") from None
    return start


def _taken(given: str, config: AppConfig, workload: Workload, own: State) -> Start:
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise NoStartError(
            "there is no such folder on the SuperLink's machine; give that of a run"
            " (~/.tacet/runs/...) or of a registry's entry"
        )
    file = model_file_of(folder)
    if not file.exists():
        raise NoStartError(
            f"it has no {file.name}: no round of that run has closed, or it is no run's folder;"
            " take another one"
        )
    is_entry = (folder / ENTRY).exists()
    entry, content = _entry(folder) if is_entry else (None, "")
    runs = _runs_of_entry(entry) if entry is not None else runs_of_folder(folder)
    digest, model = hash_of(file), read_model(file)
    if digest != runs[0].model:
        raise NoStartError(
            f"{file.name} is not the one that its {ENTRY if is_entry else 'log'} names: it was"
            " changed, or is being written; `tacet models verify` or `tacet verify` tells more"
        )
    state = _fitting(model, config, workload, own)
    if entry is not None and model.hash != entry.state:
        raise NoStartError(f"{file.name} has other numbers than its {ENTRY} names")
    record = InitialModel(path=given, model=digest, state=model.hash, runs=runs, entry=content)
    return Start(state, record)


def _entry(folder: Path) -> tuple[ModelEntry, str]:
    try:
        signed, content = read_entry(folder)
    except EntryError as error:
        raise NoStartError(f"{error}; tag the model anew (`tacet models tag`)") from None
    except OSError as error:
        raise NoStartError(f"{ENTRY}: {error.strerror}") from None
    if not signed.is_signed():
        raise NoStartError(
            f"{ENTRY} was changed since the key that it names signed it; `tacet models verify`"
            " tells more"
        )
    return signed.entry, content.decode()


def _runs_of_entry(entry: ModelEntry) -> tuple[PastRun, ...]:
    return replace(entry.runs[0], entry=entry.reference), *entry.runs[1:]


def runs_of_folder(folder: Path) -> tuple[PastRun, ...]:
    """Return a run, by its folder, and those that its model came from, the nearest first.

    Raises
    ------
    NoStartError
        If the run goes on, its folder is not as its log says, or its privacy cannot be read.
    """
    try:
        summary = read_summary(folder)
        spent, status = dict(summary.get("privacy") or {}), summary["status"]
        run_id, num_rounds = str(summary.get("run_id", "")), int(summary["num_rounds"])
        if status == RUNNING:
            raise NoStartError("that run goes on; wait for its end, or stop it (flwr stop)")
        head = verify(folder).head
        before = read_initial_model(folder)
        own = PastRun(
            run_id=line_of("run_id", run_id, most=40),
            model=hash_of(model_file_of(folder)),
            head=f"{head.size}:{head.root}",
            num_rounds=num_rounds,
            privacy=Guarantee.of_summary(spent),
        )
    except NoStartError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise NoStartError(
            "it is no run's folder: there is no summary.json; give that of a run"
            " (~/.tacet/runs/...)"
        ) from None
    except (VerificationError, InitialModelError) as error:
        raise NoStartError(
            f"`tacet verify` does not accept that run: {error}; resume it to its end, or put"
            " the file back"
        ) from None
    except (OSError, LineageError, ValueError, KeyError, TypeError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NoStartError(
            f"summary.json: {told}; what that run has spent is not known"
        ) from None
    return own, *(before.runs if before is not None else ())


def _fitting(model: ModelFile, config: AppConfig, workload: Workload, own: State) -> State:
    """Return the model's numbers as a state of this run; refuse what is another model's."""
    _require_same_model(model, config)
    arrays = model.state.arrays
    if differing := sorted(arrays.keys() ^ own.arrays.keys()):
        has, lacks = ("that model", "this run's")
        if differing[0] not in arrays:
            has, lacks = "this run's model", "that one"
        raise NoStartError(f"{has} has an array {differing[0]!r}, which {lacks} has not")
    for name, mine in own.arrays.items():
        given = arrays[name]
        if given.shape != mine.shape or given.dtype != mine.dtype:
            raise NoStartError(
                f"array {name!r} is {given.dtype} of shape {given.shape}, and of this run"
                f" {mine.dtype} of shape {mine.shape}"
            )
    # In the order of the model: the file has them sorted by name.
    state = State({name: arrays[name] for name in own.arrays}, own.header)
    try:
        workload.check(state)
    except StateRefusedError as error:
        raise NoStartError(str(error)) from None
    return state


def _require_same_model(model: ModelFile, config: AppConfig) -> None:
    kind = WORKLOADS[model.workload]
    if kind.begins_afresh:
        raise NoStartError(
            f"it is of algorithm={model.workload}, and this run of"
            f" algorithm={workload_name(config.algorithm)} takes parameters of neural models"
        )
    example = config.privacy.example
    fixes = example is not None and example.fix_model
    if model.fixed != fixes:
        raise NoStartError(
            f"privacy.fix_model was {str(model.fixed).lower()}, now {str(fixes).lower()}: the"
            " layers are others; give it as it was"
        )
    if why := meaning_objection(model, config):
        raise NoStartError(why)
