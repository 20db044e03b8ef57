"""Ratings by users: what a participant's users think of a public list of items."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base import DataSource, Inspection, Task, inspected
from tasks.files import keep_until_changed
from tasks.ratings.raters import NOT_RATED, Raters, hold_out, unscaled
from tasks.ratings.reading import read_columns, read_file
from tasks.ratings.schema import RatingsConfig
from tasks.records import DataError, LocalData

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.new_rows import Given

_FILE = "a CSV file with a row for each user and item"


class Ratings(Task):
    """A record is a user with all ratings in the file, a place for each item.

    Ratings are mapped from their bounds to [-1, 1]; loss and ``absolute_error`` are on this
    scale, and the mean over a user's held-out ratings. The neural model is an autoencoder
    (Sedhain et al. 2015, AutoRec, https://doi.org/10.1145/2740908.2742726, section 2).

    A line of the file has a say in the record of the user whom it names, and in no other. So
    under the unit ``example`` a user is protected with all ratings, as long as no other node
    has ratings of the same one.
    """

    Config = RatingsConfig
    config: RatingsConfig
    metric = "absolute_error"
    is_shared = False
    is_split = False
    recommends = True

    def load(self, source: DataSource) -> LocalData:
        """Return this node's users; its file is read once."""
        file = source.require_data_path(_FILE)
        return _records(
            file, _Reading(repr(self.config), self.seed, self.is_private, self.config)
        )

    def inspect(self, source: DataSource) -> Inspection:
        """Return what a run would make of the file, with the rows that do not fit."""
        try:
            file = source.require_data_path(_FILE)
            rated = read_file(file, self.config)
        except DataError as error:
            return Inspection(objection=str(error))
        raters = Raters.of(rated, self.config)
        data = hold_out(raters, self.config.test_fraction, self.seed)
        lines = [*rated.lines(file), f"  users: {len(raters.users)}"]
        found = inspected(lines, data)
        if rated.misfits and not self.is_private:
            return Inspection(found.lines, objection=_refusal(rated.misfits))
        return found

    def raters(self, given: Given) -> tuple[Raters, list[str]]:
        """Return users to recommend items to, and what was found, line by line.

        Raises
        ------
        DataError
            If the rows cannot be read, or one does not fit.
        """
        is_file = isinstance(given, Path)
        rated = read_file(given, self.config) if is_file else read_columns(given, self.config)
        if rated.misfits:
            raise DataError("\n".join(rated.misfits))
        if not rated.users:
            raise DataError(f"{given if is_file else 'the rows'}: no rating is there")
        return Raters.of(rated, self.config), rated.lines(given if is_file else "the rows")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the number of items."""
        return (len(self.config.items) or self.config.num_items,)

    def made_up_inputs(self, num_records: int) -> NDArray[np.float32]:
        """Return ratings of nobody, a third of the items of each."""
        rng = np.random.default_rng(0)
        shape = (num_records, *self.input_shape)
        found = rng.uniform(-1, 1, shape).astype(np.float32)
        found[rng.random(shape) > 1 / 3] = NOT_RATED
        # Nobody without a rating is a record.
        found[:, 0] = np.where(found[:, 0] == NOT_RATED, np.float32(0.5), found[:, 0])
        return found

    def made_up_targets(self, num_records: int) -> NDArray[np.float32]:
        """Return the same ratings."""
        return self.made_up_inputs(num_records)

    def build_model(self) -> nn.Module:
        """Return the autoencoder."""
        from tasks.ratings.model import AutoRec

        return AutoRec(self.input_shape[0], self.config.width)

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of each user's ratings, shape (n,)."""
        return _mean((outputs - targets).square(), targets)

    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return ``absolute_error``, the mean over each user's ratings."""
        return {"absolute_error": _mean((outputs - targets).abs(), targets)}

    def to_label_units(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map numbers from [-1, 1] to ratings."""
        return unscaled(outputs, self.config)


def _mean(values: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over what is rated, 0 for a user without a rating."""
    is_rated = (targets.abs() <= 1).to(values.dtype)
    return (values * is_rated).sum(dim=1) / is_rated.sum(dim=1).clamp(min=1)


def _refusal(misfits: list[str]) -> str:
    more = f" (and {len(misfits) - 1} more such rows)" if len(misfits) > 1 else ""
    return f"{misfits[0]}{more}"


@dataclass(frozen=True)
class _Reading:
    """How a file is read, as the key of a cache."""

    config_text: str
    seed: int
    is_private: bool
    # A configuration cannot be hashed; config_text stands for it.
    config: RatingsConfig = field(compare=False)


@keep_until_changed(16)
def _records(file: Path, how: _Reading) -> LocalData:
    rated = read_file(file, how.config)
    # Where records are protected none may cause a refusal; the others are used.
    if rated.misfits and not how.is_private:
        raise DataError(_refusal(rated.misfits))
    return hold_out(Raters.of(rated, how.config), how.config.test_fraction, how.seed)
