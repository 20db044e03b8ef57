"""Shared output of the benchmarks: a table, the figures as JSON, the machine."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("flwr", "ray", "torch", "numpy")
_CPU_INFO = Path("/proc/cpuinfo")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned table: text to the left, everything that starts as a number right.

    Parameters
    ----------
    headers : sequence of str
    rows : sequence of sequence of str
        Formatted cells, as many in each row as there are headers.
    """
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    numeric = [all(_is_numeric(cell) for cell in column[1:]) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, rows)])


def median_round(seconds: Sequence[float]) -> float:
    """Return the median of the seconds of a run's rounds, without the first."""
    return statistics.median(seconds[1:])


def machine() -> dict[str, str | int]:
    """Return a description of the machine, without host name and paths."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count() or 1,
        "system": platform.system(),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def machine_line() -> str:
    """Return the machine as one line for people."""
    facts = machine()
    packages = ", ".join(f"{package} {facts[package]}" for package in _PACKAGES)
    return f"{facts['cpu']}, {facts['cpus']} CPUs, Python {facts['python']}, {packages}"


def positive(text: str) -> int:
    """Parse an option's whole number, at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def parser_of(
    benchmark: str, doc: str | None, epilog: str, *, data: str = "", seeds: int = 0
) -> argparse.ArgumentParser:
    """Return a parser of a benchmark's options, to which it may add its own.

    Parameters
    ----------
    benchmark : str
        The module's name.
    doc, epilog : str
        What stands before and after the options in its help.
    data : str
        What is in the folder that ``--data-dir`` names; empty for a benchmark without one.
    seeds : int
        How often each row is measured unless ``--seeds`` says; 0 for a benchmark without it.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark}",
        description=doc,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if data:
        parser.add_argument("--data-dir", type=Path, required=True, help=f"folder with {data}")
    if seeds:
        what = f"runs of each row ({seeds})"
        parser.add_argument("--seeds", type=positive, default=seeds, help=what)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures into this file"
    )
    return parser


def write_json(file: Path, benchmark: str, figures: Mapping[str, object]) -> None:
    """Write a benchmark's figures with the machine they come from.

    Parameters
    ----------
    file : Path
        Its folder is made if it is missing.
    benchmark : str
        Which benchmark it was.
    figures : mapping
        What the table shows, unrounded.
    """
    content = {"benchmark": benchmark, "machine": machine(), **figures}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _is_numeric(cell: str) -> bool:
    return cell == "-" or cell[:1].isdigit()


def _cpu_model() -> str:
    """Return the model of the processor where Linux tells it, else its architecture."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.machine()
