"""Shared code of the benchmarks on the four hospitals: training, scoring, published results."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.config.load import Scalar
from benchmarks.silo_scores import silo_accuracies
from tasks.heart import HOSPITALS


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    system : str
        Who trained, and how.
    settings : str
        What the training used.
    mean : float
        Over the seeds, of the unweighted mean of the hospitals' accuracies.
    deviation : float or None
        Sample standard deviation over the seeds; None for a single seed.
    hospitals : dict
        Each hospital's accuracy, mean over the seeds; empty if it was not published.
    """

    system: str
    settings: str
    mean: float
    deviation: float | None
    hospitals: dict[str, float]

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        spread = "" if self.deviation is None else f" +- {self.deviation:.3f}"
        each = [f"{self.hospitals[n]:.3f}" if n in self.hospitals else "-" for n in HOSPITALS]
        return [self.system, self.settings, f"{self.mean:.3f}{spread}", *each]


def row_of(system: str, settings: str, scores: Sequence[Mapping[str, float]]) -> Row:
    """Return the row of one or more trainings, each with an accuracy for every hospital."""
    means = [statistics.mean(score.values()) for score in scores]
    return Row(
        system=system,
        settings=settings,
        mean=statistics.mean(means),
        deviation=statistics.stdev(means) if len(means) > 1 else None,
        hospitals={name: statistics.mean(s[name] for s in scores) for name in HOSPITALS},
    )


# Published, not measured here. Seeds 42 to 46.
_PUBLISHED_SETTINGS = "flamby, {}, batch 4"
PUBLISHED_POOLED = Row(
    system="FLamby, pooled (published)",
    settings=_PUBLISHED_SETTINGS.format("adam 0.001, 50 epochs"),
    mean=0.735,
    deviation=0.003,
    hospitals=dict(zip(HOSPITALS, (0.783, 0.764, 0.750, 0.644), strict=True)),
)
PUBLISHED_FEDAVG = Row(
    system="FLamby, FedAvg (published)",
    settings=_PUBLISHED_SETTINGS.format("sgd 0.001, 15 rounds x 100 steps"),
    mean=0.685,
    deviation=0.028,
    hospitals=dict(zip(HOSPITALS, (0.731, 0.719, 0.650, 0.640), strict=True)),
)
# Of its example of differential privacy, which clips and adds noise on each hospital.
PUBLISHED_NO_DP = Row("FLamby, DP demo without DP (published)", "flamby", 0.7125, None, {})
PUBLISHED_LOCAL_DP = Row(
    system='FLamby, local DP "epsilon 1" (published)',
    settings="flamby; what it did is epsilon 4.21",
    mean=0.685,
    deviation=0.055,
    hospitals={},
)


def train_and_score(run_config: Mapping[str, Scalar]) -> dict[str, float]:
    """Train through both apps; return the saved model's accuracy at each hospital.

    The held-out records are scored here, outside of the run.

    Raises
    ------
    DataError
        If the files are missing or wrong.
    """
    return dict(zip(HOSPITALS, silo_accuracies(run_config, len(HOSPITALS)), strict=True))
