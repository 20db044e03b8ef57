"""The configuration of the ``series`` task: what the columns of a long-form CSV file mean."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from math import isfinite

from tasks.csv.columns import NumericConfig, default_missing_values, require_delimiter
from tasks.csv.mends import parse
from tasks.schema import TaskConfig, require
from tasks.sequences import Reader


class Goal(Enum):
    """What is foretold at the end of a window.

    ``forecast``: a column's value some rows later. ``remaining_life``: the time to the last row
    of the unit, which ran until it failed.
    """

    forecast = "forecast"
    remaining_life = "remaining_life"


class Loss(Enum):
    """What training makes small: the ``squared`` error, or the ``absolute`` one.

    The model then foretells about the mean of what may come, or its median, which outliers move
    less.
    """

    squared = "squared"
    absolute = "absolute"


class TimeForm(Enum):
    """How times are written.

    ``number``; or ``iso`` (ISO 8601), as 2026-01-31 13:00, in UTC where no zone is told.
    """

    number = "number"
    iso = "iso"


@dataclass
class SeriesConfig(TaskConfig):
    """The meaning of a file. ``partition`` is not used: each node has its own file.

    Attributes
    ----------
    goal : Goal
        What is foretold.
    time : str
        The column that rows of a unit are ordered by.
    time_form : TimeForm
        How it is written.
    unit : str
        The column that says whose row it is, an engine or a meter; empty for a file of one.
    values : dict of NumericConfig
        The columns that a model sees, by name, with bounds from public knowledge.
    target : str
        Of ``forecast``: the column of ``values`` that is foretold.
    horizon : int
        Of ``forecast``: how many steps after a window, at least 1.
    cap : float
        Of ``remaining_life``: what is longer counts as this, in the unit of ``time``.
    step : float
        The time from a row to the next, in the unit of ``time`` (of ISO times seconds); windows
        over a gap are left out, and begin at the same times everywhere. 0: rows follow each
        other whatever their times.
    window : int
        Rows that a model sees, at least 2.
    stride : int
        Rows from a window to the next, at least 1.
    calendar : bool
        Whether a model sees the hour and the day of the week, of ISO times.
    held_out_from : str
        Windows whose target is at this time or later are held out to score the model. Empty:
        ``test_fraction`` of the units are.
    delimiter : str
        What separates the fields, one character.
    missing_values : list of str
        Texts that mean that a value is missing. Such a row is left out, unless the column says
        what to fill in.
    model : Reader
        ``gru``, ``lstm``, ``tcn`` or ``transformer``.
    width, num_layers : int
        Of the model, at least 1; a width of 8, 16, ... for ``transformer``.
    loss : Loss
        ``squared`` or ``absolute``.
    """

    goal: Goal = Goal.forecast
    time: str = ""
    time_form: TimeForm = TimeForm.number
    unit: str = ""
    values: dict[str, NumericConfig] = field(default_factory=dict)
    target: str = ""
    horizon: int = 1
    cap: float = 0.0
    step: float = 0.0
    window: int = 24
    stride: int = 1
    calendar: bool = False
    held_out_from: str = ""
    delimiter: str = ","
    missing_values: list[str] = field(default_factory=default_missing_values)
    model: Reader = Reader.gru
    width: int = 64
    num_layers: int = 1
    loss: Loss = Loss.squared

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.time), "task.time='': must be the column that rows are ordered by")
        require(bool(self.values), "task.values={}: must name at least one column")
        for name, column in self.values.items():
            column.check(f"task.values.{name}")
        counts = ("horizon", 1), ("window", 2), ("stride", 1), ("width", 1), ("num_layers", 1)
        for name, least in counts:
            value = getattr(self, name)
            require(value >= least, f"task.{name}={value}: must be at least {least}")
        require(
            isfinite(self.step) and self.step >= 0,
            f"task.step={self.step}: must be finite and not negative",
        )
        require_delimiter(self.delimiter)
        self._check_goal()
        self._check_split()
        require(
            self.model is not Reader.transformer or self.width % 8 == 0,
            f"task.width={self.width}: must be a multiple of 8 with task.model=transformer",
        )
        require(
            not self.calendar or self.time_form is TimeForm.iso,
            "task.calendar=true: needs task.time_form=iso, for a number is no date",
        )

    def idle_keys(self) -> dict[str, str]:
        """Return the keys that the other goal has."""
        if self.goal is Goal.forecast:
            idle = {"cap": "task.goal=forecast has no remaining life; take it out"}
        else:
            why = "task.goal=remaining_life foretells a time; take it out"
            idle = {"target": why, "horizon": why}
        if self.held_out_from:
            idle["test_fraction"] = "task.held_out_from says what is held out; take one out"
        return idle

    @property
    def bounds(self) -> NumericConfig:
        """Return the bounds of what is foretold."""
        if self.goal is Goal.forecast:
            return self.values[self.target]
        return NumericConfig(0.0, self.cap)

    @property
    def num_features(self) -> int:
        """Return how many numbers a model sees of a row: values, whether it is there, dates."""
        return len(self.values) + 1 + 4 * self.calendar

    def columns(self) -> list[str]:
        """Return the columns that a file must have."""
        return [*([self.unit] if self.unit else []), self.time, *self.values]

    def _check_goal(self) -> None:
        if self.goal is Goal.forecast:
            require(
                self.target in self.values,
                f"task.target={self.target!r}: must be one of task.values,"
                f" {', '.join(self.values)}",
            )
            return
        require(
            isfinite(self.cap) and self.cap > 0,
            f"task.cap={self.cap}: must be above 0, the longest life that is told apart",
        )
        require(bool(self.unit), "task.unit='': must be the column that says whose life it is")

    def _check_split(self) -> None:
        if not self.held_out_from:
            require(
                bool(self.unit) or self.test_fraction == 0,
                f"task.test_fraction={self.test_fraction}: without task.unit there are no units"
                " to hold out; give task.held_out_from, or task.test_fraction=0",
            )
            return
        try:
            time_of(self.held_out_from, self.time_form)
        except ValueError:
            require(
                False,
                f"task.held_out_from={self.held_out_from!r}: must be a time in the form"
                f" task.time_form={self.time_form.name}",
            )


def time_of(text: str, form: TimeForm) -> float:
    """Return a time as a number, of ISO times the seconds since 1970.

    Raises
    ------
    ValueError
        If it is none, or not finite.
    """
    if form is TimeForm.iso:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    number = parse(text)
    if number is None:
        raise ValueError(text)
    return number
