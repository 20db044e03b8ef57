"""What a person reads of a result that is no model: facts and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A terminal has no use for more; the files have all.
_MOST_LINES = 60


@dataclass(frozen=True)
class ReportTable:
    """One more table of a report.

    Attributes
    ----------
    name : str
        What it is called; part of its file's name, so letters, digits and ``-`` only.
    columns : sequence of str
        Its header.
    rows : sequence of sequences
        Texts, numbers and None.
    note : str
        What a reader must know of it, in one line.
    is_printed : bool
        Whether it is for a terminal, too.
    is_written : bool
        Whether it is in the files; otherwise another one says the same.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    is_printed: bool = True
    is_written: bool = True


@dataclass(frozen=True)
class Report:
    """Facts, a main table and others, for a terminal, JSON and CSV.

    Attributes
    ----------
    title : str
        What it is.
    facts : dict
        Single values by name.
    columns : sequence of str
        The main table's header.
    rows : sequence of sequences
        Its rows: texts and numbers.
    tables : sequence of ReportTable
        What else there is.
    notes : sequence of str
        What a reader must know of the whole.
    """

    title: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    tables: Sequence[ReportTable] = ()
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values = {"title": self.title, **self.facts, "rows": _named(self.columns, self.rows)}
        if self.tables:
            values["tables"] = {
                table.name: _named(table.columns, table.rows)
                for table in self.tables
                if table.is_written
            }
        notes = [*self.notes, *(t.note for t in self.tables if t.note and t.is_written)]
        return values | ({"notes": notes} if notes else {})

    def to_csv(self) -> str:
        """Return the main table as CSV, with all digits."""
        return _csv(self.columns, self.rows)

    def files(self, stem: str) -> dict[str, str]:
        """Return the text of each CSV file by its name: ``STEM.csv``, ``STEM-NAME.csv``."""
        written = [table for table in self.tables if table.is_written]
        return {
            f"{stem}.csv": self.to_csv(),
            **{f"{stem}-{one.name}.csv": _csv(one.columns, one.rows) for one in written},
        }

    def lines(self) -> list[str]:
        """Return the lines for a terminal, numbers with five digits."""
        told = [
            self.title,
            *(f"  {name}: {_shown(value)}" for name, value in self.facts.items()),
            *(f"  {note}" for note in self.notes),
        ]
        if self.rows:
            told += _aligned(self.columns, self.rows, "report.csv")
        for table in self.tables:
            if table.is_printed and table.rows:
                told += ["", f"{table.name}:", *([f"  {table.note}"] if table.note else [])]
                told += _aligned(table.columns, table.rows, f"report-{table.name}.csv")
        return told


def _named(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]], file: str) -> list[str]:
    """Return a table's lines, the first column to the left; of a long one the first rows."""
    shown = rows[:_MOST_LINES]
    cells = [list(columns), *([_shown(value) for value in row] for row in shown)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[str] = []
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(text.rjust(w) for text, w in others)]
        lines.append("  ".join(padded).rstrip())
    if len(rows) > len(shown):
        lines.append(f"... and {len(rows) - len(shown):,} more rows, in {file}")
    return lines


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
