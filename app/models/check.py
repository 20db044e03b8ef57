"""The check of an entry by whoever has the registry and knows whose signatures to trust."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

from app.models.registry import FILES, MODEL, Found, signed_in
from app.node.identity import read_peers, read_public
from app.node.model_entry import ENTRY, EntryError, ModelEntry
from app.results.model_file import ModelFileError, read_model
from app.results.run_log import BEGUN, CLOSED, ENDED, HEAD, LOG, Head, hash_of, head_of

_PEM = b"-----BEGIN"


class CheckError(ValueError):
    """An entry that is not as it was signed. Names the file and what differs."""


@dataclass(frozen=True)
class Checked:
    """What was found true of an entry.

    Attributes
    ----------
    signer : str
        Whose signature it is.
    lines : tuple of str
        What was checked, for a person.
    not_verified : tuple of str
        What the folder cannot show.
    """

    signer: str
    lines: tuple[str, ...]
    not_verified: tuple[str, ...]


def signers_of(file: Path) -> dict[str, bytes]:
    """Return names and public keys of a peers file, or of one public key.

    Raises
    ------
    IdentityError
        If it is neither.
    """
    try:
        is_key = file.read_bytes().lstrip().startswith(_PEM)
    except OSError:
        is_key = False
    return {file.name: read_public(file)} if is_key else read_peers(file)


def check(found: Found, keys: Mapping[str, bytes]) -> Checked:
    """Check signature, name, files, log and chain of a version.

    Parameters
    ----------
    found : Found
        Of a registry.
    keys : mapping
        Names and public keys of those whose signature counts.

    Raises
    ------
    CheckError
        For the first thing that is not as it should be.
    """
    try:
        signed = signed_in(found.folder, found.name, found.version)
        signer = signed.require_signed_by(keys)
    except (EntryError, OSError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise CheckError(f"{ENTRY}: {told}") from None
    entry = signed.entry
    lines = [f"{entry.reference} is signed by {signer}, {entry.created}"]
    lines += _files(found.folder, entry)
    lines += _model(found.folder, entry)
    lines += _log(found.folder, entry)
    return Checked(signer, tuple(lines), tuple(_not_verified(entry)))


def _files(folder: Path, entry: ModelEntry) -> Iterator[str]:
    if {*entry.files} != {*FILES}:
        named = ", ".join(sorted(entry.files)) or "none"
        raise CheckError(f"{ENTRY}: it names {named}, and an entry has {', '.join(FILES)}")
    for name, digest in sorted(entry.files.items()):
        file = folder / name
        if file.is_symlink() or not file.is_file():
            raise CheckError(f"{name}: is missing, or a link")
        try:
            is_same = hash_of(file) == digest
        except OSError as error:
            raise CheckError(f"{name}: {error.strerror}") from None
        if not is_same:
            raise CheckError(f"{name}: not as it was signed")
    yield f"as they were signed: {', '.join(sorted(entry.files))}"
    more = sorted(one.name for one in folder.iterdir() if one.name not in (*FILES, ENTRY))
    if more:
        yield f"of which the entry does not speak: {', '.join(map(repr, more))}"


def _model(folder: Path, entry: ModelEntry) -> Iterator[str]:
    try:
        model = read_model(folder / MODEL)
    except ModelFileError as error:
        raise CheckError(str(error)) from None
    if model.hash != entry.state or entry.files[MODEL] != entry.model:
        raise CheckError(f"{MODEL}: has other numbers than the entry and its run name")
    if (model.workload, model.task) != (entry.workload, entry.task):
        raise CheckError(f"{MODEL}: is of {model.workload} on {model.task}")
    yield f"{MODEL}: {entry.workload} on {entry.task}, numbers {entry.state}"


def _log(folder: Path, entry: ModelEntry) -> Iterator[str]:
    """Hold the log of the run against its head, and the entry against the log."""
    run = entry.runs[0]
    lines = (folder / LOG).read_bytes().split(b"\n")[:-1]
    head = head_of(lines)
    if f"{head.size}:{head.root}" != run.head or _head(folder) != head:
        raise CheckError(f"{LOG}: its head is not {run.head}, which the entry names")
    try:
        history: list[dict[str, Any]] = [json.loads(line) for line in lines]
        models = [one["model"] for one in history if one["kind"] == CLOSED and "model" in one]
        if history[-1]["kind"] == ENDED:
            models.append(history[-1]["files"][MODEL])
        begun = next(one for one in history if one["kind"] == BEGUN)
        before = begun.get("initial", {}).get("runs", [])
        released = [one for one in history if "epsilon" in one]
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise CheckError(f"{LOG}: {type(error).__name__}: is no log of a run") from None
    if models[-1:] != [entry.model]:
        raise CheckError(f"{LOG}: its last model is another one than the entry's")
    if before != [one.to_dict() for one in entry.runs[1:]]:
        raise CheckError(f"{LOG}: the run began with another model than the entry says")
    _require_epsilon(released, entry)
    yield f"{LOG}: head {run.head}, of run {run.run_id}, which made this model"
    if before:
        yield f"{LOG}: it began with the model {entry.runs[1].model}, as the entry says"


def _head(folder: Path) -> Head | None:
    try:
        told = json.loads((folder / HEAD).read_bytes())
        return Head(told["size"], told["root"])
    except (ValueError, KeyError, TypeError):
        return None


def _require_epsilon(released: Sequence[Mapping[str, Any]], entry: ModelEntry) -> None:
    spent = entry.runs[0].privacy
    if spent is None and not released:
        return
    try:
        told = {name: float(released[-1][name]) for name in ("epsilon", "delta")}
    except (IndexError, KeyError, TypeError, ValueError):
        raise CheckError(f"{LOG}: epsilon or delta is missing, or no number") from None
    # A run that was stopped within a round may have spent more than its last closed one tells.
    if spent is None or not (
        told["epsilon"] <= spent.epsilon * (1 + 1e-6)
        and isclose(told["delta"], spent.delta, rel_tol=1e-6)
    ):
        raise CheckError(f"{LOG}: epsilon or delta is more than the entry says")


def _not_verified(entry: ModelEntry) -> Iterator[str]:
    yield "metrics, participants and the time: the signer's own words"
    yield (
        "that epsilon is what the releases come to: the signer's `tacet verify` found it so,"
        " and repeats it on the run folder"
    )
    for run in entry.runs[1:]:
        yield f"run {run.run_id} before it: `tacet verify` on its folder, head {run.head}"
    yield "that each participant added its noise and clipped its records (docs/leakage.md)"
