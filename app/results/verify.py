"""The check of a run folder against its own log, by whoever holds the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any, cast

import rfc8785

from app.results.merkle import leaf_hash, roots
from app.results.run_log import (
    BEGUN,
    CLOSED,
    ENDED,
    FORMAT,
    HEAD,
    LOG,
    RESUMED,
    Head,
    files_of,
    hash_of_bytes,
)
from app.results.verify_signed import (
    Keys,
    SignatureError,
    check_signatures,
    heads_that_differ,
)
from privacy.plan.release import Release

#: What no folder can show.
NOT_VERIFIED = (
    "that each node added its noise and clipped its records: that is the node's own promise"
    " (docs/leakage.md)",
    "what nodes were charged: `tacet ledger show` reads it on the node",
)


class VerificationError(ValueError):
    """A folder that is not as its log says. Names the file and what differs."""


@dataclass(frozen=True)
class Verified:
    """What was found true of a folder.

    Attributes
    ----------
    head : Head
        Of its log.
    lines : tuple of str
        What was checked, for a person.
    """

    head: Head
    lines: tuple[str, ...]


def verify(
    folder: Path,
    kept: Head | None = None,
    keys: Keys | None = None,
    node_file: Path | None = None,
) -> Verified:
    """Check every file of a run folder against its log, and the log against its head.

    Parameters
    ----------
    folder : Path
        The run folder.
    kept : Head, optional
        A head that somebody noted at some time: the log must have grown from it.
    keys : mapping of str to bytes, optional
        Public keys by name: participants' signatures are checked by them.
    node_file : Path, optional
        The state file of a node: the log must have grown from every head that the node has
        signed in this run.

    Raises
    ------
    VerificationError
        For the first thing that is not as it should be.
    """
    entries = _entries(folder)
    grown = roots(leaf_hash(entry) for entry in entries)
    head = Head(len(entries), grown[-1].hex())
    if _read(folder, HEAD) != head.to_bytes():
        raise VerificationError(f"{HEAD}: is not the head of {LOG}, {head.size} {head.root}")
    lines = [f"{LOG}: {head.size} entries, root {head.root}"]
    if kept is not None:
        lines.append(_grown(grown, kept))
    history = [json.loads(entry) for entry in entries]
    closed = _rounds(history)
    lines += _files(folder, history, closed)
    try:
        lines += check_signatures(folder, history, grown, keys or {})
    except SignatureError as error:
        raise VerificationError(str(error)) from None
    if node_file is not None:
        lines.append(_signed_by_node(node_file, history, grown))
    # The end's first: attempts that failed count too.
    released = [entry for entry in (history[-1], *closed[-1:]) if "releases" in entry]
    if released:
        lines += _epsilons(released[0])
    return Verified(head, tuple(lines))


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise VerificationError(f"{name}: {error.strerror}") from None


def _entries(folder: Path) -> list[bytes]:
    """Return the lines of the log, each of them canonical JSON of an entry."""
    content = _read(folder, LOG)
    entries = content.split(b"\n")
    if entries.pop() != b"" or not entries:
        raise VerificationError(f"{LOG}: its last line does not end")
    for number, entry in enumerate(entries, start=1):
        try:
            values = json.loads(entry)
            fits = isinstance(values, dict) and rfc8785.dumps(values) == entry
        except (ValueError, RecursionError, rfc8785.CanonicalizationError):
            fits = False
        if not fits:
            raise VerificationError(f"{LOG}, line {number}: no canonical JSON object")
    return entries


def _grown(grown: Sequence[bytes], kept: Head) -> str:
    if kept.size >= len(grown):
        raise VerificationError(f"{LOG}: {len(grown) - 1} entries, and {kept.size} were seen")
    if heads_that_differ([kept], grown):
        raise VerificationError(
            f"{LOG}: its first {kept.size} entries are not those that were seen"
        )
    return f"{LOG}: begins with the {kept.size} entries of the head that was kept"


def _signed_by_node(
    file: Path, history: Sequence[Mapping[str, Any]], grown: Sequence[bytes]
) -> str:
    """Compare the log with every head of it that a node has signed."""
    from app.node.protocol_memory import signed_log_heads
    from privacy.database import DatabaseError

    runs = {str(entry["run_id"]) for entry in history if "run_id" in entry}
    try:
        if not file.is_file():
            raise VerificationError(f"{file}: there is no such file; give a node's state-path")
        heads = [
            Head.signed(head)
            for run in sorted(runs)
            for head in signed_log_heads(file, int(run))
        ]
    except (DatabaseError, ValueError) as error:
        raise VerificationError(str(error)) from None
    if differing := heads_that_differ(heads, grown):
        raise VerificationError(
            f"{LOG}: the node of {file} has signed {differing[0].size}:{differing[0].root},"
            " from which this log has not grown"
        )
    return f"{LOG}: begins with each of the {len(heads)} heads that the node of {file} signed"


def _rounds(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the entries of the rounds that count, of a log in which all follows in order."""
    closed: list[Mapping[str, Any]] = []
    for number, entry in enumerate(history, start=1):
        kind, before = entry.get("kind"), history[number - 2].get("kind")
        fits = kind == BEGUN if number == 1 else kind in (CLOSED, ENDED, RESUMED)
        # An observer that raises at the end of a run makes it one that failed.
        fits &= number == 1 or before != ENDED or kind in (RESUMED, ENDED)
        if kind in (BEGUN, RESUMED):
            fits &= entry.get("format") == FORMAT
        if kind == RESUMED:
            done = entry.get("round")
            fits &= isinstance(done, int) and 0 <= done <= len(closed)
            closed = closed[: done if fits else 0]
        if kind == CLOSED:
            fits &= entry.get("round") == len(closed) + 1
            closed.append(entry)
        if not fits:
            raise VerificationError(f"{LOG}, line {number}: a {kind!r} does not follow here")
    return closed


