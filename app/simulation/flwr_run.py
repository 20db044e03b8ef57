"""Submission of a run through ``flwr run``, and its summary."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

from app.results import summary as run_summary
from app.simulation.superlink import SimulationError, tool

APP_DIR = Path(__file__).resolve().parents[2]


def flwr_run(
    environment: dict[str, str], run_config: str, num_clients: int, echo: bool = False
) -> str:
    """Submit a run and stream it to its end.

    Parameters
    ----------
    environment : dict
        What ``superlink`` yielded.
    run_config : str
        The value of ``--run-config``.
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
    file = run_summary.summary_file(folder)
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
    if summary_time(folder) in (None, before):
        raise SimulationError(f"the run left nothing in {folder}; see its log above")
    summary = run_summary.read_summary(folder)
    status = summary["status"]
    if status == run_summary.RUNNING:
        raise SimulationError(
            f"{folder}: another process is still writing that run; see the log above for this"
            " one, and give it an output-dir of its own"
        )
    if status not in (run_summary.COMPLETED, run_summary.STOPPED_EARLY):
        raise SimulationError(f"{folder}: {status}: {summary['reason']}")
    return summary
