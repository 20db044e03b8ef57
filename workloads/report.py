"""What a person reads of a result that is no model: facts and one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
    """Facts and a table, for a terminal, JSON and CSV.

    Attributes
    ----------
    title : str
        What it is.
    facts : dict
        Single values by name.
    columns : sequence of str
        The table's header.
    rows : sequence of sequences
        Its rows: texts and numbers.
    """

    title: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        named = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, **self.facts, "rows": named}

    def to_csv(self) -> str:
        """Return the table as CSV, with all digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def lines(self) -> list[str]:
        """Return the lines for a terminal, numbers with five digits."""
        told = [
            self.title,
            *(f"  {name}: {_shown(value)}" for name, value in self.facts.items()),
        ]
        if not self.rows:
            return told
        cells = [list(self.columns), *([_shown(value) for value in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            first, *others = zip(row, widths, strict=True)
            told.append(
                "  ".join([first[0].ljust(first[1]), *(text.rjust(w) for text, w in others)])
            )
        return told


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