def _files(
    folder: Path, history: Sequence[Mapping[str, Any]], closed: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Compare each file with what the log says of it."""
    reports = _read(folder, "metrics.jsonl").split(b"\n")
    if reports.pop() != b"" or len(reports) != len(closed):
        raise VerificationError(
            f"metrics.jsonl: {len(closed)} rounds were logged, and it has {len(reports)} (of a"
            " run that was killed the last one may be missing in the log until it is resumed)"
        )
    for number, (line, entry) in enumerate(zip(reports, closed, strict=True), start=1):
        if hash_of_bytes(line) != entry.get("line"):
            raise VerificationError(f"metrics.jsonl, line {number}: not as it was logged")
    yield f"metrics.jsonl: {len(closed)} rounds as they were logged"
    found = files_of(folder)
    if history[-1]["kind"] == ENDED:
        wanted = _files_at_end(history[-1])
        yield f"the run ended: {history[-1].get('status')}"
    else:
        begun = [entry for entry in history if entry["kind"] in (BEGUN, RESUMED)][-1]
        wanted = {"config.yaml": begun.get("config")}
        if closed and "model" in closed[-1]:
            wanted["model.safetensors"] = closed[-1]["model"]
        yield "the run goes on, or was stopped: what it writes at its end is not covered"
    for name in sorted(wanted):
        if name not in found:
            raise VerificationError(f"{name}: is missing")
        if found[name] != wanted[name]:
            raise VerificationError(f"{name}: not as it was logged")
    yield f"as they were logged: {', '.join(sorted(wanted))}"
    if history[-1]["kind"] == ENDED and (more := sorted(found.keys() - wanted.keys())):
        yield f"of which the log does not speak: {', '.join(more)}"


def _files_at_end(ended: Mapping[str, Any]) -> dict[str, Any]:
    files = ended.get("files")
    if not isinstance(files, dict):
        raise VerificationError(f"{LOG}: its end names no files")
    return cast(dict[str, Any], files)


def _epsilons(entry: Mapping[str, Any]) -> Iterator[str]:
    """Work out epsilon anew from the releases that were logged, by both accountants."""
    from privacy.accounting.epsilon import epsilon, renyi_epsilon

    try:
        schedule = [(Release.from_dict(dict(r)), int(times)) for r, times in entry["releases"]]
        told, delta = float(entry["epsilon"]), float(entry["delta"])
        found, by_renyi = epsilon(schedule, delta), renyi_epsilon(schedule, delta)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"{LOG}: its releases cannot be read: {error}") from None
    if not isclose(found, told, rel_tol=1e-6):
        raise VerificationError(
            f"{LOG}: epsilon {told:.6g} was told, and the releases that were logged come to"
            f" {found:.6g} (by Renyi divergences {by_renyi:.6g})"
        )
    num = sum(times for _, times in schedule)
    yield (
        f"epsilon {told:.6g} at delta {delta:g}: {num} releases, worked out anew; by Renyi"
        f" divergences alone {by_renyi:.6g}"
    )
