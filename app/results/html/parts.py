"""The parts of a page: tiles, tables and sections, as plain texts that the template escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.results.html.shown import number
from app.results.html.svg import Figure

# Of a table and of a list: a page stays below 1 MB, and the files have all.
_MOST_ROWS, _MOST_COLUMNS, _MOST_FACTS = 150, 40, 150


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and whether it is a number, which stands to the right."""

    text: str
    is_number: bool


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes
    ----------
    title : str
        What it is called.
    columns : sequence of str
        Its header.
    rows : sequence of sequences of Cell
    note : str
        What a reader must know of it.
    is_folded : bool
        Whether it is shown only when it is asked for.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    is_folded: bool = False


@dataclass(frozen=True)
class Tile:
    """One of the figures at the top: a name, a value, and a line that says more."""

    name: str
    value: str
    more: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    key: str
    title: str
    texts: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    figures: Sequence[Figure] = ()
    small: Sequence[Figure] = ()
    small_title: str = ""
    items: Sequence[str] = ()
    items_title: str = ""
    tables: Sequence[Table] = field(default_factory=tuple)

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to show."""
        parts = (self.texts, self.facts, self.figures, self.small, self.items, self.tables)
        return not any(parts)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    note: str = "",
    is_folded: bool = False,
    file: str = "",
) -> Table:
    """Return a table of values; of a large one its beginning, and which file has all."""
    kept, shown = columns[:_MOST_COLUMNS], rows[:_MOST_ROWS]
    more = [
        f"The first {len(part)} of {len(whole):,} {what}; all are in {file}."
        for part, whole, what in ((shown, rows, "rows"), (kept, columns, "columns"))
        if len(part) < len(whole)
    ]
    cells = [[_cell(value) for value in row[: len(kept)]] for row in shown]
    told = " ".join([*([note] * bool(note)), *more])
    return Table(title, [str(name) for name in kept], cells, told, is_folded)


def facts(values: Sequence[tuple[str, Any]], file: str) -> list[tuple[str, str]]:
    """Return names and values as texts; of many the first, and which file has all."""
    found = [(name, number(value)) for name, value in values[:_MOST_FACTS]]
    more = len(values) - len(found)
    return found + [("more", f"{more:,} in {file}")] * bool(more)


def table_of_dicts(
    title: str,
    rows: Sequence[dict[str, Any]],
    *,
    note: str = "",
    is_folded: bool = False,
    file: str = "",
) -> Table:
    """Return a table of rows that name their columns."""
    columns = list(rows[0])
    values = [[row.get(name) for name in columns] for row in rows[: _MOST_ROWS + 1]]
    values += [()] * max(0, len(rows) - len(values))
    return table(title, columns, values, note=note, is_folded=is_folded, file=file)


def _cell(value: Any) -> Cell:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(number(value), is_number or value is None)
