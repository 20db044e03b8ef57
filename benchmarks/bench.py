"""The speed benchmarks in one table: each figure a ratio, beside the most that it may be.

python -m benchmarks.bench --json FILE

`make bench` measures all of it, which takes hours; `--small` what CI looks at, in minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import compression
from benchmarks.report import machine_line, table, write_json
from benchmarks.secagg import CLASSICAL, ENCRYPTED, SIGNED

_EPILOG = """\
Ratios are of two things measured in the same run, in CPU time but for those of whole rounds, so
that what else the machine does disturbs them least. Each benchmark prints more by itself.

exit status: 0 if every ratio is at most what it may be; 1 if not, or a benchmark fails."""


#: Up to so many simulated clients the seconds of a round are compared, above the CPU seconds:
#: there Flower's own state is most of a round.
_FEW_CLIENTS = 50

Figures = dict[str, Any]


@dataclass(frozen=True)
class Ratio:
    """A figure, and the most that it may be."""

    name: str
    value: float
    most: float

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        verdict = "PASS" if self.value <= self.most else "FAIL"
        return [self.name, f"{self.value:.3g}", f"{self.most:g}", verdict]


@dataclass(frozen=True)
class Part:
    """A benchmark, and what is read from the figures that it writes.

    Attributes
    ----------
    module : str
        Of this package.
    options : tuple of str
        What it is called with.
    ratios : callable
        From its figures to the ratios.
    """

    module: str
    options: tuple[str, ...]
    ratios: Callable[[Figures], Iterator[Ratio]]

    def measure(self) -> list[Ratio]:
        """Run it in a process of its own, and return its ratios.

        Raises
        ------
        OSError
            If it wrote no figures.
        """
        with TemporaryDirectory(prefix="tacet-") as folder:
            file = Path(folder) / "figures.json"
            command = [sys.executable, "-m", f"benchmarks.{self.module}", *self.options]
            # What it prints is for whoever waits; its own verdicts may fail, and are told.
            subprocess.run([*command, "--json", str(file)], check=False, stdout=sys.stderr)
            return list(self.ratios(json.loads(file.read_text(encoding="utf-8"))))


def _of_masks(most: dict[str, tuple[float, float]]) -> Callable[[Figures], Iterator[Ratio]]:
    """Return what reads times beside the masks' floor from ``benchmarks.secagg``.

    ``most`` is what client and server may take at most, by the system's name.
    """

    def ratios(figures: Figures) -> Iterator[Ratio]:
        for row in figures["rows"]:
            for party, limit in zip(("client", "server"), most[row["system"]], strict=True):
                value = row["measured"][party] / row[f"{party}_floor"]
                yield Ratio(f"{_named(row)}: {party} / masks alone", value, limit)

    return ratios


def _of_secaggplus(figures: Figures) -> Iterator[Ratio]:
    """Read times beside Flower's SecAgg+ from ``benchmarks.secagg``."""
    flower = {str(row["case"]): row for row in figures["rows"] if row["system"] == "flower"}
    for row in figures["rows"]:
        peer = flower.get(str(row["case"]))
        if peer is not None and row is not peer:
            for party in ("client", "server"):
                value = row["measured"][party] / peer["measured"][party]
                yield Ratio(f"{_named(row)}: {party} / Flower's SecAgg+", value, 0.1)


def _named(row: dict[str, Any]) -> str:
    return f"{row['system']} ({_numbers(row['case'])})"


def _numbers(case: dict[str, Any]) -> str:
    return f"{case['clients']}, {case['parameters']:,}, {case['dropouts']}"


def _of_flower(most: dict[int, float]) -> Callable[[Figures], Iterator[Ratio]]:
    """Return what reads rounds beside Flower's FedAvg from ``benchmarks.simulated_round``."""

    def ratios(figures: Figures) -> Iterator[Ratio]:
        for row in figures["rows"]:
            name = f"round of {row['nodes']} nodes in one process / Flower's FedAvg"
            yield Ratio(name, row["times_flower"], most[row["nodes"]])

    return ratios


def _of_rounds(figures: Figures) -> Iterator[Ratio]:
    """Read rounds through Flower's engine from ``benchmarks.round_trip``."""
    for row in figures["rows"]:
        if row["system"] in ("secagg", "hybrid"):
            name = f"simulated {row['system']} round of {row['clients']} / Flower's FedAvg"
            if row["clients"] <= _FEW_CLIENTS:
                yield Ratio(f"{name}, seconds", row["times_flower"], 1.0)
            else:
                yield Ratio(f"{name}, CPU seconds", row["times_flower_cpu"], 1.5)


