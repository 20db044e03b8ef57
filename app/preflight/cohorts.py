"""Show a node's owner over whom exact sums were opened or refused, and allow one by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.node.identity import names_of
from app.node.node_config import PEERS_FILE, POLICY_FILE, STATE_PATH, NodeConfigError, paths
from app.node.policy import load_policy
from app.node.views import (
    ExactCohort,
    Members,
    Status,
    allow_cohort,
    difference,
    exact_cohorts,
    member_name,
)

_WORDS = {
    Status.OPENED: "opened",
    Status.ALLOWED: "allowed by hand, not opened yet",
    Status.REFUSED: "refused",
}


def lines(node_config: dict[str, Any]) -> list[str]:
    """Return a paragraph for each cohort that the node's file knows.

    Raises
    ------
    NodeConfigError, PolicyError, IdentityError
        If the node's configuration does not name its policy and state file, or one is wrong.
    """
    state, dataset, name = _read(node_config)
    cohorts = exact_cohorts(state, dataset) if state.is_file() else []
    if not cohorts:
        return [f"data set {dataset}: no exact sum was opened or refused"]
    opened = [one.members for one in cohorts if one.status is Status.OPENED]
    found = [f"data set {dataset}: cohorts of exact sums"]
    for one in cohorts:
        found += _paragraph(one, opened, name)
    if any(one.status is Status.REFUSED for one in cohorts):
        found.append(
            "The difference of two sums shows what those gave who are in one of them only."
            " Allow a cohort by its number if they, or you for them, agree to that."
        )
    return found


def allow(node_config: dict[str, Any], number: int) -> list[str]:
    """Allow a cohort that was refused; return what to print.

    Raises
    ------
    NodeConfigError, PolicyError, IdentityError
        As for ``lines``, and if no cohort of that number was refused.
    """
    state, dataset, _ = _read(node_config)
    if not state.is_file() or not allow_cohort(state, dataset, number):
        raise NodeConfigError(
            f"{number}: no cohort of data set {dataset} with this number was refused; `tacet"
            " node allow-cohort` without a number shows them"
        )
    return [f"cohort {number} is allowed: exact sums over it may be opened on this node"]


def _paragraph(
    one: ExactCohort, opened: list[Members], name: Callable[[bytes], str]
) -> list[str]:
    head = f"  {one.number}: {len(one.members)} nodes, T={one.least}, {_WORDS[one.status]}"
    members = f"     {', '.join(sorted(map(name, one.members)))}"
    others = [view for view in opened if view != one.members]
    if one.status is Status.OPENED or not others:
        return [head, members]
    nearest = min(others, key=lambda view: len(view ^ one.members))
    return [
        head,
        members,
        f"     beside an opened one: {difference(nearest, one.members, name)}",
    ]


def _read(node_config: dict[str, Any]) -> tuple[Path, str, Callable[[bytes], str]]:
    given = paths(node_config)
    for key in (POLICY_FILE, STATE_PATH):
        if key not in given:
            raise NodeConfigError(
                f"--node-config lacks {key}; give the same string as flower-supernode's"
            )
    named = names_of(given.get(PEERS_FILE))
    dataset = load_policy(given[POLICY_FILE]).dataset
    return given[STATE_PATH], dataset, lambda member: member_name(member, named)
