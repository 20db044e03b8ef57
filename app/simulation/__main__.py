"""A run through ``flwr run`` on a SuperLink of its own, stopped afterwards.

What ``make demo``, the end-to-end tests and the benchmarks use. Plain ``flwr run`` would talk
to the one local SuperLink that any program of this user may have started, with another
environment; this one is surely ours.

    python -m app.simulation --num-clients 5 'num-rounds=10'
"""

import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.config.pairs import parse_pairs
from app.results.html.page import PAGE_FILE
from app.simulation.flwr_run import flwr_run, read_summary, summary_time
from app.simulation.folders import new_folder
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
        folder, summary = _simulate(" ".join(arguments.run_config), arguments.num_clients)
    except SimulationError as error:
        sys.exit(str(error))
    scores = ", ".join(f"{name} {value:.4f}" for name, value in summary["metrics"].items())
    print(f"\n{summary['status']}: {summary['num_rounds']} rounds, {scores}")
    print(f"run folder: {folder}")
    if (page := folder / PAGE_FILE).exists():
        print(f"report: {page}")


def _simulate(run_config: str, num_clients: int) -> tuple[Path, dict[str, Any]]:
    """Run one simulation; return its folder and how it ended."""
    try:
        values = parse_pairs(run_config)
    except ValueError as error:
        raise SimulationError(f"run config {run_config!r}: {error}") from None
    if given := values.get("resume-from") or values.get("output-dir"):
        folder = Path(str(given)).expanduser()
    else:
        folder = new_folder(Path.home() / ".tacet" / "runs")
        run_config = f'output-dir="{folder}" {run_config}'
    before = summary_time(folder)
    try:
        with tempfile.TemporaryDirectory(prefix="tacet-") as home, superlink(Path(home)) as env:
            flwr_run(env, run_config, num_clients, echo=True)
        return folder, read_summary(folder, before)
    finally:
        if not given:
            # Nothing is in it where the run was refused.
            with suppress(OSError):
                folder.rmdir()


if __name__ == "__main__":
    main()
