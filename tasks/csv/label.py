"""The configuration of the label of a CSV file: classes, a number, or a time and an event."""

from dataclasses import dataclass, field
from math import isfinite

from tasks.csv.columns import NumericConfig, require_bounds, require_names
from tasks.schema import require

#: Intervals of time where nothing else is said, and at most.
NUM_INTERVALS, MOST_INTERVALS = 10, 200


@dataclass
class TimeConfig:
    """The column of the time under observation, of a label with a time and an event.

    Attributes
    ----------
    column : str
        Its name in the header. Times are above 0.
    max : float
        The longest time that is looked at, from public knowledge. A record under observation
        for longer counts as censored there: until then its event had not happened.
    intervals : int
        Of neural models, which have a hazard for each interval of time: how many of one length
        there are between 0 and ``max``.
    ends : list of float
        Instead: where each of them ends, ascending, the last one at ``max``.
    """

    column: str
    max: float
    intervals: int = NUM_INTERVALS
    ends: list[float] = field(default_factory=list[float])

    @property
    def interval_ends(self) -> tuple[float, ...]:
        """Where the intervals end; the first begins at 0."""
        if self.ends:
            return tuple(self.ends)
        return tuple(self.max * (place + 1) / self.intervals for place in range(self.intervals))

    def check(self, key: str) -> None:
        """Raise ``ValueError`` if there is no such time."""
        require(
            isfinite(self.max) and self.max > 0,
            f"{key}.max={self.max}: must be finite and above 0",
        )
        require(
            2 <= self.intervals <= MOST_INTERVALS,
            f"{key}.intervals={self.intervals}: must be from 2 to {MOST_INTERVALS}",
        )
        require(
            not self.ends or self.intervals == NUM_INTERVALS,
            f"{key}={{intervals: {self.intervals}, ends: {self.ends}}}: give one of the two",
        )
        ascending = all(a < b for a, b in zip([0.0, *self.ends], self.ends, strict=False))
        require(
            not self.ends
            or (
                (ascending and 2 <= len(self.ends) <= MOST_INTERVALS)
                and self.ends[-1] == self.max
            ),
            f"{key}.ends={self.ends}: must be 2 to {MOST_INTERVALS} times that ascend, above 0,"
            f" the last one max={self.max:g}",
        )


@dataclass
class LabelConfig:
    """What to predict: ``classes``, a number's ``min`` and ``max``, or ``time`` and ``event``.

    Attributes
    ----------
    column : str
        Its name in the header. A label with a time has two columns instead.
    classes : list of str
        All classes, at least 2; the first is class 0.
    min, max : float, optional
        Bounds of a number; they are mapped to [-1, 1] like a feature's.
    time : TimeConfig, optional
        How long a record was under observation, for survival analysis.
    event : str
        The column that says how that ended: 1 for the event, 0 for censored before it.
    """

    column: str = ""
    classes: list[str] = field(default_factory=list)
    min: float | None = None
    max: float | None = None
    time: TimeConfig | None = None
    event: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the label in a file, by the key that names them."""
        if self.time is None:
            return {"column": self.column}
        return {"time.column": self.time.column, "event": self.event}

    @property
    def bounds(self) -> NumericConfig | None:
        """The bounds of a number, None for classes."""
        if self.min is None or self.max is None:
            return None
        return NumericConfig(self.min, self.max)

    def check(self, missing_values: list[str]) -> None:
        """Raise ``ValueError`` unless this is one label, of one kind."""
        numbers = [value for value in (self.min, self.max) if value is not None]
        if self.time is not None or self.event:
            self._check_time(numbers)
            return
        require(
            bool(self.column),
            "task.label.column='': must name the column to predict; task=csv knows no columns"
            " of its own: give label, numeric and categorical in a YAML of yours, as"
            " conf/task/csv_breast_cancer.yaml does",
        )
        given = f"task.label={{classes: {self.classes}, min: {self.min}, max: {self.max}}}"
        require(
            len(numbers) == 2 if not self.classes else not numbers,
            f"{given}: must have either classes, or both min and max",
        )
        if self.classes:
            require_names("task.label.classes", self.classes, missing_values)
        elif self.bounds is not None:
            require_bounds("task.label", self.bounds.min, self.bounds.max)

    def _check_time(self, numbers: list[float]) -> None:
        require(
            self.time is not None and bool(self.time.column) and bool(self.event),
            f"task.label={{time: {self.time}, event: {self.event!r}}}: must name both columns,"
            " e.g. {time: {column: days, max: 1000}, event: died}",
        )
        require(
            not (self.column or self.classes or numbers),
            f"task.label={{column: {self.column!r}, classes: {self.classes}, min: {self.min},"
            f" max: {self.max}, time: ..., event: {self.event}}}: a label with a time has"
            " nothing of these but time and event",
        )
        if self.time is not None:
            self.time.check("task.label.time")
