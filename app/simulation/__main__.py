"""A run through ``flwr run`` on a SuperLink of its own, stopped afterwards.

What ``make demo``, the end-to-end tests and the benchmarks use. Plain ``flwr run`` would talk
to the one local SuperLink that any program of this user may have started, with another
environment; this one is surely ours.

    python -m app.simulation --num-clients 5 'num-rounds=10'
"""

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from app.config.pairs import parse_pairs
from app.simulation.flwr_run import flwr_run, read_summary, summary_time
from app.simulation.superlink import SimulationError, superlink


def main() -> None:
    """Run one simulation and print the path of its folder."""
    parser = argparse.ArgumentParser(
        prog="python -m app.simulation",
        description="Run one simulation through `flwr run` on a SuperLink of its own.",
    )
    parser.add_argument("--num-clients", type=int, default=5, help="simulated SuperNodes")
    parser.add_argument("run_config", nargs="*", help="e.g. 'task=\"heart\"' num-rounds=5")
    arguments = parser.parse_args()
    try:
        folder, run_config = _place(" ".join(arguments.run_config))
        before = summary_time(folder)
        with tempfile.TemporaryDirectory(prefix="tacet-") as home, superlink(Path(home)) as env:
            flwr_run(env, run_config, arguments.num_clients, echo=True)
        summary = read_summary(folder, before)
    except SimulationError as error:
        sys.exit(str(error))
    scores = ", ".join(f"{name} {value:.4f}" for name, value in summary["metrics"].items())
    print(f"\n{summary['status']}: {summary['num_rounds']} rounds, {scores}")
    print(f"run folder: {folder}")


def _place(run_config: str) -> tuple[Path, str]:
    """Return the run's folder, and the run config that puts it there."""
    values = _parsed(run_config)
    if given := values.get("resume-from") or values.get("output-dir"):
        return Path(str(given)).expanduser(), run_config
    folder = Path.home() / ".tacet" / "runs" / time.strftime("%Y%m%d-%H%M%S")
    return folder, f'output-dir="{folder}" {run_config}'


def _parsed(run_config: str) -> dict[str, Any]:
    """Return the run config's values; Flower's parser passes over words without ``=``."""
    try:
        if all("=" in word for word in shlex.split(run_config)):
            return parse_pairs(run_config)
    except ValueError:
        pass  # said below
    raise SimulationError(
        f"run config {run_config!r}: give key=value pairs, strings in double quotes within"
        " the shell's single ones: 'task=\"heart\"' num-rounds=5"
    )


if __name__ == "__main__":
    main()
