"""Whose sums a node has helped to open, and whether another may be opened beside them.

Two sums whose members differ by a few show nearly what those few gave. What is kept lies in the
node's own SQLite file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from sqlite3 import Connection
from typing import Protocol

from privacy.database import id_bytes, transaction
from privacy.ledger.rows import tables
from strategies.secagg.client.memory import NAME_BYTES
from strategies.secagg.client.store import ENDED

log = logging.getLogger("flwr.tacet")

Members = frozenset[bytes]

_RUN_SCHEMA = """
CREATE TABLE IF NOT EXISTS secagg_views (
    sequence INTEGER PRIMARY KEY, run_id BLOB NOT NULL, members BLOB NOT NULL,
    is_change INTEGER NOT NULL
)
"""
_EXACT_SCHEMA = """
CREATE TABLE IF NOT EXISTS exact_cohorts (
    sequence INTEGER PRIMARY KEY, dataset TEXT NOT NULL, members BLOB NOT NULL,
    least INTEGER NOT NULL, status INTEGER NOT NULL, UNIQUE (dataset, members)
)
"""
_ADD = """
INSERT INTO exact_cohorts (dataset, members, least, status) VALUES (?, ?, ?, ?)
ON CONFLICT (dataset, members) DO UPDATE SET
    least = max(least, excluded.least), status = excluded.status
"""
_ID_BYTES = 8
#: So many cohorts that were refused are kept for the node's owner to look at.
_KEPT_REFUSALS = 16
_DROP_REFUSALS = """
DELETE FROM exact_cohorts WHERE dataset = ?1 AND status = ?2 AND sequence NOT IN (
    SELECT sequence FROM exact_cohorts WHERE dataset = ?1 AND status = ?2
    ORDER BY sequence DESC LIMIT ?3
)
"""


class Views(Protocol):
    """What a node remembers of the members of sums that it has helped to open."""

    def allows(self, run_id: int, members: Members, least: int, *, note: bool) -> bool:
        """Say whether a sum over these members may be opened in this run; maybe note it.

        A sum of ``least`` members hides what each gave, and so must a difference of sums.
        """
        ...


class RunViews:
    """Views of one run: so many changes by a few members are allowed.

    Parameters
    ----------
    path : Path
        The node's own file.
    max_changes : int or None
        From the node's policy; None for any number.
    """

    def __init__(self, path: Path, max_changes: int | None) -> None:
        self._path = path
        self._max_changes = max_changes

    def allows(self, run_id: int, members: Members, least: int, *, note: bool) -> bool:
        """Say whether such a sum may be opened: the same members as the last time always."""
        if self._max_changes is None:
            return True
        run = id_bytes(run_id)
        with transaction(self._path, _RUN_SCHEMA) as database:
            rows = database.execute(
                "SELECT members, is_change FROM secagg_views WHERE run_id = ?"
                " ORDER BY sequence",
                (run,),
            ).fetchall()
            views = [_members(known) for known, _ in rows]
            if views and members == views[-1]:
                return True
            # Against every other sum and not only the last: one far from both in between would
            # hide that two differ by little.
            is_change = any(0 < len(members ^ other) < least for other in views)
            if is_change and sum(counts for _, counts in rows) >= self._max_changes:
                return False
            if note:
                if not rows:
                    _forget_ended(database)
                database.execute(
                    "INSERT INTO secagg_views (run_id, members, is_change) VALUES (?, ?, ?)",
                    (run, _encoded(members), int(is_change)),
                )
        return True


class Status(IntEnum):
    """Whether exact sums over a cohort were opened, or its members' owner was asked."""

    OPENED = 0
    ALLOWED = 1
    REFUSED = 2


@dataclass(frozen=True)
class ExactCohort:
    """A cohort over which exact sums of a data set were opened, or refused.

    Attributes
    ----------
    number : int
        By which the node's owner names it.
    members : frozenset of bytes
        Fingerprints, or ids where nobody signs.
    least : int
        T: a sum over so many hides what each gave.
    status : Status
        What became of it.
    """

    number: int
    members: Members
    least: int
    status: Status


