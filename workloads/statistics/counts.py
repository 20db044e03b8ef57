"""How counts stand in a table: as they are, hidden, or with their noise."""

from __future__ import annotations

from typing import Any

from workloads.statistics.summaries import Summaries

#: What stands in place of a count that is not shown.
HIDDEN = "hidden"
#: The remark on a figure that is mostly noise.
NOISE = "noise"
#: More categories or columns are for a file, not for a terminal.
WIDEST = 12


def shown_count(found: Summaries, count: float, is_hidden: bool) -> Any:
    """Return a count as a person reads it: whole, or to a tenth where there is noise."""
    if is_hidden:
        return HIDDEN
    return round(count, 1) if found.noise else round(count)


def count_header(found: Summaries, share: str = "") -> list[str]:
    """Return the header of a count's columns, and of its share's if that has a name."""
    names = ["count", *([share] if share else [])]
    if found.noise:
        names = [told for name in names for told in (name, f"{name} +-")]
        names.append("remark")
    return names


def count_columns(
    found: Summaries,
    count: float,
    is_hidden: bool,
    share: tuple[Any, Any] | None = None,
) -> list[Any]:
    """Return what stands under ``count_header``.

    Parameters
    ----------
    found : Summaries
        Whose noise it is.
    count : float
        The count.
    is_hidden : bool
        Whether it is not shown; then neither is the share.
    share : (share, error), optional
        The share, where the header has one.
    """
    if not found.noise:
        told = shown_count(found, count, is_hidden)
        return [told] if share is None else [told, HIDDEN if is_hidden else share[0]]
    row = [HIDDEN if is_hidden else count, found.noise]
    if share is not None:
        row += [HIDDEN if is_hidden else share[0], share[1]]
    return [*row, NOISE if found.z * found.noise >= count else ""]
