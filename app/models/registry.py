"""The folder of a registry: ``NAME/VERSION/``, each with a model and its signed entry.

A version is written beside the others and renamed when it is whole, so a reader finds all of it
or nothing, also after a power failure; and it is never written again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.models.card import CARD, card_of
from app.node.identity import load_key
from app.node.model_entry import (
    ENTRY,
    MOST_VERSIONS,
    EntryError,
    ModelEntry,
    SignedEntry,
    is_name,
    read_entry,
)
from app.results.html.gather import PLAN_FILE
from app.results.model_file import ModelFileError, load_shared, read_model
from app.results.run_log import HEAD, LOG, hash_of_bytes
from app.results.starting_model import NoStartError, runs_of_folder
from app.results.summary import read_summary
from tasks.base import Task
from workloads.base import Workload
from workloads.registry import WORKLOADS

MODEL = "model.safetensors"
#: What is copied from a run folder: what is needed to use the model, and what proves it.
COPIED = (MODEL, "config.yaml", LOG, HEAD)
FILES = (*COPIED, CARD)
_MOST_TRIES = 100
_NAME_MEND = "take lower-case letters, digits, dots, hyphens and underscores, 64 at most"


class RegistryError(ValueError):
    """A registry, or a run, that cannot be used so. One line with the mend."""


@dataclass(frozen=True)
class Found:
    """A version in a registry.

    Attributes
    ----------
    folder : Path
        Where it is.
    name : str
        Of the model, by its folder.
    version : int
        Likewise.
    entry : ModelEntry or None
        What it says, whoever has signed it; None if it cannot be used.
    objection : str
        Why it cannot.
    """

    folder: Path
    name: str
    version: int
    entry: ModelEntry | None
    objection: str = ""


def default_registry() -> Path:
    """Return where models lie if no folder is given."""
    return Path.home() / ".tacet" / "models"


def tag(run: Path, name: str, key_file: Path, registry: Path) -> tuple[Path, ModelEntry]:
    """Check a run, copy what its model needs, and sign that as the next version of a name.

    Returns
    -------
    folder : Path
        Of the new version.
    entry : ModelEntry
        What was signed.

    Raises
    ------
    RegistryError
        If the name is none, the run's folder is not as its log says or has no model, or nothing
        can be written.
    IdentityError
        If the key cannot be used.
    """
    if not is_name(name):
        raise RegistryError(f"{name!r} is no name of a model: {_NAME_MEND}")
    key = load_key(key_file)
    try:
        draft, files, task = _draft(run, name, key)
        not_promised = _not_promised(run)
        registry.mkdir(parents=True, exist_ok=True)
        return _written(registry, key, draft, files, lambda e: card_of(e, task, not_promised))
    except OSError as error:
        raise RegistryError(f"{error.filename or registry}: {error.strerror}") from None


def _draft(
    run: Path, name: str, key: Ed25519PrivateKey
) -> tuple[ModelEntry, dict[str, bytes], Task]:
    """Return the entry of version 1 without the card, the files, and the task."""
    if (run / ENTRY).exists():
        raise RegistryError(
            f"{run} is an entry of a registry already; give the folder of a run"
        )
    try:
        runs = runs_of_folder(run)
        model = read_model(run / MODEL)
        kind = WORKLOADS[model.workload]
        if not kind.has_model and kind.predict is Workload.predict:
            raise RegistryError(
                f"{run}: algorithm={model.workload} has tables as its result and no model"
            )
        # As whoever uses it will, but for what stays on each node: it is not signed unless that
        # works.
        task, _ = load_shared(run / MODEL)
    except (NoStartError, ModelFileError) as error:
        raise RegistryError(f"{run}: {error}") from None
    files = {one: (run / one).read_bytes() for one in COPIED}
    if hash_of_bytes(files[MODEL]) != runs[0].model:
        raise RegistryError(f"{run}: {MODEL} changes; wait for the end of the run")
    summary = read_summary(run)
    entry = ModelEntry(
        name=name,
        version=1,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        signer=key.public_key().public_bytes_raw(),
        state=model.hash,
        workload=model.workload,
        task=model.task,
        status=str(summary["status"]),
        participants=_participants(run),
        metrics=_metrics(summary.get("metrics")),
        runs=runs,
        files={one: hash_of_bytes(content) for one, content in files.items()},
    )
    return entry, files, task


def _participants(run: Path) -> int:
    """Return how many were asked in the last round, as verified against the log."""
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    try:
        return int(json.loads(lines[-1])["num_asked"])
    except (IndexError, KeyError, TypeError, ValueError):
        raise RegistryError(f"{run}: metrics.jsonl: its last line is no round") from None


def _metrics(found: Any) -> dict[str, float]:
    given: dict[str, Any] = dict(found) if isinstance(found, dict) else {}
    return {
        name: float(value)
        for name, value in given.items()
        if isinstance(value, int | float) and isfinite(value)
    }


def _not_promised(run: Path) -> list[str]:
    try:
        found = json.loads((run / PLAN_FILE).read_text(encoding="utf-8"))["not_promised"]
        return [str(text) for text in found]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _written(
    registry: Path,
    key: Ed25519PrivateKey,
    draft: ModelEntry,
    files: dict[str, bytes],
    card: Callable[[ModelEntry], str],
) -> tuple[Path, ModelEntry]:
    """Write the next version that is free: another process may take one meanwhile."""
    home = registry / draft.name
    if home.is_symlink():
        raise RegistryError(f"{home} is a link; a registry has folders only: remove it")
    home.mkdir(exist_ok=True)
    for _ in range(_MOST_TRIES):
        version = max((one.version for one in versions_of(registry, draft.name)), default=0) + 1
        if version > MOST_VERSIONS:
            raise RegistryError(f"{home}: no version above {MOST_VERSIONS}; take another name")
        entry = replace(draft, version=version)
        text = card(entry).encode()
        entry = replace(entry, files={**entry.files, CARD: hash_of_bytes(text)})
        signed = SignedEntry(entry, key.sign(entry.to_sign()))
        folder = home / str(version)
        whole = {**files, CARD: text, ENTRY: signed.to_bytes()}
        # Nobody but this program could read it otherwise.
        SignedEntry.parse(whole[ENTRY])
        if _renamed(registry, folder, whole):
            return folder, entry
    raise RegistryError(f"{home}: others keep writing versions there; try again")


def _renamed(registry: Path, folder: Path, files: dict[str, bytes]) -> bool:
    """Write files to a folder that is there as a whole or not at all; False if it is taken."""
    partial = Path(tempfile.mkdtemp(prefix=".tag-", dir=registry))
    try:
        for name, content in files.items():
            with (partial / name).open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        partial.chmod(0o755)
        _sync(partial)
        # On POSIX it would replace an empty folder, and fails over any other.
        if folder.exists() or folder.is_symlink():
            return False
        try:
            partial.rename(folder)
        except OSError:
            if folder.exists():
                return False
            raise
        _sync(folder.parent)
        return True
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def entries_of(registry: Path) -> Iterator[Found]:
    """Yield every version in a registry, by name and then by number.

    Raises
    ------
    RegistryError
        If there is no such folder.
    """
    try:
        names = sorted(one.name for one in registry.iterdir() if is_name(one.name))
    except FileNotFoundError:
        raise RegistryError(
            f"--registry {registry}: there is no such folder; `tacet models tag` makes it with"
            " the first model, or name another one"
        ) from None
    except OSError as error:
        raise RegistryError(f"--registry {registry}: {error.strerror}") from None
    for name in names:
        yield from versions_of(registry, name)


def versions_of(registry: Path, name: str) -> list[Found]:
    """Return the versions of a name, in order: folders named by a number, no links."""
    home = registry / name
    if home.is_symlink() or not home.is_dir():
        return []
    numbers = sorted(
        int(one.name)
        for one in home.iterdir()
        if re.fullmatch("[1-9][0-9]{0,5}", one.name) and not one.is_symlink()
    )
    return [_found(home / str(number), name, number) for number in numbers]


def find(registry: Path, reference: str) -> Found:
    """Return the version that ``NAME:VERSION`` names, or the newest one of ``NAME``.

    Raises
    ------
    RegistryError
        If there is none.
    """
    name, colon, number = reference.partition(":")
    if not is_name(name):
        raise RegistryError(f"{name[:80]!r} is no name of a model: {_NAME_MEND}")
    if colon and not re.fullmatch("[1-9][0-9]{0,5}", number):
        raise RegistryError(f"{reference[:80]!r}: give NAME or NAME:VERSION, e.g. {name}:1")
    versions = versions_of(registry, name)
    chosen = [one for one in versions if not colon or one.version == int(number)]
    if not chosen:
        there = ", ".join(str(one.version) for one in versions)
        raise RegistryError(
            f"--registry {registry} has no {reference}"
            + (f"; of {name} it has {there}" if there else "; `tacet models list` shows all")
        )
    return chosen[-1]


def _found(folder: Path, name: str, version: int) -> Found:
    try:
        signed = signed_in(folder, name, version)
    except (EntryError, OSError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        return Found(folder, name, version, None, str(told))
    return Found(folder, name, version, signed.entry)


def signed_in(folder: Path, name: str, version: int) -> SignedEntry:
    """Return the entry in a folder, which must be that of this name and version.

    Raises
    ------
    EntryError
        If it is none, or of another name or version.
    OSError
        If it cannot be read.
    """
    signed, _ = read_entry(folder)
    if (signed.entry.name, signed.entry.version) != (name, version):
        raise EntryError(
            f"it is a copy of {signed.entry.reference}: an entry cannot be renamed; remove it"
        )
    return signed
