"""Mean estimation: the distributed mechanisms compared with central noise.

python -m benchmarks.mean_estimation
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

from benchmarks.mean_estimation_cases import (
    DELTA,
    DIMENSION,
    RADIUS,
    Case,
    Factors,
    Measured,
    measure,
)
from benchmarks.report import machine_line, positive, table, write_json
from privacy.plan.release import Mechanism

#: What the papers' own code gets with REQUIRED_CLIENTS and REQUIRED_BITS, T = n and c = 0.
LIMIT = 1.21
REQUIRED_CLIENTS, REQUIRED_BITS = 100, 16
#: Where there is a limit so many more means are estimated.
_MORE_REPEATS = 5
_QUICK_ENCODINGS = 1_000

_NAMES = {Mechanism.DISTRIBUTED_DISCRETE_GAUSSIAN: "DDG", Mechanism.SKELLAM: "Skellam"}

_EPILOG = f"""\
The setting of Kairouz et al. 2021 (arXiv 2102.06387) and Agarwal et al. 2021 (arXiv
2110.04995): {DIMENSION} numbers, on the sphere of radius {RADIUS:g}; clip norm {RADIUS:g},
delta {DELTA:g}, beta exp(-1/2). Noise and grid are those of a run of one round with
privacy=client_distributed; every vector is encoded as a client does it, the sum modulo 2^bits
decoded as the server does it. Nobody drops out.

The figure is the mean squared error of the mean over that of the central Gaussian for the
same epsilon and delta, (C sigma / n)^2 in every number, with the sigma of the analytic
Gaussian (Balle and Wang 2018); that is computed, not measured. +- is one standard error.
T = n, c = 0 is what the papers have. Against c clients who tell their noise, and for up to
n - T who drop out, there is noise for T - c in the share of each.

The second table says what keeps the figures with the most bits from 1; the first eight
columns multiply to the figure:

conversion    from a Renyi curve to (epsilon, delta), which is not exact
curve         what is proven of the mechanism beyond the curve of a Gaussian
rounded_norm  a rounded contribution may be longer than the clip norm
padding       and has as many numbers as the rotation needs
spare_shares  noise of n clients, where T - c would do
rounding      variance of the rounding
wrapping      numbers that passed the modulus; the last column counts them. Below 1 here, as
              the mean is near 0 and so is all that wraps: no gain for vectors that agree
rest          measured over all that: sampling error, and the bias of conditional rounding

