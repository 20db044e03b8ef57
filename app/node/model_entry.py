"""An entry of a registry of models: what a coordinator signs of a model that it hands out.

An entry is ``entry.json`` in a folder of its own, one line of canonical JSON (RFC 8785) with
the values and an Ed25519 signature (RFC 8032) over them. The values name the entry itself and
its version, so that a copy under another name is found out, and every file beside it by its
hash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from app.node.lineage import (
    LineageError,
    PastRun,
    fields_of,
    hex_of,
    line_of,
    number_of,
    runs_of,
    whole_of,
)
from strategies.secagg.crypto.identity import fingerprint, verify
from strategies.secagg.crypto.keys import Use, bind

ENTRY = "entry.json"
#: No honest entry is larger: a run that it came from takes some 400 bytes.
MOST_BYTES = 2**20
MOST_VERSIONS = 999_999
_FORMAT = "tacet-model-entry-1"
# Lower case only: some file systems take `A` and `a` for one name.
_NAME = "[a-z0-9][a-z0-9._-]{0,63}"
_CREATED = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_MOST_NAMED = 100
_KEYS = (
    "format",
    "name",
    "version",
    "created",
    "signer",
    "state",
    "workload",
    "task",
    "status",
    "participants",
    "metrics",
    "runs",
    "files",
)


class EntryError(ValueError):
    """What is no entry, or not one to trust. One line, without the path."""


def is_name(text: str) -> bool:
    """Return whether a text may be the name of a model: it is also that of a folder."""
    return re.fullmatch(_NAME, text) is not None and ".." not in text


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """What an entry says.

    Attributes
    ----------
    name : str
        Of the model.
    version : int
        Counted from 1 for each name.
    created : str
        When it was signed, by the signer's clock, in UTC.
    signer : bytes
        The 32-byte public key of whoever signed it.
    state : str
        SHA-256 of the model's numbers as a node loads them, see ``hash_state``.
    workload, task : str
        What the model is a state of.
    status : str
        How its run ended.
    participants : int
        That were asked in the run's last round.
    metrics : dict
        The scores of the run's last model.
    runs : tuple of PastRun
        Its run, and those that it came from.
    files : dict
        SHA-256 of every file beside the entry.
    """

    name: str
    version: int
    created: str
    signer: bytes
    state: str
    workload: str
    task: str
    status: str
    participants: int
    metrics: Mapping[str, float]
    runs: tuple[PastRun, ...]
    files: Mapping[str, str]

    @property
    def reference(self) -> str:
        """Return ``NAME:VERSION``."""
        return f"{self.name}:{self.version}"

    @property
    def model(self) -> str:
        """Return SHA-256 of the model file."""
        return self.runs[0].model

    def values(self) -> dict[str, Any]:
        """Return the JSON values that are signed."""
        return {
            "format": _FORMAT,
            "name": self.name,
            "version": self.version,
            "created": self.created,
            "signer": self.signer.hex(),
            "state": self.state,
            "workload": self.workload,
            "task": self.task,
            "status": self.status,
            "participants": self.participants,
            "metrics": dict(self.metrics),
            "runs": [one.to_dict() for one in self.runs],
            "files": dict(self.files),
        }

    def to_sign(self) -> bytes:
        """Return the bytes that the signature covers: all values, in their canonical form."""
        import rfc8785

        return bind(Use.SIGN_MODEL, rfc8785.dumps(self.values()))

    @classmethod
    def of(cls, value: object) -> Self:
        """Return what ``values`` gave, trusting nothing.

        Raises
        ------
        LineageError
            Naming the field.
        """
        given = fields_of("entry", value, _KEYS)
        if given["format"] != _FORMAT:
            raise LineageError(f"format {str(given['format'])[:80]!r} is not {_FORMAT!r}")
        name = line_of("name", given["name"])
        if not is_name(name):
            raise LineageError(f"name={name!r} is no name of a model")
        version = whole_of("version", given["version"], MOST_VERSIONS)
        if not version:
            raise LineageError("version=0: versions are counted from 1")
        created = line_of("created", given["created"])
        if not re.fullmatch(_CREATED, created):
            raise LineageError(f"created={created!r} is no time such as 2026-01-31T12:00:00Z")
        metrics, files = (_named(key, given[key]) for key in ("metrics", "files"))
        return cls(
            name=name,
            version=version,
            created=created,
            signer=bytes.fromhex(hex_of("signer", given["signer"])),
            state=hex_of("state", given["state"]),
            workload=line_of("workload", given["workload"]),
            task=line_of("task", given["task"]),
            status=line_of("status", given["status"]),
            participants=whole_of("participants", given["participants"]),
            metrics={key: number_of(f"metrics.{key}", v) for key, v in metrics.items()},
            runs=runs_of(given["runs"]),
            files={key: hex_of(f"files.{key}", v) for key, v in files.items()},
        )


def _named(name: str, value: object) -> Mapping[str, Any]:
    if not (isinstance(value, dict) and len(value) <= _MOST_NAMED):
        raise LineageError(f"{name} is no JSON object of {_MOST_NAMED} names at most")
    for key in value:
        line_of(f"a name in {name}", key)
    return value


@dataclass(frozen=True)
class SignedEntry:
    """An entry with its signature, which nobody has looked at yet.

    Attributes
    ----------
    entry : ModelEntry
        What it says.
    signature : bytes
        64 bytes.
    """

    entry: ModelEntry
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the content of ``entry.json``."""
        import rfc8785

        values = {"entry": self.entry.values(), "signature": self.signature.hex()}
        return rfc8785.dumps(values) + b"\n"

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read an entry, trusting nothing.

        Raises
        ------
        EntryError
            If it is none, or not in the one form that its values have.
        """
        if len(content) > MOST_BYTES:
            raise EntryError(f"{len(content)} bytes, and an entry has {MOST_BYTES} at most")
        try:
            given = fields_of("entry.json", json.loads(content), ("entry", "signature"))
            entry = ModelEntry.of(given["entry"])
            signature = line_of("signature", given["signature"])
            if not re.fullmatch("[0-9a-f]{128}", signature):
                raise LineageError("signature: must be 128 hexadecimal digits")
            found = cls(entry, bytes.fromhex(signature))
            if found.to_bytes() != content:
                raise LineageError("it is not canonical JSON, so its bytes were changed")
        # UnicodeDecodeError, JSONDecodeError and rfc8785's own are all ValueErrors.
        except (ValueError, RecursionError) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise EntryError(f"no entry of a registry: {told}") from None
        return found

    def require_signed_by(self, keys: Mapping[str, bytes]) -> str:
        """Return the name of whose signature it is.

        Parameters
        ----------
        keys : mapping
            Names to 32-byte public keys.

        Raises
        ------
        EntryError
            If its signer is none of them, or has not signed this.
        """
        entry = self.entry
        signers = [name for name, key in keys.items() if key == entry.signer]
        if not signers:
            raise EntryError(
                f"{entry.reference} is signed by {entry.signer.hex()}, which is none of"
                f" {', '.join(sorted(keys)) or 'no keys at all'}"
            )
        if not self.is_signed():
            raise EntryError(
                f"{entry.reference}: the signature is not {signers[0]}'s: the entry was changed"
            )
        return signers[0]

    def is_signed(self) -> bool:
        """Say whether the signature is that of the key that the entry itself names."""
        who = fingerprint(self.entry.signer)
        return verify({who: self.entry.signer}, who, self.signature, self.entry.to_sign())


def read_entry(folder: Path) -> tuple[SignedEntry, bytes]:
    """Read the entry in a folder, with its content.

    Raises
    ------
    EntryError
        If it is none, or a link: a folder that others may write could name any file so.
    OSError
        If it cannot be read.
    """
    file = folder / ENTRY
    if file.is_symlink() or not file.is_file():
        raise EntryError(f"{ENTRY} is no plain file")
    with file.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    return SignedEntry.parse(content), content
