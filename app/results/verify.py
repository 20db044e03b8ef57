"""The check of a run folder against its own log, by whoever holds the folder."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import rfc8785

from app.results.initial_model import INITIAL_MODEL
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
from app.results.verify_epsilon import EpsilonError, check_epsilon
from app.results.verify_signed import (
    Keys,
    SignatureError,
    check_signatures,
    heads_that_differ,
)

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
    not_verified : tuple of str
        What this folder leaves open, with what was given to compare it with.
    """

    head: Head
    lines: tuple[str, ...]
    not_verified: tuple[str, ...]


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
    LedgerError
        If the node's file is none.
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
        signatures = check_signatures(folder, history, grown, keys or {})
        lines += signatures.lines
        if node_file is not None:
            lines.append(_signed_by_node(node_file, history, grown))
        lines += check_epsilon(folder, history, closed)
    except (SignatureError, EpsilonError) as error:
        raise VerificationError(str(error)) from None
    return Verified(head, tuple(lines), (*NOT_VERIFIED, *signatures.not_verified))


def _read(folder: Path, name: str) -> bytes:
    file = folder / name
    # Whoever made the folder may have put something there that never ends.
    if file.exists() and not file.is_file():
        raise VerificationError(f"{name}: is no file")
    try:
        return file.read_bytes()
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

    runs = sorted({str(entry["run_id"]) for entry in history if "run_id" in entry})
    try:
        heads = [Head.signed(head) for run in runs for head in signed_log_heads(file, int(run))]
    except (ValueError, OverflowError) as error:
        raise VerificationError(f"{LOG}: run_id: {error}") from None
    if not heads:
        raise VerificationError(
            f"{LOG}: the node of {file} has signed nothing in run {' or '.join(runs)[:80]}: it"
            " took no part, messages were not signed, or this is the log of another run; give"
            " a participant's state-path, or leave out --node-state"
        )
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


def _round_lines(folder: Path, closed: Sequence[Mapping[str, Any]]) -> str:
    """Compare the line of each round with its entry."""
    reports = _read(folder, "metrics.jsonl").split(b"\n")
    if reports.pop() != b"" or len(reports) != len(closed):
        raise VerificationError(
            f"metrics.jsonl: {len(closed)} rounds were logged, and it has {len(reports)} (of a"
            " run that was killed the last one may be missing in the log until it is resumed)"
        )
    for number, (line, entry) in enumerate(zip(reports, closed, strict=True), start=1):
        if hash_of_bytes(line) != entry.get("line"):
            raise VerificationError(f"metrics.jsonl, line {number}: not as it was logged")
    return f"metrics.jsonl: {len(closed)} rounds as they were logged"


def _files(
    folder: Path, history: Sequence[Mapping[str, Any]], closed: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Compare each file with what the log says of it."""
    yield _round_lines(folder, closed)
    try:
        found = files_of(folder)
    except OSError as error:
        raise VerificationError(f"{error.filename}: {error.strerror}") from None
    begun = [entry for entry in history if entry["kind"] in (BEGUN, RESUMED)][-1]
    wanted = _files_at_begin(begun)
    if history[-1]["kind"] == ENDED:
        models = {"model.safetensors" for entry in closed if "model" in entry}
        wanted = _files_at_end(history[-1], wanted, {"summary.json"} | models)
        yield f"the run ended: {history[-1].get('status')}"
    else:
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


def _files_at_begin(begun: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {"config.yaml": begun.get("config")}
    if isinstance(initial := begun.get("initial"), dict):
        wanted[INITIAL_MODEL] = cast(dict[str, Any], initial).get("file")
    return wanted


def _files_at_end(
    ended: Mapping[str, Any], begun: Mapping[str, Any], more: Collection[str]
) -> dict[str, Any]:
    """Return the files that the end names: those of the begin are among them, as they were."""
    files = ended.get("files")
    if not isinstance(files, dict):
        raise VerificationError(f"{LOG}: its end names no files")
    named = cast(dict[str, Any], files)
    for name in sorted({*begun, *more}):
        if name not in named:
            raise VerificationError(f"{LOG}: its end does not name {name}")
        if name in begun and named[name] != begun[name]:
            raise VerificationError(f"{name}: the log's end names another one than its begin")
    if INITIAL_MODEL in named and INITIAL_MODEL not in begun:
        raise VerificationError(f"{INITIAL_MODEL}: the log's begin does not speak of it")
    return named
