"""The rows of the MNIST benchmark, and their requirements."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.mnist_settings import NUM_SILOS, Result

FEDAVG = "Tacet, FedAvg, no privacy"
CENTRAL = "Opacus, pooled"
SHARES = "Tacet, example_distributed"
HEADERS = ["system", "T", "c", "noise", "accuracy, %", "s/round", "seeds"]
#: What ``example_distributed`` may lose, in points, where all silos answer (T = 10).
MOST_LOST = 0.5


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    system : str
        Who trained, and how.
    min_survivors, max_colluding : int or None
        T and c of distributed noise.
    results : list of Result
        One for each seed.
    """

    system: str
    min_survivors: int | None = None
    max_colluding: int | None = None
    results: list[Result]

    @property
    def mean(self) -> float:
        """Mean accuracy in per cent."""
        return 100 * statistics.mean(one.accuracy for one in self.results)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the accuracy over the seeds; None for a single one."""
        if len(self.results) < 2:
            return None
        return 100 * statistics.stdev(one.accuracy for one in self.results)

    @property
    def seconds_per_round(self) -> float:
        """Median over the rounds, mean over the seeds."""
        return statistics.mean(one.seconds_per_round for one in self.results)

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        noise = self.results[0].noise_multiplier
        spread = "" if self.deviation is None else f" +- {self.deviation:.2f}"
        return [
            self.system,
            *("-" if n is None else str(n) for n in (self.min_survivors, self.max_colluding)),
            "-" if noise is None else f"{noise:.3f}",
            f"{self.mean:.2f}{spread}",
            f"{self.seconds_per_round:.2f}",
            str(len(self.results)),
        ]

    def figures(self) -> dict[str, object]:
        """Return the row for the JSON."""
        figures: dict[str, object] = asdict(self)
        figures |= {"mean": self.mean, "deviation": self.deviation}
        return figures | {"seconds_per_round": self.seconds_per_round}


def losses(rows: Sequence[Row]) -> list[tuple[tuple[int, int], float, bool | None]]:
    """Return each distributed row's loss in points, and whether it is within the limit.

    Returns
    -------
    list of ((T, c), points, holds)
        ``holds`` is None where nothing is required: with a T under the number of silos the
        noise of the silos that may be missing is added in advance.
    """
    central = next((row for row in rows if row.system == CENTRAL), None)
    found: list[tuple[tuple[int, int], float, bool | None]] = []
    for row in rows:
        if central is None or row.min_survivors is None or row.max_colluding is None:
            continue
        lost = central.mean - row.mean
        required = row.min_survivors == NUM_SILOS
        terms = (row.min_survivors, row.max_colluding)
        found.append((terms, lost, lost <= MOST_LOST if required else None))
    return found
