"""A run through ``flwr run`` on a SuperLink of its own, stopped afterwards.

What ``make demo``, the end-to-end tests and the benchmarks use. Plain ``flwr run`` would talk
to the one local SuperLink that any program of this user may have started, with another
environment; this one is surely ours.

    python -m app.simulation --num-clients 5 'num-rounds=10'
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from click import ClickException
from flwr.common.config import parse_config_args

from app.superlink import SimulationError, superlink, tool

APP_DIR = Path(__file__).resolve().parent.parent


def flwr_run(
    environment: dict[str, str], run_config: str, num_clients: int, echo: bool = False
) -> str:
    """Submit a run and stream it to its end.

    Parameters
    ----------
    environment : dict
        What ``superlink`` yielded.
    run_config : str
        As for ``--run-config``.
    num_clients : int
        Simulated SuperNodes.
    echo : bool
        Show the log as it comes.

    Returns
    -------
    str
        All output of ``flwr run``, the streamed log included.

    Raises
    ------
    SimulationError
        If ``flwr run`` itself failed, such as for a run that it could not submit. How a run
        ended that it did submit says ``read_summary``.
    """
    federation = f"num-supernodes={num_clients} client-resources-num-cpus=1"
    command = ["flwr", "run", str(APP_DIR), "--stream", "--federation-config", federation]
    command += ["--run-config", run_config] if run_config else []
    if echo:
        print("$", shlex.join(command), flush=True)
    lines: list[str] = []
    with subprocess.Popen(
        [tool(command[0]), *command[1:]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        for line in process.stdout:
            lines.append(line)
            if echo:
                print(line, end="", flush=True)
    output = "".join(lines)
    if process.returncode:
        log = "see its output above" if echo else output
        raise SimulationError(f"flwr run: exit status {process.returncode}; {log}")
    return output


def summary_time(folder: Path) -> int | None:
    """Return when the folder's summary was written, in ns; None if there is none."""
    file = folder / "summary.json"
    return file.stat().st_mtime_ns if file.exists() else None


def read_summary(folder: Path, before: int | None = None) -> dict[str, Any]:
    """Return how a run ended.

    Parameters
    ----------
    folder : Path
        The run folder.
    before : int, optional
        What ``summary_time`` said before the run: a summary no newer than that is of another
        run, and this one was refused.

    Raises
    ------
    SimulationError
        If it left no summary or did not end well.
    """
    file = folder / "summary.json"
    if summary_time(folder) in (None, before):
        raise SimulationError(f"the run left nothing in {folder}; see its log above")
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if summary["status"] not in ("completed", "stopped early"):
        reason = summary.get("reason", "its process was killed")
        raise SimulationError(f"{folder}: {summary['status']}: {reason}")
    return summary


def main() -> None:
    """Run one simulation and say where its folder is."""
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
            return parse_config_args([run_config])
    except (ClickException, OSError, ValueError):
        pass  # said below
    raise SimulationError(
        f"run config {run_config!r}: give key=value pairs, strings in double quotes within"
        " the shell's single ones: 'task=\"heart\"' num-rounds=5"
    )


if __name__ == "__main__":
    main()
