"""``initial-model.json`` of a run folder: the model that a run began with, and its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import rfc8785

from app.node.lineage import (
    Guarantee,
    LineageError,
    PastRun,
    fields_of,
    hex_of,
    line_of,
    objection,
    runs_of,
    total_of,
)

INITIAL_MODEL = "initial-model.json"
_FORMAT = "tacet-initial-model-1"
# An entry has a megabyte at most, and so has what is here beside it.
_MOST_BYTES = 2**22


class InitialModelError(ValueError):
    """A file that is no record of an initial model. Names it and the mend."""


@dataclass(frozen=True, kw_only=True)
class InitialModel:
    """The model that a run began with.

    Attributes
    ----------
    path : str
        The folder that it was taken from, as configured.
    model : str
        SHA-256 of its file.
    state : str
        SHA-256 of its numbers, as a node loads them, see ``hash_state``.
    runs : tuple of PastRun
        Those that it came from, the nearest first.
    entry : str
        The content of a registry's ``entry.json``, for the nodes; empty where the folder was
        that of a run.
    """

    path: str
    model: str
    state: str
    runs: tuple[PastRun, ...]
    entry: str = ""

    def to_bytes(self) -> bytes:
        """Return the content of ``initial-model.json``."""
        values = {
            "format": _FORMAT,
            "path": self.path,
            "model": self.model,
            "state": self.state,
            "runs": [one.to_dict() for one in self.runs],
            "entry": self.entry,
        }
        return rfc8785.dumps(values) + b"\n"

    def to_log(self) -> dict[str, Any]:
        """Return what the first entry of the run's log says of it."""
        return {
            "file": sha256(self.to_bytes()).hexdigest(),
            "model": self.model,
            "runs": [one.to_dict() for one in self.runs],
        }

    def to_summary(self, spent: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a run's summary says of it.

        Parameters
        ----------
        spent : mapping
            ``privacy`` of the run that began with it: empty if it has spent nothing yet.
        """
        own = [Guarantee.of_summary(spent)] if spent else []
        all_runs = [*own, *(one.privacy for one in self.runs)]
        found, why = total_of(all_runs), objection(all_runs)
        told: dict[str, Any] = {
            "model": self.model,
            "runs": [one.to_dict() for one in self.runs],
            "epsilon_with_initial_model": None if found is None else found.epsilon,
            "epsilon_model_only_with_initial_model": (
                None if found is None else found.epsilon_model_only
            ),
            "delta_with_initial_model": None if found is None else found.delta,
        }
        return told | ({"no_sum_because": why} if why else {})


def read_initial_model(folder: Path) -> InitialModel | None:
    """Return what a run folder says of the model that its run began with; None for none.

    Raises
    ------
    InitialModelError
        If the file is damaged.
    """
    file = folder / INITIAL_MODEL
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InitialModelError(f"{file}: {error.strerror}") from None
    try:
        return _parsed(content)
    except (ValueError, RecursionError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InitialModelError(
            f"{file}: {told}: what the run began with is not known; put the file back"
        ) from None


def _parsed(content: bytes) -> InitialModel:
    if len(content) > _MOST_BYTES:
        raise LineageError(f"more than {_MOST_BYTES} bytes")
    names = ("format", "path", "model", "state", "runs", "entry")
    given = fields_of("it", json.loads(content), names)
    if given["format"] != _FORMAT:
        raise LineageError(f"format {str(given['format'])[:80]!r} is not {_FORMAT!r}")
    if not isinstance(given["entry"], str):
        raise LineageError("entry is no text")
    return InitialModel(
        path=line_of("path", given["path"], most=4096),
        model=hex_of("model", given["model"]),
        state=hex_of("state", given["state"]),
        runs=runs_of(given["runs"]),
        entry=given["entry"],
    )
