"""The rows of a file of ratings, each line by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.csv.mends import mend_number, parse
from tasks.csv.rows import Row, rows_of_one_line
from tasks.lines import physical_lines
from tasks.ratings.schema import RatingsConfig
from tasks.records import DataError

#: Misfits that are told with their places.
_SHOWN = 20


@dataclass
class Rated:
    """What a file says, by user.

    Attributes
    ----------
    users : dict of dict
        Rating by place of the item, by user, in the order of their first rows. Of two ratings
        of one item by one user the later row counts.
    num_rows : int
        Rows that are not blank, the header not counted.
    num_again : int
        Rows that took the place of an earlier one.
    misfits : list of str
        Where rows do not fit and why, the first of them.
    num_misfits : int
        All of them.
    """

    users: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])
    num_rows: int = 0
    num_again: int = 0
    misfits: list[str] = field(default_factory=list[str])
    num_misfits: int = 0

    def lines(self, name: object) -> list[str]:
        """Return what was found, to be printed."""
        used = self.num_rows - self.num_misfits
        told = [f"{name}: {self.num_rows} ratings, {used} used, {self.num_misfits} left out"]
        if self.num_again:
            told.append(
                f"  rated again: {self.num_again} rows, of which the last of each user and item"
                " counts"
            )
        told += [f"  {misfit}" for misfit in self.misfits]
        if self.num_misfits > len(self.misfits):
            told.append(f"  and {self.num_misfits - len(self.misfits)} more")
        return told


def read_file(file: Path, config: RatingsConfig) -> Rated:
    """Read a CSV file; no line changes what another user's become.

    Raises
    ------
    DataError
        If there is no header, or it lacks a column or has one twice.
    """
    rows = rows_of_one_line(physical_lines(file), config.delimiter)
    header = next(rows, None)
    if header is None:
        raise DataError(f"{file}: the file is empty; it must have a header and rows")
    where = f"{file}, line {header.line}"
    if header.fault:
        raise DataError(f"{where}: {header.fault}")
    names = [name.strip() for name in header.fields]
    places = _places(names, config, where)
    return _rated(rows, len(names), places, config, str(file))


def read_columns(columns: Mapping[str, Sequence[Any]], config: RatingsConfig) -> Rated:
    """Read the values of each column by its name; None is an empty field.

    Raises
    ------
    DataError
        If a column is missing, or they have different lengths.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns of different lengths: {lengths}")
    places = _places(list(columns), config, "the rows")
    fields = zip(*columns.values(), strict=True)
    rows = (
        Row(number, number, ["" if value is None else str(value) for value in row])
        for number, row in enumerate(fields, start=1)
    )
    return _rated(rows, len(columns), places, config, "the rows")


def _places(names: list[str], config: RatingsConfig, where: str) -> list[int]:
    """Return where the columns of user, item and rating stand."""
    if lacking := [name for name in config.columns() if name not in names]:
        raise DataError(
            f"{where}: column {lacking[0]} is missing; there are {', '.join(names[:20])}: name"
            f" yours by task.user, task.item and task.rating (task.delimiter="
            f"{config.delimiter!r})"
        )
    if twice := [name for name in config.columns() if names.count(name) > 1]:
        raise DataError(
            f"{where}: column {twice[0]} is there twice; rename or remove one of them"
        )
    return [names.index(name) for name in config.columns()]


def _rated(
    rows: Iterator[Row], width: int, places: list[int], config: RatingsConfig, name: str
) -> Rated:
    items = {item: place for place, item in enumerate(config.item_names())}
    found = Rated()
    for row in rows:
        found.num_rows += 1
        try:
            user, item, rating = _rating(row, width, places, items, config)
        except ValueError as error:
            found.num_misfits += 1
            if len(found.misfits) < _SHOWN:
                found.misfits.append(f"{name}, line {row.line}: {error}")
            continue
        own = found.users.setdefault(user, {})
        found.num_again += item in own
        own[item] = rating
    return found


def _rating(
    row: Row, width: int, places: list[int], items: dict[str, int], config: RatingsConfig
) -> tuple[str, int, float]:
    """Return user, place of the item, and rating.

    Raises
    ------
    ValueError
        If the row does not fit: column, value and mend.
    """
    if row.fault:
        raise ValueError(row.fault)
    if len(row.fields) != width:
        raise ValueError(f"{len(row.fields)} fields where the header has {width}")
    user, item, text = (row.fields[place].strip() for place in places)
    if not user:
        raise ValueError(f"column {config.user}: it is empty; say whose rating it is")
    if item not in items:
        given = f"1 to task.num_items={config.num_items}" if config.num_items else "task.items"
        raise ValueError(
            f"column {config.item}: {item[:60]!r} is none of {given}; mend it, or take the row"
            " out"
        )
    rating = parse(text)
    if rating is None:
        raise ValueError(f"column {config.rating}: {text[:60]!r} {mend_number(text)}")
    if not config.min_rating <= rating <= config.max_rating:
        raise ValueError(
            f"column {config.rating}: {rating:g} is beyond task.min_rating="
            f"{config.min_rating:g} and task.max_rating={config.max_rating:g}; mend it, or the"
            " bounds"
        )
    return user, items[item], rating