def _of_dropouts(figures: Figures) -> Iterator[Ratio]:
    """Read the server's seconds, and what dropouts add to them, from ``benchmarks.secagg``.

    What opens the sum once the last reply has come is of interest for itself: it is all that
    dropouts change, and all that the clients wait for.
    """
    without: dict[str, float] = {}
    most = {CLASSICAL: 5.0, SIGNED: 5.0, ENCRYPTED: 0.3}
    for row in figures["rows"]:
        system, seconds = row["system"], row["measured"]["server"]
        if row["case"]["dropouts"] and system in most:
            yield Ratio(f"{_named(row)}: server's CPU seconds", seconds, most[system])
        if system == ENCRYPTED:
            opening = row["measured"]["opening"]
            yield Ratio(f"{_named(row)}: opening, seconds", opening, most[system])
            without.setdefault(system, seconds)
            if row["case"]["dropouts"]:
                name = f"{_named(row)}: server / without dropouts"
                yield Ratio(name, seconds / without[system], 1.2)


def _of_peaks(figures: Figures) -> Iterator[Ratio]:
    """Read memory from ``benchmarks.secagg --peaks``."""
    for row in figures["peaks"]:
        name = f"{_numbers(row['case'])}: server's memory / a vector"
        yield Ratio(name, row["server"], 3.0)


def _of_compression(figures: Figures) -> Iterator[Ratio]:
    """Read bytes beside Flower's SecAgg+, and points lost, from ``benchmarks.compression``."""
    rows, peers = {row["name"]: row for row in figures["rows"]}, figures["peers"]
    full = mean(rows[compression.FULL]["accuracies"])
    for name, most in compression.AIMS.items():
        sent = rows[name]["bytes_each"] / peers[compression.SECAGGPLUS]
        yield Ratio(f"{name}: bytes / Flower's SecAgg+", sent, (most + 0.01) / 8)
        lost = full - mean(rows[name]["accuracies"])
        yield Ratio(f"{name}: points lost to 32 bits", lost, compression.POINTS)


def _of_large_models(figures: Figures) -> Iterator[Ratio]:
    """Read what is not training of a large model's round from ``benchmarks.large_model``."""
    name = f"{figures['parameters']:,} parameters x {figures['clients']}: own work / training"
    yield Ratio(name, figures["own_by_training"], 1.0)


def _of_deployment(figures: Figures) -> Iterator[Ratio]:
    for row in figures["rows"]:
        if row["system"] == "secagg":
            yield Ratio("deployed round of 3 / Flower's FedAvg", row["times_flower"], 0.3)


# Twice what was measured: what a busy machine adds, and no slip by a factor of two.
SMALL = (
    Part(
        "secagg",
        ("--cases", "20,100000,2", "--repeats", "3"),
        _of_masks({CLASSICAL: (14, 13), SIGNED: (40, 32)}),
    ),
    Part(
        "simulated_round",
        ("--nodes", "10", "--passes", "2", "--long", "0"),
        _of_flower({10: 2.8}),
    ),
)
#: Where these fail, the aim is not reached yet. Seconds that pass are measured first, and last
#: what counts no time: that nobody need wait for before the machine is used again.
WHOLE = (
    Part("round_trip", ("--deployment",), _of_deployment),
    Part("round_trip", ("--clients", "50", "100", "300"), _of_rounds),
    Part("secagg", ("--against", "flower", "--cases", "100,100000,10"), _of_secaggplus),
    Part(
        "secagg",
        (
            *("--aggregation", "homomorphic", "--repeats", "2"),
            *("--cases", "500,100000,0", "500,100000,150"),
        ),
        _of_dropouts,
    ),
    Part("secagg", ("--peaks", "--cases", "100,25000000,10"), _of_peaks),
    Part(
        "secagg",
        ("--cases", "100,100000,10"),
        _of_masks(dict.fromkeys((CLASSICAL, SIGNED), (1.5, 1.5))),
    ),
    Part("large_model", ("--in-process",), _of_large_models),
    Part("compression", ("--rows", compression.FULL, *compression.AIMS), _of_compression),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks and return the exit status."""
    options = _parser().parse_args(arguments)
    found: list[Ratio] = []
    failed: list[str] = []
    for part in SMALL if options.small else WHOLE:
        try:
            found += part.measure()
        except OSError:
            failed.append(f"benchmarks.{part.module} {' '.join(part.options)} wrote no figures")
        if options.json:
            # After each part, as all of them take hours.
            listed = [asdict(one) for one in found]
            write_json(options.json, "bench", {"ratios": listed, "failed": failed})
    print(table(("ratio", "is", "at most", ""), [one.cells() for one in found]))
    print("\n".join([*failed, machine_line()]))
    return int(bool(failed) or any(one.value > one.most for one in found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench",
        description="Measure the speed of Tacet in ratios, beside what they may be at most.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--small", action="store_true", help="what CI looks at, in minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
