"""The quality of a file, in counts. For the participant's eyes only."""

from dataclasses import dataclass
from pathlib import Path

from tasks.csv.misfits import Misfits


@dataclass(frozen=True)
class Summary:
    """The quality of a file, in counts by column. For the participant's eyes only.

    Attributes
    ----------
    file : Path
        The file.
    rows, used : int
        How many rows it has, and how many are learnt from.
    missing : dict
        Missing values for which the row was left out. A row may miss several.
    filled : dict
        Missing values for which the column's ``fill`` stands.
    clipped : dict
        Numbers outside the bounds.
    unknown : dict
        Values outside the listed categories for which the column's ``unknown`` stands.
    classes : dict
        Rows used of each class; empty for a label that is a number.
    misfits : Misfits
        What the configuration does not allow.
    long_rows : int
        Rows over more than one line, which a private run reads as several.
    """

    file: Path
    rows: int
    used: int
    missing: dict[str, int]
    filled: dict[str, int]
    clipped: dict[str, int]
    unknown: dict[str, int]
    classes: dict[str, int]
    misfits: Misfits
    long_rows: int = 0

    def __str__(self) -> str:
        """Return one line for the file and one for each kind of finding."""
        lines = [
            f"{self.file}: {self.rows} rows, {self.used} used, {self.rows - self.used} left out"
        ]
        if self.misfits.num_rows:
            lines.append(
                f"  rows that do not fit: {self.misfits.num_rows}; by column:"
                f" {self.misfits.by_column()}"
            )
        if self.long_rows:
            lines.append(
                f"  rows with line breaks in quotes: {self.long_rows}; a private run reads line"
                " by line and leaves them out"
            )
        findings = (
            ("missing, so the row was left out", self.missing),
            ("missing, filled in", self.filled),
            ("outside the bounds, clipped", self.clipped),
            ("not a listed category", self.unknown),
            ("rows used of each class", self.classes),
        )
        for what, counts in findings:
            if counts:
                values = ", ".join(f"{name} {count}" for name, count in counts.items())
                lines.append(f"  {what}: {values}")
        return "\n".join(lines)

    def objection(self, by_line: bool) -> str:
        """Say why nothing of the file goes into a run; empty if some of it does.

        ``by_line`` is that of ``tasks.csv.encoding.encode``.
        """
        if self.misfits.of_header:
            return "the header does not fit"
        if self.misfits.num_rows and not by_line:
            return (
                f"{self.misfits.num_rows} of {self.rows} rows do not fit, so a run without"
                " privacy refuses the file; a private run leaves such rows out (--private)"
            )
        if not self.rows:
            return "the file has no rows"
        return "" if self.used else "no row can be used"

    @property
    def refusal(self) -> str:
        """Why a run without privacy refuses the file; empty if it does not."""
        first = self.misfits.first
        if first is not None:
            others = self.misfits.count - 1
            more = f" ({others} more: `tacet data check` lists all)" if others else ""
            return f"{self.file}, {first}{more}"
        if not self.rows:
            return f"{self.file}: the file has no rows"
        if not self.used:
            return (
                "no row can be used: give task.*.fill for what is missing, or mend the file\n"
                f"{self}"
            )
        return ""

    @property
    def warning(self) -> str:
        """What is said loudly of rows left out; empty if all fit and some are used."""
        told = [] if self.used else ["no row can be used, and this node contributes nothing"]
        first = self.misfits.first
        if first is not None:
            told.append(
                f"{self.misfits.num_rows} of {self.rows} rows do not fit and are left out"
                f" ({self.misfits.by_column()}); the first: {first}"
            )
        return f"{self.file}: {': '.join(told)}" if told else ""

    @property
    def header_refusal(self) -> str:
        """Why any run refuses the file, whatever its rows hold; empty if it does not."""
        of_header = self.misfits.of_header
        return f"{self.file}, {'; '.join(map(str, of_header))}" if of_header else ""