exit status: 0; 1 if a figure with n = {REQUIRED_CLIENTS}, {REQUIRED_BITS} bits, T = n and \
c = 0 is above {LIMIT}."""


@dataclass(frozen=True)
class Row:
    """A case and its result; None if there is no noise for it."""

    case: Case
    measured: Measured | None

    @property
    def is_required(self) -> bool:
        """Whether the figure has a limit."""
        return _is_required(self.case)

    @property
    def holds(self) -> bool:
        """Whether the figure keeps to its limit."""
        return self.measured is not None and self.measured.ratio <= LIMIT

    def cell(self) -> str:
        """Return the figure with its standard error."""
        if self.measured is None:
            return "refused"
        return f"{self.measured.ratio:.3f} +- {self.measured.standard_error:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    rows: list[Row] = []
    for row in _measure_all(_cases(options), options):
        rows.append(row)
        print(f"measured {_named(row.case)}, epsilon {row.case.epsilon:g}", file=sys.stderr)
    headers = ["mechanism", "n", "T", "c", "bits", *(f"eps {e:g}" for e in options.epsilons)]
    print("mean squared error over the central Gaussian's\n")
    print(table(headers, _cells(rows, len(options.epsilons))))
    print("\nwhat keeps them from 1\n")
    print(_decomposition([row for row in rows if row.case.modulus_bits == max(options.bits)]))
    required = [row for row in rows if row.is_required]
    if required:
        print(f"\nrequired, at most {LIMIT}:")
    for row in required:
        verdict = "PASS" if row.holds else "FAIL"
        print(f"{verdict}  {_named(row.case)}, epsilon {row.case.epsilon:g}: {row.cell()}")
    print("\n" + machine_line())
    if options.json:
        setting = {"dimension": DIMENSION, "radius": RADIUS, "delta": DELTA, "limit": LIMIT}
        verdicts = [asdict(row) | {"holds": row.holds} for row in required]
        figures = {"rows": [asdict(row) for row in rows], "required": verdicts}
        write_json(options.json, "mean_estimation", setting | figures)
    return 0 if all(row.holds for row in required) else 1


def _cases(options: argparse.Namespace) -> list[Case]:
    """Return the cases, those of one line of the table together."""
    thresholds: dict[int, list[tuple[int, int]]] = {}
    for n in options.clients:
        # The second is the protocol's default threshold.
        thresholds[n] = [(n, 0)] if options.quick else [(n, 0), (2 * n // 3 + 1, 1)]
    return [
        Case(mechanism, n, *counts, bits, epsilon, options.deviations)
        for mechanism in _NAMES
        for n in options.clients
        for counts in thresholds[n]
        for bits in options.bits
        for epsilon in options.epsilons
    ]


def _measure_all(cases: Sequence[Case], options: argparse.Namespace) -> Iterator[Row]:
    encodings = min(options.encodings, _QUICK_ENCODINGS if options.quick else sys.maxsize)
    repeats = [
        max(1, encodings // case.clients) * (_MORE_REPEATS if _is_required(case) else 1)
        for case in cases
    ]
    arguments = cases, repeats, [options.seed] * len(cases)
    if options.processes == 1:
        yield from itertools.starmap(Row, zip(cases, map(measure, *arguments), strict=True))
        return
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        found = pool.map(measure, *arguments)
        yield from itertools.starmap(Row, zip(cases, found, strict=True))


def _cells(rows: Sequence[Row], width: int) -> list[list[str]]:
    lines = [rows[i : i + width] for i in range(0, len(rows), width)]
    return [
        [*_setting(line[0].case), str(line[0].case.modulus_bits), *(row.cell() for row in line)]
        for line in lines
    ]


def _decomposition(rows: Sequence[Row]) -> str:
    names = [field.name for field in fields(Factors)]
    headers = ["mechanism", "n", "T", "c", "eps", *names, "measured", "wrapped"]
    cells = [
        [
            *_setting(row.case),
            f"{row.case.epsilon:g}",
            *(f"{factor:.4f}" for factor in astuple(found.factors)),
            f"{found.ratio:.4f}",
            str(found.wrapped),
        ]
        for row in rows
        if (found := row.measured)
    ]
    return table(headers, cells)


def _setting(case: Case) -> list[str]:
    numbers = case.clients, case.min_survivors, case.max_colluding
    return [_NAMES[case.mechanism], *map(str, numbers)]


def _named(case: Case) -> str:
    name, n, survivors, colluding = _setting(case)
    return f"{name}, n {n}, T {survivors}, c {colluding}, {case.modulus_bits} bits"


def _is_required(case: Case) -> bool:
    at = case.clients, case.min_survivors, case.max_colluding, case.modulus_bits
    return at == (REQUIRED_CLIENTS, REQUIRED_CLIENTS, 0, REQUIRED_BITS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mean_estimation",
        description="Compare distributed noise with central noise in estimating a mean.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--clients", type=positive, nargs="+", default=[100, 1000], metavar="N")
    add("--bits", type=positive, nargs="+", default=[10, 12, 14, 16], metavar="B")
    add("--epsilons", type=float, nargs="+", default=[0.75, 1.5, 3.0, 6.0], metavar="EPSILON")
    add("--deviations", type=float, default=4.0, metavar="K", help="of the sum (%(default)g)")
    more = f"vectors encoded for a figure (%(default)s), {_MORE_REPEATS} times as many for a"
    add("--encodings", type=positive, default=4_000, help=more + " required one")
    quick = f"{_QUICK_ENCODINGS:,} vectors for a figure, and T = n, c = 0 only"
    add("--quick", action="store_true", help=quick)
    add("--processes", type=positive, default=2, help="at once (%(default)s)")
    add("--seed", type=int, default=0, help="of vectors and rotations (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
