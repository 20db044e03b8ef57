"""The noise that sampled sums need: by the accountant of today and by the one before it.

python -m benchmarks.noise_needed
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, log, log1p
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import gammaln

from benchmarks.report import table, write_json
from privacy.accounting.calibration import calibrate
from privacy.accounting.renyi import ORDERS, curve
from privacy.plan.release import Mechanism, Neighbours, Release
from privacy.unit import Unit

#: Steps of the grid in one clip norm: as with 32 bits, where the grid costs nothing.
_FINE = 2.0**24
_NAMES = {Mechanism.DISTRIBUTED_DISCRETE_GAUSSIAN: "DDG", Mechanism.SKELLAM: "Skellam"}


@dataclass(frozen=True)
class Setting:
    """A run: its name, q, steps, T - c, numbers of a sum, delta and epsilon."""

    name: str
    rate: float
    steps: int
    num_shares: int
    dimension: int
    delta: float
    epsilon: float


SETTINGS = (
    Setting("MNIST", 0.0683, 585, 9, 2**18, 1e-5, 1.0),
    Setting("MNIST", 0.0683, 585, 9, 2**18, 1e-5, 3.0),
    Setting("heart", 0.5, 60, 2, 16, 1e-3, 1.0),
)


@dataclass(frozen=True)
class Row:
    """The least noise multipliers of a setting under one mechanism."""

    setting: Setting
    mechanism: str
    before: float
    now: float

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        s, figures = self.setting, (self.before, self.now, self.before / self.now)
        what = (s.name, self.mechanism, f"{s.rate:g}", str(s.steps), f"{s.delta:g}")
        return [*what, f"{s.epsilon:g}", *(f"{figure:.2f}" for figure in figures)]


HEADERS = ("run", "noise", "q", "steps", "delta", "epsilon", "before", "now", "times less")


def needed(setting: Setting, mechanism: Mechanism) -> Row:
    """Return the least noise multipliers, before and now."""

    def release(multiplier: float) -> Release:
        return Release(
            unit=Unit.EXAMPLE,
            neighbours=Neighbours.ADD_OR_REMOVE,
            mechanism=mechanism,
            l1_sensitivity=setting.dimension**0.5 * _FINE,
            l2_sensitivity=_FINE,
            noise_scale=multiplier * _FINE,
            num_shares=setting.num_shares,
            dimension=setting.dimension,
            sampling_rate=setting.rate,
        )

    steps, delta = setting.steps, setting.delta
    now = calibrate(lambda z: [(release(z), steps)], setting.epsilon, delta)
    before = _least(lambda z: _epsilon_before(release(z), steps, delta), setting)
    return Row(setting, _NAMES[mechanism], before, now)


def _epsilon_before(release: Release, steps: int, delta: float) -> float:
    """Return epsilon by Zhu and Wang 2019, Theorem 5, whose sum has a factor of 3."""
    q, counts = release.sampling_rate, np.arange(2, ORDERS[-1] + 1)
    divergences = curve(replace(release, sampling_rate=1.0), [float(a) for a in counts])
    factors = np.where(counts > 2, log(3), 0.0) + (counts - 1) * divergences
    best = inf
    for a in ORDERS:
        drawn = counts[: a - 1]
        logs = gammaln(a + 1) - gammaln(drawn + 1) - gammaln(a - drawn + 1)
        logs += (a - drawn) * log1p(-q) + drawn * log(q) + factors[: a - 1]
        first = (a - 1) * log1p(-q) + log1p((a - 1) * q)
        one = min(
            float(np.logaddexp.reduce([first, *logs])) / (a - 1), float(divergences[a - 2])
        )
        best = min(best, steps * one + log1p(-1 / a) - log(delta * a) / (a - 1))
    return best


def _least(epsilon_of: Callable[[float], float], setting: Setting) -> float:
    low, high = 0.1, 1000.0
    while high > low * 1.0001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if epsilon_of(middle) <= setting.epsilon else (middle, high)
    return high


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.noise_needed", description=__doc__
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write it there")
    options = parser.parse_args(arguments)
    rows = [needed(setting, mechanism) for setting in SETTINGS for mechanism in _NAMES]
    print(table(HEADERS, [row.cells() for row in rows]))
    if options.json:
        figures: list[dict[str, Any]] = [asdict(row) for row in rows]
        write_json(options.json, "noise_needed", {"rows": figures})
    return 0


if __name__ == "__main__":
    sys.exit(main())
