"""UCI Adult: whether a person of the US census of 1994 earned over 50,000 dollars a year.

Becker and Kohavi 1996, https://doi.org/10.24432/C5XW20: 32,561 records in ``adult.data`` and
16,281 in ``adult.test``. They are read as the ``csv`` task reads a file, with columns that are
known here: a node needs no YAML of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from tasks.base import DataSource
from tasks.csv.rows import Row
from tasks.csv.schema import CategoricalConfig, CsvConfig, LabelConfig, NumericConfig
from tasks.csv.task import CsvClassification
from tasks.partition import partition
from tasks.records import Examples, LocalData
from tasks.schema import PartitionConfig
from tasks.table import BinsConfig

TRAIN_FILE, TEST_FILE = "adult.data", "adult.test"

# The columns of a file, in order.
_COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "pay",
)
# The census' weight of the record, and what education-num says as well.
_DROPPED = ("fnlwgt", "education")

# Common knowledge or the data set's public description, none of it from the records.
_BOUNDS: dict[str, tuple[float, float]] = {
    "age": (16, 90),  # years: who is younger was not asked, and 90 stands for all above
    "education-num": (1, 16),  # the codes, from preschool to doctorate
    # Dollars a year. A fifth of the 50,000: a wider range would leave little of smaller gains.
    "capital-gain": (0, 10_000),
    "capital-loss": (0, 5_000),
    "hours-per-week": (1, 99),  # two digits
}
# The categories of the public description; a missing value, written ?, is one of its own.
_CATEGORIES = {
    "workclass": "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov"
    " Without-pay Never-worked unknown",
    "marital-status": "Married-civ-spouse Divorced Never-married Separated Widowed"
    " Married-spouse-absent Married-AF-spouse",
    "occupation": "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty"
    " Handlers-cleaners Machine-op-inspct Adm-clerical Farming-fishing Transport-moving"
    " Priv-house-serv Protective-serv Armed-Forces unknown",
    "relationship": "Wife Own-child Husband Not-in-family Other-relative Unmarried",
    "race": "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black",
    "sex": "Female Male",
    # Forty others of the description would each be a feature with noise of its own.
    "native-country": "United-States other",
}


def _numeric() -> dict[str, NumericConfig]:
    return {name: NumericConfig(low, high) for name, (low, high) in _BOUNDS.items()}


def _categorical() -> dict[str, CategoricalConfig]:
    columns: dict[str, CategoricalConfig] = {}
    for name, text in _CATEGORIES.items():
        categories = text.split()
        unknown = "other" if "other" in categories else None
        fill = unknown or ("unknown" if "unknown" in categories else None)
        columns[name] = CategoricalConfig(categories, fill, unknown)
    return columns


def _bins() -> dict[str, BinsConfig]:
    """Return the bins of what most have nothing of: round amounts, and one for nothing.

    A gain at its upper bound stands for all above, so that it has a bin of its own as well.
    """
    gains = [1.0, *map(float, range(250, 10_000, 250)), 9_999.0]
    losses = [1.0, *map(float, range(100, 5_000, 100))]
    return {"capital-gain": BinsConfig(edges=gains), "capital-loss": BinsConfig(edges=losses)}


@dataclass
class AdultConfig(CsvConfig):
    """The keys of the ``csv`` task, with Adult's columns as their defaults.

    ``partition`` splits a folder's records over simulated nodes. ``test_fraction`` is for a
    node with a file of its own: a folder has a test set.
    """

    label: LabelConfig = field(
        default_factory=lambda: LabelConfig(column="pay", classes=["<=50K", ">50K"])
    )
    numeric: dict[str, NumericConfig] = field(default_factory=_numeric)
    categorical: dict[str, CategoricalConfig] = field(default_factory=_categorical)
    bins: dict[str, BinsConfig] = field(default_factory=_bins)
    drop: list[str] = field(default_factory=lambda: list(_DROPPED))


def _adapt(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the columns' names, then the records, without the marks of the original files.

    Passed over are UCI's remark before its test set, and a header, which its files do not have
    and others do. The test set's labels end in a full stop. Each row is looked at alone.
    """
    yield Row(0, 0, list(_COLUMNS))
    for row in rows:
        if row.fields and (row.fields[0].startswith("|") or _is_header(row.fields)):
            continue
        if len(row.fields) == len(_COLUMNS):
            row.fields[-1] = row.fields[-1].strip().removesuffix(".")
        yield row


def _adapt_new(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows of a file with any header that names columns, or of one like the originals."""
    first = next(rows, None)
    if first is None:
        return
    names = {field.strip() for field in first.fields}
    has_names = bool(names & set(_COLUMNS)) and not _is_header(first.fields)
    yield from (chain([first], rows) if has_names else _adapt(chain([first], rows)))


def _is_header(fields: list[str]) -> bool:
    """Whether these are the columns' names in order, whatever the label is called."""
    if fields[0].strip().lower() != _COLUMNS[0]:
        return False
    names = tuple(name.strip().lower().replace(".", "-") for name in fields)
    return len(names) == len(_COLUMNS) and names[:-1] == _COLUMNS[:-1]


class Adult(CsvClassification):
    """Classification of people by income: 1 for over 50,000 dollars a year."""

    Config = AdultConfig
    is_split = True
    adapt = staticmethod(_adapt)
    adapt_new = staticmethod(_adapt_new)
    header = _COLUMNS

    def files(self, source: DataSource) -> list[Path]:
        """Return the folder's training and test file, or the one file that is the node's own.

        Raises
        ------
        DataError
            If nothing is there.
        """
        place = source.require_data_path(
            f"a folder with {TRAIN_FILE} and {TEST_FILE}, or a file of the node's own"
        )
        return [place / TRAIN_FILE, place / TEST_FILE] if place.is_dir() else [place]

    def split(self, records: list[Examples], source: DataSource) -> LocalData:
        """Return this node's part of both files of a folder, the test records spread evenly.

        Of the node's own file ``test_fraction`` is held out.

        Raises
        ------
        DataError
            If the records of a folder cannot be split like this.
        """
        if len(records) == 1:
            return super().split(records, source)
        train, test = records
        return LocalData(
            self._part(train, source, self.config.partition),
            self._part(test, source, PartitionConfig(min_examples=1)),
        )

    def _part(self, records: Examples, source: DataSource, config: PartitionConfig) -> Examples:
        if source.num_partitions == 1:  # a folder of the node's own
            return records
        parts = partition(records.targets, source.num_partitions, config, self.seed)
        return records.take(parts[source.partition_id])
