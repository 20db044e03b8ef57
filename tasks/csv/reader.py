"""Reader of a CSV file's declared columns, with the place of each value."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.base import DataError
from tasks.csv.schema import CsvConfig


class Cell(NamedTuple):
    """One value with its place. ``line`` is the first line of its row, from 1."""

    file: Path
    line: int
    column: str
    text: str

    def refused(self, why: str) -> DataError:
        """Return the error that names this cell."""
        return DataError(
            f"{self.file}, line {self.line}, column {self.column}: {self.text!r} {why}"
        )


def read(
    file: Path, config: CsvConfig, skip_misfits: bool = False
) -> Iterator[dict[str, Cell] | None]:
    """Yield each row's declared columns by name, without the spaces around a value.

    Dropped columns are never yielded. With ``skip_misfits`` a row with too many or too few
    fields is None, and stray quotes and bytes are taken as they are.

    Raises
    ------
    DataError
        If the file cannot be read or does not have the declared columns.
    """
    rows = _rows(file, config.delimiter, strict=not skip_misfits)
    line, header = next(rows, (1, []))
    if not header:
        raise DataError(f"{file}: the file is empty; it must have a header and rows")
    names = [name.strip() for name in header]
    _check_header(f"{file}, line {line}", names, config)
    positions = {name: names.index(name) for name in config.columns()}
    for line, texts in rows:
        if len(texts) != len(names):
            if skip_misfits:
                yield None
                continue
            raise DataError(
                f"{file}, line {line}: {len(texts)} fields, but the header has {len(names)};"
                f' put a value that holds the delimiter {config.delimiter!r} into "quotes"'
            )
        yield {
            name: Cell(file, line, name, texts[position].strip())
            for name, position in positions.items()
        }


def _rows(file: Path, delimiter: str, strict: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line; blank lines are passed over."""
    # newline="" leaves line breaks inside quotes to the csv module.
    text = io.StringIO(_text(file, strict), newline="")
    lines = csv.reader(text, delimiter=delimiter, strict=strict)
    first = 1
    while True:
        try:
            texts = next(lines, None)
        except csv.Error as error:
            raise DataError(
                f"{file}, line {first}: {error}; mend the quotes of the row that begins here"
            ) from None
        if texts is None:
            return
        if texts:
            yield first, texts
        first = lines.line_num + 1


def _text(file: Path, strict: bool) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"data-path={file}: {error.strerror}; it must be a CSV file") from None
    try:
        return data.decode("utf-8-sig", "strict" if strict else "replace")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8;"
            " save the file as UTF-8"
        ) from None


def _check_header(where: str, names: list[str], config: CsvConfig) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{where}, column {name}: it is there twice; rename or remove one")
    there = ", ".join(map(repr, names))
    for name in config.columns():
        if name not in names:
            raise DataError(
                f"{where}, column {name}: it is missing; the header has {there}"
                f" (task.delimiter={config.delimiter!r})"
            )
    known = {*config.columns(), *config.drop}
    for name in names:
        if name not in known:
            # It might identify a person, so nobody's oversight may make it a feature.
            raise DataError(
                f"{where}, column {name}: the configuration does not name it; list it under"
                " task.drop, or under task.numeric or task.categorical to learn from it"
            )
