"""Encoding of the rows of a CSV file, one by one, with counts of what is found."""

from collections import Counter
from math import nan
from typing import NamedTuple

from tasks.csv.hashing import Hashed, hashed
from tasks.csv.header import Header
from tasks.csv.mends import (
    mend_name,
    mend_number,
    parse,
    wrong_event,
    wrong_time,
    wrong_weight,
)
from tasks.csv.misfits import Misfit, Misfits
from tasks.csv.rows import Row
from tasks.csv.scaling import scale
from tasks.csv.schema import CategoricalConfig, CsvConfig, NumericConfig, TextConfig
from tasks.csv.targets import Target


class Encoded(NamedTuple):
    """A row that can be used.

    Attributes
    ----------
    values : list of float
        Numbers, then positions of categories.
    target : Target or None
        None where it has none and needs none.
    weight : float
        How often it counts.
    texts : list of Hashed
        One for each column of text.
    """

    values: list[float]
    target: Target | None
    weight: float
    texts: list[Hashed]


class Encoder:
    """Encoder of rows that notes what it finds. Every cell is checked, used or not.

    Parameters
    ----------
    config : CsvConfig
        What the columns mean.
    header : Header
        Where they stand.
    keeps_missing : bool
        Keep rows that miss a feature, NaN in its place; otherwise they are left out.
    needs_label : bool
        Leave out rows without a label; otherwise they are kept, without a target.
    """

    def __init__(
        self,
        config: CsvConfig,
        header: Header,
        keeps_missing: bool,
        *,
        needs_label: bool = True,
    ) -> None:
        places = header.positions
        self._num_columns = header.num_columns
        self._delimiter = config.delimiter
        self._label = config.label
        self._label_places = [places.get(name) for name in config.label.columns.values()]
        self._weight = config.weight
        self._weight_place = None if config.weight is None else places.get(config.weight.column)
        self._bounds = config.label.bounds
        self._longest = config.label.time.max if config.label.time is not None else 0.0
        self._classes = {name: float(i) for i, name in enumerate(config.label.classes)}
        self._numeric = [
            (name, places[name], column)
            for name, column in config.numeric.items()
            if name in places
        ]
        self._categorical = [
            (name, places[name], column)
            for name, column in config.categorical.items()
            if name in places
        ]
        self._texts = [
            (name, places[name], column)
            for name, column in config.text.items()
            if name in places
        ]
        self._codes = [
            {name: float(code) for code, name in enumerate(column.categories)}
            for _, _, column in self._categorical
        ]
        self._keeps_missing = keeps_missing
        self._needs_label = needs_label
        self._missing_values = frozenset(config.missing_values)
        self._found: list[Misfit] = []
        self._line = 0
        self.misfits = Misfits()
        self.missing: Counter[str] = Counter()
        self.filled: Counter[str] = Counter()
        self.clipped: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def row(self, row: Row) -> Encoded | None:
        """Return what a row says, or None if it is left out."""
        self._found, self._line = [], row.line
        encoded = None
        if row.fault:
            self._found.append(Misfit(row.line, None, None, row.fault))
        elif len(row.fields) != self._num_columns:
            self._found.append(Misfit(row.line, None, None, self._other_width(row.fields)))
        else:
            encoded = self._values(row.fields)
        if not self._found:
            return encoded
        self.misfits.add_row(self._found)
        return None

    def _values(self, fields: list[str]) -> Encoded | None:
        label = [fields[place].strip() for place in self._label_places if place is not None]
        target = None
        if len(label) == len(self._label_places):
            target = self._target(label[0]) if len(label) == 1 else self._survival(*label)
        values = [
            self._number(name, fields[place].strip(), column)
            for name, place, column in self._numeric
        ]
        for (name, place, column), codes in zip(self._categorical, self._codes, strict=True):
            values.append(self._category(name, fields[place].strip(), column, codes))
        texts = [self._text(name, fields[place], column) for name, place, column in self._texts]
        weight = self._own_weight(fields)
        # Every column was looked at before the row is left out.
        is_unlabelled = target is None and self._needs_label
        if is_unlabelled or any(value is None for value in values):
            return None
        return Encoded([value for value in values if value is not None], target, weight, texts)

    def _text(self, name: str, text: str, column: TextConfig) -> Hashed:
        """Return the vector of a text; a missing one is one without words."""
        if text.strip() in self._missing_values:
            self.filled[name] += 1
            text = ""
        found = hashed(text, column)
        if found.is_cut:
            self.clipped[name] += 1
        return found

    def _own_weight(self, fields: list[str]) -> float:
        """Return how often the row counts; 1 where the file has no such column."""
        if self._weight is None or self._weight_place is None:
            return 1.0
        text, name = fields[self._weight_place].strip(), self._weight.column
        if why := wrong_weight(text, self._missing_values):
            self._found.append(Misfit(self._line, name, text, why))
            return 0.0
        if float(text) > self._weight.max:
            self.clipped[name] += 1
        return min(float(text), self._weight.max)

    def _target(self, text: str) -> float | None:
        column = self._label.column
        if self._bounds is not None:
            value = self._number(column, text, self._bounds, is_label=True)
            return None if value is None else float(scale(value, self._bounds))
        if text in self._missing_values:
            self.missing[column] += 1
            return None
        target = self._classes.get(text)
        if target is None:
            why = mend_name("label.classes", text, self._label.classes)
            self._found.append(Misfit(self._line, column, text, why))
        return target

    def _survival(self, time: str, event: str) -> tuple[float, float] | None:
        """Return time and event, or None if the row is left out.

        A record under observation for longer than what is looked at counts as censored at its
        end, which is all that is known of it there; its event came later.
        """
        found: list[float] = []
        of_time, of_event = self._label.columns.values()
        for name, text, wrong in ((of_time, time, wrong_time), (of_event, event, wrong_event)):
            if text in self._missing_values:
                self.missing[name] += 1
            elif why := wrong(text):
                self._found.append(Misfit(self._line, name, text, why))
            else:
                found.append(float(text))
        if len(found) < 2:
            return None
        if found[0] > self._longest:
            self.clipped[of_time] += 1
            return self._longest, 0.0
        return found[0], found[1]

    def _number(
        self, name: str, text: str, column: NumericConfig, *, is_label: bool = False
    ) -> float | None:
        """Return the number, NaN if it is missing and kept, or None if the row is left out."""
        if text in self._missing_values:
            (self.missing if column.fill is None else self.filled)[name] += 1
            return self._nothing(column.fill, is_label)
        value = parse(text)
        if value is None:
            self._found.append(Misfit(self._line, name, text, mend_number(text)))
            return None
        if not column.min <= value <= column.max:
            self.clipped[name] += 1
        return value

    def _nothing(self, fill: float | None, is_label: bool) -> float | None:
        """Return what stands for a missing value."""
        if fill is None and self._keeps_missing and not is_label:
            return nan
        return fill

    def _category(
        self, name: str, text: str, column: CategoricalConfig, codes: dict[str, float]
    ) -> float | None:
        """Return a category's position, NaN if it is missing and kept, or else None."""
        if text in self._missing_values:
            (self.missing if column.fill is None else self.filled)[name] += 1
            fill = None if column.fill is None else codes[column.fill]
            return self._nothing(fill, is_label=False)
        if text in codes:
            return codes[text]
        if column.unknown is not None:
            self.unknown[name] += 1
            return codes[column.unknown]
        or_else = (
            f"; mend it, or let task.categorical.{name}.unknown name a category for all others"
        )
        why = mend_name(f"categorical.{name}.categories", text, column.categories, or_else)
        self._found.append(Misfit(self._line, name, text, why))
        return None

    def _other_width(self, fields: list[str]) -> str:
        told = f"{len(fields)} fields, but the header has {self._num_columns}"
        if len(fields) == self._num_columns + 1 and not fields[-1].strip():
            return f"{told}: the line ends in a delimiter and the header does not; mend one"
        return f'{told}; put a value that holds the delimiter {self._delimiter!r} into "quotes"'