class ExactViews:
    """Views of one data set in all runs whose sums are exact.

    **Guarantee.** Sort the members of the sums that were opened by which of the sums they are
    in. Each such group has T members at least. So whatever a server adds and subtracts of those
    sums, what a node gave stands in it beside what T - 1 others gave, with the same factor: c
    that collude leave T - c together. Two sums that ask different questions are no exception,
    for the answer to one often follows from that to another. What the node's owner has allowed
    by hand is outside of it.

    Members are told by their identities; without identities the server names them, and it holds
    against mistakes only.

    Parameters
    ----------
    path : Path
        The node's own file.
    dataset : str
        From the node's policy.
    name : callable
        From a member to what a person calls it, for the log.
    """

    def __init__(self, path: Path, dataset: str, name: Callable[[bytes], str]) -> None:
        self._path = path
        self._dataset = dataset
        self._name = name

    def allows(self, run_id: int, members: Members, least: int, *, note: bool) -> bool:
        """Say whether such a sum may be opened: over members as before always."""
        with transaction(self._path, _EXACT_SCHEMA) as database:
            known = _cohorts(database, self._dataset)
            opened = [one for one in known if one.status is Status.OPENED]
            before = next((one for one in known if one.members == members), None)
            is_known = before is not None and before.status is not Status.REFUSED
            # A sum that promised more than this one must still hold what it promised.
            most = max([least, *(one.least for one in opened)])
            views = [one.members for one in opened]
            if is_known or not tells_apart(views, members, most):
                if note:
                    row = self._dataset, _encoded(members), least, Status.OPENED
                    database.execute(_ADD, row)
                return True
            if before is None:
                row = self._dataset, _encoded(members), least, Status.REFUSED
                database.execute(_ADD, row)
                kept = self._dataset, Status.REFUSED, _KEPT_REFUSALS
                database.execute(_DROP_REFUSALS, kept)
        nearest = min(views, key=lambda view: len(view ^ members))
        log.warning(
            "an exact sum over %d nodes is refused: one over %d was opened before, and %s; each"
            " group that changes must have T=%d nodes. `tacet node allow-cohort` shows it and"
            " lets its owner allow it",
            len(members),
            len(nearest),
            difference(nearest, members, self._name),
            most,
        )
        return False


def tells_apart(views: Sequence[Members], members: Members, least: int) -> bool:
    """Say whether sums over these views and these members tell fewer than ``least`` apart.

    Parameters
    ----------
    views : sequence of frozenset
        The members of the sums before.
    members : frozenset
        Those of the sum that is asked for.
    least : int
        T.
    """
    groups: dict[tuple[bool, ...], set[bytes]] = {}
    for one in members.union(*views):
        groups.setdefault(tuple(one in view for view in views), set()).add(one)
    nobody = (False,) * len(views)
    for pattern, group in groups.items():
        inside, outside = len(group & members), len(group - members)
        # Who was in no sum before is a new group; any other one may only be parted.
        if inside and (outside or (pattern == nobody and views)):
            parts = (inside, outside) if outside else (inside,)
            if min(parts) < least:
                return True
    return False


def member_name(member: bytes, named: Mapping[bytes, str]) -> str:
    """Return what a person calls a member: its peer's name, or else the id or fingerprint."""
    if member in named:
        return named[member]
    is_id = not any(member[:-_ID_BYTES])
    number = int.from_bytes(member, "big")
    return f"node {number}" if is_id else f"unknown {member[:4].hex()}"


def difference(before: Members, now: Members, name: Callable[[bytes], str]) -> str:
    """Return who is missing and who is new, in words."""
    parts = {"missing": before - now, "new": now - before}
    words = (
        f"{what}: {', '.join(sorted(map(name, who)))}" for what, who in parts.items() if who
    )
    return "; ".join(words) or "nobody is missing"


def exact_cohorts(path: Path, dataset: str) -> list[ExactCohort]:
    """Return the cohorts of a data set that a node's file knows, the oldest first."""
    with transaction(path, _EXACT_SCHEMA) as database:
        return _cohorts(database, dataset)


def allow_cohort(path: Path, dataset: str, number: int) -> bool:
    """Allow a cohort that was refused; return whether there is one of that number."""
    with transaction(path, _EXACT_SCHEMA) as database:
        changed = database.execute(
            "UPDATE exact_cohorts SET status = ? WHERE dataset = ? AND sequence = ?"
            " AND status = ?",
            (Status.ALLOWED, dataset, number, Status.REFUSED),
        )
        return changed.rowcount == 1


def _cohorts(database: Connection, dataset: str) -> list[ExactCohort]:
    rows: Iterable[tuple[int, bytes, int, int]] = database.execute(
        "SELECT sequence, members, least, status FROM exact_cohorts WHERE dataset = ?"
        " ORDER BY sequence",
        (dataset,),
    ).fetchall()
    return [
        ExactCohort(number, _members(members), least, Status(status))
        for number, members, least, status in rows
    ]


def _forget_ended(database: Connection) -> None:
    """Delete the views of runs that are over: nothing is opened in them again."""
    if "secagg" in tables(database):
        database.execute(
            "DELETE FROM secagg_views WHERE run_id IN"
            " (SELECT run_id FROM secagg WHERE terms = ?)",
            (ENDED,),
        )


def _encoded(members: Collection[bytes]) -> bytes:
    return b"".join(sorted(members))


def _members(encoded: bytes) -> Members:
    places = range(0, len(encoded), NAME_BYTES)
    return frozenset(encoded[i : i + NAME_BYTES] for i in places)
