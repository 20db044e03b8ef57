"""The rows of a CSV file: each physical line alone, or rows that go over several lines."""

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tasks.lines import Line
from tasks.records import DataError

#: What rows that are in no file are called.
IN_MEMORY = "the rows"


class Row(NamedTuple):
    """One row: its fields as they stand there, or why it cannot be read.

    Attributes
    ----------
    line, last_line : int
        Where it begins and ends, from 1.
    fields : list of str
        Empty if there is a fault.
    fault : str
        What is wrong, with the mend; empty for a row that can be read.
    """

    line: int
    last_line: int
    fields: list[str]
    fault: str = ""


def rows_of_one_line(lines: Iterable[Line], delimiter: str) -> Iterator[Row]:
    """Yield each line as a row of its own. No line changes what another one becomes.

    A line break inside of quotes ends the row there, so both its lines are faults. Blank lines
    are passed over.
    """
    for line in lines:
        row = _parsed(line, delimiter)
        if row.fields or row.fault:
            yield row


def _parsed(line: Line, delimiter: str) -> Row:
    if line.fault:
        return Row(line.number, line.number, [], line.fault)
    try:
        fields = next(csv.reader([line.text], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        why = f"{error}; mend its quotes: in a private run each line is a row of its own"
        return Row(line.number, line.number, [], why)
    return Row(line.number, line.number, fields)


def rows_in_memory(
    columns: Mapping[str, Sequence[Any]], missing_values: Sequence[str]
) -> Iterator[Row]:
    """Yield names of columns, then their rows, values as a file would have them.

    Raises
    ------
    DataError
        If the columns are not of one length.
    """
    if len({len(values) for values in columns.values()}) > 1:
        told = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise DataError(f"{IN_MEMORY}: columns must be of one length, but these are: {told}")
    if not columns:
        return
    missing = missing_values[0] if missing_values else ""
    yield Row(0, 0, [str(name) for name in columns])
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        yield Row(number, number, [_text(value, missing) for value in values])


def _text(value: Any, missing: str) -> str:
    """Return a value as a file would have it; None and NaN are missing."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return missing
    if isinstance(value, np.floating):
        return repr(float(value))
    return str(value)


def rows_of_lines(
    lines: list[Line], delimiter: str, of_one_line: Collection[str]
) -> Iterator[Row]:
    """Yield rows as the CSV format has them: quotes may hold line breaks.

    A value with a line break in one of the columns ``of_one_line`` has swallowed what follows.
    After a row with broken quotes it goes on with the next line, so that what is wrong further
    down is found as well. Blank lines are passed over.
    """
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        start, fault, fields = feed.position, "", []
        try:
            fields = next(reader, None)
        except csv.Error as error:
            fault = f"{error}; mend the quotes of the row that begins here"
        if fields is None:
            return
        own = lines[start : feed.position]
        if fields and len(own) > 1 and header and _swallowed(fields, header, of_one_line):
            fault = (
                f"its quotes go on to line {own[-1].number}, over what look like rows of their"
                " own; mend them"
            )
        if fault:
            feed.position = start + 1
            reader = csv.reader(feed, delimiter=delimiter, strict=True)
        fault = fault or next((line.fault for line in own if line.fault), "")
        if fields or fault:
            header = header or fields
            yield Row(own[0].number, own[-1].number, [] if fault else fields, fault)


def _swallowed(fields: list[str], header: list[str], of_one_line: Collection[str]) -> bool:
    """Whether the quotes of a row over several lines seem to hold other rows."""
    return len(fields) != len(header) or any(
        "\n" in value.strip() and name.strip() in of_one_line
        for name, value in zip(header, fields, strict=True)
    )


class _Feed:
    """Iterator over the text of lines that can be set back."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines
        self.position = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.position == len(self._lines):
            raise StopIteration
        self.position += 1
        return self._lines[self.position - 1].text + "\n"
