"""``log.jsonl`` of a run folder: what happened, in entries that nobody can change unnoticed.

An entry is one line of canonical JSON (RFC 8785); the entries are the leaves of a Merkle tree
(RFC 6962), whose size and root, the head, stand in ``head.json``. Entries hold the SHA-256 of
each file of the run, so whoever has kept a head can tell whether any of them was changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Self

import rfc8785

from app.results.history import START_ANEW, RunFolderError
from app.results.merkle import Tree, leaf_hash
from app.results.model_file import write_whole

LOG, HEAD = "log.jsonl", "head.json"
FORMAT = "tacet-log-1"
#: Kinds of entries, in the order in which a run writes them.
BEGUN, RESUMED, CLOSED, ENDED = "begun", "resumed", "closed", "ended"
#: What an entry calls the signatures of a sum's participants.
SIGNED = "signed"
#: What an entry calls those values of ``config.yaml`` that a resume may replace.
CHANGEABLE = "changeable"
#: What no entry speaks of: the log itself, and what can be made anew from the rest.
_APART = (LOG, HEAD, ".lock", "plan.json", "report.html")


@dataclass(frozen=True)
class Head:
    """The state of a log.

    Attributes
    ----------
    size : int
        Entries.
    root : str
        The root of the tree over them, 64 hexadecimal digits.
    """

    size: int
    root: str

    def to_bytes(self) -> bytes:
        """Return the content of ``head.json``."""
        return rfc8785.dumps({"size": self.size, "root": self.root}) + b"\n"

    def to_sign(self) -> bytes:
        """Return what participants sign of it: 8 bytes of size, big-endian, and the root."""
        return self.size.to_bytes(8, "big") + bytes.fromhex(self.root)

    @classmethod
    def signed(cls, head: bytes) -> Self:
        """Return the head that ``to_sign`` gave (40 bytes)."""
        return cls(int.from_bytes(head[:8], "big"), head[8:].hex())


def head_of(entries: list[bytes]) -> Head:
    """Return the head of a log with these entries, each without its line's end."""
    return _head_over(_tree_over(entries))


def _tree_over(entries: Iterable[bytes]) -> Tree:
    tree = Tree()
    for entry in entries:
        tree.append(leaf_hash(entry))
    return tree


def _head_over(tree: Tree) -> Head:
    return Head(tree.size, tree.root().hex())


class RunLog:
    """The log of one run, appended to.

    Parameters
    ----------
    folder : Path
        The run folder; what is in its log already stays.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / LOG
        self._entries: list[bytes] = []
        if self._file.exists():
            # A line that was not written to its end, or after which the process was killed,
            # never was in a head.
            whole = self._file.read_bytes().split(b"\n")[:-1]
            self._entries = whole[: self._known_size(len(whole))]
            write_whole(self._file, b"".join(entry + b"\n" for entry in self._entries))
        self._tree = _tree_over(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def num_closed(self) -> int:
        """Return how many rounds there are that count: a resumed run may do some again.

        Raises
        ------
        RunFolderError
            Naming a line that is no entry.
        """
        found = 0
        for number, entry in enumerate(self._entries, start=1):
            try:
                values = json.loads(entry)
                if values["kind"] == CLOSED:
                    found += 1
                elif values["kind"] == RESUMED:
                    found = int(values["round"])
            except (ValueError, TypeError, KeyError):
                raise RunFolderError(
                    f"{self._file}, line {number}: is no entry of a log; put the file back, or"
                    f" {START_ANEW}"
                ) from None
        return found

    def append(self, kind: str, values: Mapping[str, Any]) -> Head:
        """Append an entry and return the head that it makes.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        entry = rfc8785.dumps({"kind": kind, **values})
        with self._file.open("ab") as file:
            file.write(entry + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._entries.append(entry)
        self._tree.append(leaf_hash(entry))
        head = _head_over(self._tree)
        write_whole(self._folder / HEAD, head.to_bytes())
        return head

    def _known_size(self, num_lines: int) -> int:
        """Return how many of the lines the head knows; a kill may leave one more."""
        try:
            size = int(json.loads((self._folder / HEAD).read_bytes())["size"])
        except (OSError, ValueError, TypeError, KeyError):
            return num_lines
        return size if size <= num_lines else num_lines


def hash_of(file: Path) -> str:
    """Return SHA-256 of a file, 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def hash_of_bytes(content: bytes) -> str:
    """Return SHA-256 of some bytes, 64 hexadecimal digits."""
    return sha256(content).hexdigest()


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a run folder, but for what entries do not speak of."""
    return {
        path.name: hash_of(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in _APART and path.suffix != ".partial"
    }
