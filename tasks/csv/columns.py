"""The configuration of the feature columns of a CSV file."""

from dataclasses import dataclass
from math import isfinite

from tasks.schema import require

#: No record counts for more: sums of whole numbers must fit.
LARGEST_WEIGHT = 1e6

#: All texts of a record become so many features at most: a record's inputs are held as a whole.
MOST_BUCKETS = 65_536


@dataclass
class NumericConfig:
    """A column of numbers. Its bounds are mapped to [-1, 1]; what lies outside is clipped.

    Attributes
    ----------
    min, max : float
        Bounds from public knowledge, not from the records. min is below max.
    fill : float, optional
        Stands for a missing value. Without it, a row that misses the value is left out.
    """

    min: float
    max: float
    fill: float | None = None

    def check(self, key: str) -> None:
        """Raise ``ValueError`` if the numbers make no sense."""
        require_bounds(key, self.min, self.max)
        require(
            self.fill is None or self.min <= self.fill <= self.max,
            f"{key}.fill={self.fill}: must lie in [{self.min}, {self.max}]",
        )


@dataclass
class CategoricalConfig:
    """A column of names or codes. Each category is a feature of its own, 0 or 1.

    Attributes
    ----------
    categories : list of str
        All that may occur, at least 2. Upper and lower case differ.
    fill : str, optional
        The category that stands for a missing value. Without it, such a row is left out.
    unknown : str, optional
        The category that stands for all that are not listed. Without it, they are refused.
    """

    categories: list[str]
    fill: str | None = None
    unknown: str | None = None

    def check(self, key: str, missing_values: list[str]) -> None:
        """Raise ``ValueError`` if the categories make no sense."""
        require_names(f"{key}.categories", self.categories, missing_values)
        for name, value in (("fill", self.fill), ("unknown", self.unknown)):
            require(
                value is None or value in self.categories,
                f"{key}.{name}={value}: must be one of {', '.join(self.categories)}",
            )


@dataclass
class TextConfig:
    """A column of free text, such as notes. Its n-grams are hashed: each bucket is a feature.

    Attributes
    ----------
    buckets : int
        How many features it becomes. With more, fewer n-grams share one, and messages are
        longer.
    words : int
        The longest n-grams of words: 1 for words alone, 2 for pairs too; 0 for none.
    characters : int
        The length of n-grams of characters within a word, which see what misspelt and inflected
        words have in common; 0 for none.
    max_words : int
        No more words of a text are looked at.
    """

    buckets: int = 1024
    words: int = 2
    characters: int = 0
    max_words: int = 200

    def check(self, key: str) -> None:
        """Raise ``ValueError`` if the numbers make no sense."""
        ranges = (
            ("buckets", 2, MOST_BUCKETS),
            ("words", 0, 3),
            ("characters", 0, 8),
            ("max_words", 1, 10_000),
        )
        for name, least, most in ranges:
            value = getattr(self, name)
            require(
                least <= value <= most,
                f"{key}.{name}={value}: must be from {least} to {most}",
            )
        require(
            self.characters != 1,
            f"{key}.characters=1: single letters say nothing; give 3, say, or 0 for none",
        )
        require(
            bool(self.words or self.characters),
            f"{key}={{words: 0, characters: 0}}: nothing of the text would be looked at; give"
            " words: 2, say",
        )


@dataclass
class WeightConfig:
    """The column that says how often a record counts. It is no feature.

    Attributes
    ----------
    column : str
        Its name in the header. Weights are not negative.
    max : float
        The largest weight, from public knowledge; what is larger counts as that.
    """

    column: str
    max: float

    def check(self, key: str) -> None:
        """Raise ``ValueError`` if there is no such weight."""
        require(
            isfinite(self.max) and 0 < self.max <= LARGEST_WEIGHT,
            f"{key}.max={self.max}: must be above 0, and at most {LARGEST_WEIGHT:g}",
        )


def default_missing_values() -> list[str]:
    """Return the texts that mean that a value is missing, where nothing else is said."""
    return ["", "?", "NA", "N/A", "NaN", "nan", "null", "NULL"]


def require_delimiter(delimiter: str) -> None:
    """Raise ``ValueError`` unless this can separate fields."""
    require(
        len(delimiter) == 1 and delimiter not in '" \r\n',
        f"task.delimiter={delimiter!r}: must be one character, such as , or ; and neither a"
        " quote nor a space nor a line break",
    )


def require_bounds(key: str, low: float, high: float) -> None:
    """Raise ``ValueError`` unless these are bounds of numbers."""
    require(
        low < high and isfinite(high - low),
        f"{key}={{min: {low}, max: {high}}}: must be finite, with min below max",
    )


def require_names(key: str, names: list[str], missing_values: list[str]) -> None:
    """Raise ``ValueError`` unless a column can have these categories, or a label classes."""
    require(
        len(names) >= 2 and len(set(names)) == len(names),
        f"{key}={names}: must be at least two, all different",
    )
    for name in names:
        require(name == name.strip(), f"{key}={name!r}: must have no spaces around the name")
        require(
            name not in missing_values,
            f"{key}={name!r}: must not be one of task.missing_values too",
        )
