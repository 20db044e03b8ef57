"""The check of a run's epsilon: against the releases in its log, and in its summary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any

from app.results.run_log import ENDED, LOG
from app.results.summary import summary_file
from privacy.plan.release import Release

_CLOSE = 1e-6


class EpsilonError(ValueError):
    """An epsilon that the releases do not come to. Names the file."""


def check_epsilon(
    folder: Path, history: Sequence[Mapping[str, Any]], closed: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Work out epsilon anew, and hold the summary against the log.

    Parameters
    ----------
    folder : Path
        The run folder.
    history, closed : sequence of mapping
        The entries of its log, and those of the rounds that count.

    Raises
    ------
    EpsilonError
        If the log tells another epsilon than its releases, or the summary than the log.
    """
    # The end's first: attempts that failed count too.
    released = [entry for entry in (history[-1], *closed[-1:]) if "releases" in entry]
    if released:
        yield from _epsilons(released[0])
    _require_in_summary(folder, released, has_ended=history[-1]["kind"] == ENDED)


def _require_in_summary(
    folder: Path, released: Sequence[Mapping[str, Any]], *, has_ended: bool
) -> None:
    """Refuse a summary that tells of less than was logged.

    Of more, too, if the run has ended; until then it speaks of what is being asked for.
    """
    try:
        summary = json.loads(summary_file(folder).read_bytes())
        spent = dict(summary.get("privacy") or {})
        told = {name: float(spent[name]) for name in ("epsilon", "delta")} if spent else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise EpsilonError("summary.json: what was spent cannot be read") from None
    if released and not told:
        raise EpsilonError("summary.json: no epsilon, and the log has one")
    if told and not released and has_ended:
        raise EpsilonError(f"summary.json: epsilon {told['epsilon']:.6g}, and the log has none")
    for name, number in told.items() if released else ():
        logged = float(released[0][name])
        is_more = not has_ended and number >= logged
        if not (is_more or isclose(number, logged, rel_tol=_CLOSE)):
            raise EpsilonError(
                f"summary.json: {name} {number:.6g}, and {logged:.6g} was logged"
            )


def _epsilons(entry: Mapping[str, Any]) -> Iterator[str]:
    """Work out epsilon anew from the releases that were logged, by both accountants."""
    from privacy.accounting.epsilon import epsilon, renyi_epsilon

    try:
        schedule = [(Release.from_dict(dict(r)), int(times)) for r, times in entry["releases"]]
        told, delta = float(entry["epsilon"]), float(entry["delta"])
        found, by_renyi = epsilon(schedule, delta), renyi_epsilon(schedule, delta)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise EpsilonError(f"{LOG}: its releases cannot be read: {error}") from None
    if not isclose(found, told, rel_tol=_CLOSE):
        raise EpsilonError(
            f"{LOG}: epsilon {told:.6g} was told, and the releases that were logged come to"
            f" {found:.6g} (by Renyi divergences {by_renyi:.6g})"
        )
    num = sum(times for _, times in schedule)
    yield (
        f"epsilon {told:.6g} at delta {delta:g}: {num} releases, worked out anew; by Renyi"
        f" divergences alone {by_renyi:.6g}"
    )
