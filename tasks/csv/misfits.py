"""What of a file does not fit its configuration, counted by column. Never leaves the node."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

# Values of a column that a report shows beside the first.
_NUM_SHOWN = 5
_LONGEST_SHOWN = 60


class Misfit(NamedTuple):
    """Something that does not fit, with its place.

    Attributes
    ----------
    line : int
        The first line of its row, from 1.
    column : str or None
        The column as a message names it; None for what concerns the whole row.
    text : str or None
        The value, where one is to blame.
    why : str
        What is wrong, with the mend.
    """

    line: int
    column: str | None
    text: str | None
    why: str

    def __str__(self) -> str:
        """Return place, value and mend, in one line."""
        place = f"line {self.line}"
        if self.column is not None:
            place += f", column {self.column}"
        return f"{place}: {self.told()}"

    def told(self) -> str:
        """Return value and mend."""
        return self.why if self.text is None else f"{shown(self.text)} {self.why}"


@dataclass
class _Kind:
    """One kind of misfit in one column."""

    first: Misfit
    count: int = 0
    values: Counter[str] = field(default_factory=Counter[str])

    def add(self, misfit: Misfit) -> None:
        self.count += 1
        text = misfit.text
        if text is not None and (text in self.values or len(self.values) <= _NUM_SHOWN):
            self.values[text] += 1

    def __str__(self) -> str:
        column = "whole row" if self.first.column is None else f"column {self.first.column}"
        told = (
            f"{column}: {self.count} row{'s' * (self.count != 1)}, first in line"
            f" {self.first.line}: {self.first.told()}"
        )
        others = [text for text in self.values if text != self.first.text]
        if others:
            more = ", ..." if len(others) > _NUM_SHOWN - 1 else ""
            told += f" (also {', '.join(map(shown, others[: _NUM_SHOWN - 1]))}{more})"
        return told


class Misfits:
    """All misfits of a file: its header's, and its rows' by column and kind.

    Attributes
    ----------
    num_rows : int
        Rows with at least one.
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self._header: list[Misfit] = []
        self._kinds: dict[tuple[str | None, str], _Kind] = {}
        self._by_column: Counter[str] = Counter()

    def add_header(self, misfits: list[Misfit]) -> None:
        """Note what is wrong with the header."""
        self._header += misfits

    def add_row(self, misfits: list[Misfit]) -> None:
        """Note all that is wrong with one row, at least one misfit."""
        self.num_rows += 1
        for misfit in misfits:
            key = misfit.column, misfit.why
            self._kinds.setdefault(key, _Kind(misfit)).add(misfit)
        # A column is counted once for a row, and so is the row as a whole.
        self._by_column.update(dict.fromkeys((m.column or "whole row" for m in misfits), 1))

    @property
    def of_header(self) -> list[Misfit]:
        """What is wrong with the header, which is no secret."""
        return self._header

    @property
    def first(self) -> Misfit | None:
        """The first misfit of the file, the header's before all."""
        found = [*self._header, *(kind.first for kind in self._kinds.values())]
        return min(found, key=lambda misfit: misfit.line, default=None)

    @property
    def count(self) -> int:
        """How many there are, the header's included."""
        return len(self._header) + sum(kind.count for kind in self._kinds.values())

    def by_column(self) -> str:
        """Return in how many rows each column does not fit, in words."""
        return ", ".join(f"{name} {count}" for name, count in self._by_column.items())

    def lines(self) -> Iterator[str]:
        """Yield one line for each kind of misfit, the kinds of a column one after another."""
        yield from map(str, self._header)
        names = dict.fromkeys(column for column, _ in self._kinds)
        for name in names:
            for (column, _), kind in self._kinds.items():
                if column == name:
                    yield str(kind)


def shown(text: str) -> str:
    """Return a value as messages show it: in quotes, and not longer than a line."""
    cut = text[:_LONGEST_SHOWN]
    return repr(cut) if cut == text else f"{cut!r}..."
