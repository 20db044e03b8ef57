"""What the benchmarks on tables print: rows of scores, and whether they are as required."""

import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import machine_line, table, write_json

AUC = "AUC"


@dataclass(frozen=True)
class Row:
    """One system at one epsilon.

    Attributes
    ----------
    system : str
        Who trained.
    epsilon : float or None
        For every record; None without privacy.
    num_rounds : int or None
        Of a federated run.
    scores : dict of str to list of float
        By name of the measure, one for each seed. Every row of a table has the same measures.
    """

    system: str
    epsilon: float | None
    num_rounds: int | None
    scores: dict[str, list[float]]

    def mean(self, measure: str) -> float:
        """Return the mean over the seeds."""
        return statistics.mean(self.scores[measure])

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        epsilon = "-" if self.epsilon is None else f"{self.epsilon:g}"
        rounds = "-" if self.num_rounds is None else str(self.num_rounds)
        return [self.system, epsilon, rounds, *map(self._cell, self.scores)]

    def _cell(self, measure: str) -> str:
        values = self.scores[measure]
        spread = f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        return f"{self.mean(measure):.4f}{spread}"


@dataclass(frozen=True)
class Verdict:
    """Whether a requirement holds.

    Attributes
    ----------
    holds : bool
    what : str
        What was found, and what is required.
    """

    holds: bool
    what: str


def ours(algorithm: str, *, is_private: bool) -> str:
    """Return the name of a row of Tacet's."""
    return f"Tacet, {algorithm}{'' if is_private else ' without privacy'}"


def told(rows: Iterable[Row]) -> list[Row]:
    """Return the rows, each told as soon as it is measured, for a run takes minutes."""
    found: list[Row] = []
    for row in rows:
        found.append(row)
        print("measured " + ", ".join(row.cells()), file=sys.stderr)
    return found


def mean_of(rows: Sequence[Row], system: str, epsilon: float | None) -> float | None:
    """Return the mean AUC of a row, or None where there is no such row."""
    for row in rows:
        if (row.system, row.epsilon) == (system, epsilon):
            return row.mean(AUC)
    return None


def private_verdicts(
    rows: Sequence[Row], required: Mapping[str, Mapping[float, float]]
) -> Iterator[Verdict]:
    """Yield whether each private row that was measured has the AUC required.

    Parameters
    ----------
    rows : sequence of Row
    required : mapping
        The least mean AUC by algorithm and epsilon.
    """
    for algorithm, by_epsilon in required.items():
        for epsilon, least in by_epsilon.items():
            mean = mean_of(rows, ours(algorithm, is_private=True), epsilon)
            if mean is not None:
                found = f"AUC {mean:.4f}, at least {least:.3f}"
                yield Verdict(mean >= least, f"{algorithm}, epsilon {epsilon:g}: {found}")


def publish(
    benchmark: str,
    rows: Sequence[Row],
    verdicts: Sequence[Verdict],
    json_file: Path | None,
    notes: Sequence[str] = (),
) -> int:
    """Print table, notes and verdicts, write the same as JSON; return the exit status.

    Parameters
    ----------
    benchmark : str
        Its name.
    rows : sequence of Row
        At least one.
    verdicts : sequence of Verdict
        The status is 0 if all hold, else 1.
    json_file : Path or None
        Where the figures are written, if anywhere.
    notes : sequence of str
        Lines below the table.
    """
    headers = ["system", "epsilon", "rounds", *rows[0].scores]
    print(table(headers, [row.cells() for row in rows]))
    for note in notes:
        print(f"\n{note}")
    print("\nrequired:")
    for verdict in verdicts:
        print(f"{'PASS' if verdict.holds else 'FAIL'}  {verdict.what}")
    print("\n" + machine_line())
    if json_file is not None:
        figures = {
            "rows": [asdict(row) for row in rows],
            "notes": list(notes),
            "required": [asdict(verdict) for verdict in verdicts],
        }
        write_json(json_file, benchmark, figures)
    return 0 if all(verdict.holds for verdict in verdicts) else 1
