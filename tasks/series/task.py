"""Forecasts and remaining lives, learnt from the participants' own files of time series."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privacy.unit import Unit
from tasks.base import DataSource, Regression
from tasks.csv.scaling import unscale
from tasks.files import keep_until_changed
from tasks.new_rows import Given, NewRows
from tasks.records import LocalData
from tasks.series.new_rows import last_rows
from tasks.series.reading import read_rows
from tasks.series.schema import Goal, Loss, SeriesConfig
from tasks.series.windows import windows_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class Series(Regression):
    """A number that is foretold at the end of a window of a series.

    Targets are mapped from their bounds to [-1, 1], and so are loss and ``absolute_error``: an
    error of 1 is half the range.
    """

    Config = SeriesConfig
    config: SeriesConfig
    is_shared = False
    is_split = False

    def load(self, source: DataSource) -> LocalData:
        """Return the windows of this node's file; its rows are read once."""
        file = source.require_data_path("a CSV file with a row for each unit and time")
        return _windows(
            file, _Reading(repr(self.config), self.seed, self.is_private, self.config)
        )

    def new_rows(self, given: Given) -> NewRows:
        """Return a row for each unit, to foretell what comes after its last window."""
        return last_rows(given, self.config)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the rows of a window, and the numbers of a row."""
        return (self.config.window, self.config.num_features)

    def build_model(self) -> nn.Module:
        """Return the model that ``task.model`` names, with one output."""
        from tasks.sequence_models import AtTheEnd

        config = self.config
        return AtTheEnd(config.model, config.num_features, config.width, config.num_layers)

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the error that ``task.loss`` names, shape (n,)."""
        if self.config.loss is Loss.absolute:
            return (outputs.squeeze(1) - targets).abs()
        return super().per_example_loss(outputs, targets)

    def to_label_units(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map the model's outputs back to the unit of what is foretold."""
        return unscale(outputs, self.config.bounds)

    def check_private(self, unit: Unit) -> None:
        """Refuse to protect single windows where one row changes several.

        Raises
        ------
        ValueError
            With the mend.
        """
        if unit is not Unit.EXAMPLE:
            return
        config = self.config
        if config.goal is Goal.remaining_life:
            raise ValueError(
                "task.goal=remaining_life: the last row of a unit is in the target of all its"
                " windows, so no window is a record of its own; take a privacy of unit client"
            )
        least = config.window + config.horizon
        if not config.step or config.stride < least:
            raise ValueError(
                f"task.step={config.step:g}, task.stride={config.stride}: a row is in several"
                " windows, so no window is a record of its own; give task.step and"
                f" task.stride={least}, or take a privacy of unit client"
            )


@dataclass(frozen=True)
class _Reading:
    """How a file is read, as the key of a cache."""

    config_text: str
    seed: int
    is_private: bool
    # A configuration cannot be hashed; config_text stands for it.
    config: SeriesConfig = field(compare=False)


@keep_until_changed(16)
def _windows(file: Path, how: _Reading) -> LocalData:
    rows = read_rows(file, how.config, is_private=how.is_private)
    return windows_of(rows, how.config, how.seed)
