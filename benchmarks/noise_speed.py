"""Seconds that the noise of one contribution takes, against the sampler before it.

python -m benchmarks.noise_speed

Processor seconds, the least of the repeats; the ratio is of the two in the same run.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import machine_line, positive, table, write_json
from privacy.noise.randomness import secure_generator
from privacy.noise.rejection import from_laplace
from privacy.noise.samplers import discrete_gaussian, skellam

#: Deviations of a share in grid steps: of coarse grids, and of 16 and 32 bits.
SCALES = (2.5, 30.0, 1_000.0, 2.0**24)
HEADERS = ("deviation", "rejection s", "Skellam s", "now s", "times as fast", "as Skellam")

_Draw = Callable[[float, int, np.random.Generator], NDArray[np.int64]]


@dataclass(frozen=True)
class Row:
    """Seconds at one deviation: by rejection as before, Skellam's, and now."""

    deviation: float
    rejection: float
    skellam: float
    now: float

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        seconds = (self.rejection, self.skellam, self.now)
        ratios = (self.rejection / self.now, self.skellam / self.now)
        return [
            f"{self.deviation:g}",
            *(f"{value:.3f}" for value in seconds),
            *(f"{ratio:.1f}" for ratio in ratios),
        ]


def measure(deviation: float, dimension: int, repeats: int) -> Row:
    """Return the seconds of so many numbers."""

    def seconds(draw: _Draw) -> float:
        taken: list[float] = []
        for _ in range(repeats):
            started = time.process_time()
            # As for every contribution, a generator of its own.
            draw(deviation, dimension, secure_generator())
            taken.append(time.process_time() - started)
        return min(taken)

    return Row(deviation, seconds(_by_rejection), seconds(_skellam), seconds(discrete_gaussian))


def _by_rejection(sigma: float, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw as before: Canonne, Kamath, Steinke 2020 (arXiv 2004.00010), algorithm 3."""
    scale = math.floor(sigma) + 1

    def cost(y: NDArray[np.int64]) -> NDArray[np.float64]:
        return (np.abs(y) / sigma - sigma / scale) ** 2 / 2

    return from_laplace(size, scale, cost, rng)


def _skellam(sigma: float, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return skellam(sigma**2, size, rng)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise_speed")
    parser.add_argument("--dimension", type=positive, default=2**20, metavar="D")
    parser.add_argument("--repeats", type=positive, default=5, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write it there")
    options = parser.parse_args(arguments)
    rows = [measure(scale, options.dimension, options.repeats) for scale in SCALES]
    print(machine_line())
    print(table(HEADERS, [row.cells() for row in rows]))
    if options.json:
        figures = {"dimension": options.dimension, "rows": [asdict(row) for row in rows]}
        write_json(options.json, "noise_speed", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
