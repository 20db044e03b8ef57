"""A SuperLink for simulations, on a free port, stopped with all processes that it started."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

_CONNECTION = "tacet"
_START_SECONDS = 60
_STOP_SECONDS = 20
#: In the environment that ``superlink`` yields: the process that a test may look below.
SUPERLINK_PID = "TACET_SUPERLINK_PID"
_THIS_MACHINE = ("127.0.0.1", "localhost")
#: Up to this size Ray hands a message from process to process in the call itself. By default
#: it takes a third process and shared memory for those above 100 KB: of 150 nodes, a request
#: to share is one. Large models go that way still.
RAY_INLINE_BYTES = 4 << 20
_RAY_INLINE = "RAY_max_direct_call_object_size"


class SimulationError(RuntimeError):
    """A SuperLink that did not start, or a run that failed."""


@contextmanager
def superlink(home: Path) -> Generator[dict[str, str]]:
    """Run a SuperLink for simulations on a free port of this machine.

    Parameters
    ----------
    home : Path
        Becomes ``FLWR_HOME``: connections, installed bundles and the SuperLink's log.

    Yields
    ------
    dict
        The environment in which ``flwr`` finds this SuperLink as the connection ``tacet``.
    """
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf-8",
    )
    environment = simulation_environment(home)
    command = ["flower-superlink", "--insecure", "--simulation", "--host", "127.0.0.1"]
    command += ["--port", str(port)]
    with (home / "superlink.log").open("wb") as output:
        process = subprocess.Popen(
            [tool(command[0]), *command[1:]],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_healthy(process, port, home / "superlink.log")
            yield environment | {SUPERLINK_PID: str(process.pid)}
        finally:
            _stop(process)


def simulation_environment(home: Path) -> dict[str, str]:
    """Return ``flower_environment`` with what Ray is told; what the user told it wins."""
    told = {_RAY_INLINE: str(RAY_INLINE_BYTES), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    return told | flower_environment(home)


def flower_environment(home: Path) -> dict[str, str]:
    """Return this process's environment with Flower confined to ``home``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Flower's own requests to this machine must not go through a proxy.
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    direct = ",".join([*([given] if given else []), *_THIS_MACHINE])
    return os.environ | {
        "PATH": path,
        "no_proxy": direct,
        "NO_PROXY": direct,
        "FLWR_HOME": str(home),
        # Everything is installed already; without this Flower would run `uv sync` for each run.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
    }


def tool(name: str) -> str:
    """Return the path of a command that is installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with opener.open(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    text = log_file.read_text(encoding="utf-8", errors="replace")
    raise SimulationError(f"flower-superlink did not start:\n{text}")


def descendants(pid: int, name: str = "") -> list[int]:
    """Return the processes below one whose command line holds the name."""
    listing = subprocess.run(
        # -ww: whole command lines, however narrow a terminal the environment speaks of.
        ["ps", "-eww", "-o", "pid=,ppid=,args="],  # noqa: S607 - from PATH on purpose
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(None, 2) for line in listing.stdout.splitlines()]
    below = tree(pid, {int(one): int(parent) for one, parent, *_ in rows})
    found = {int(one) for one, _, *args in rows if name in "".join(args)}
    return sorted((found & below) - {pid})


def tree(pid: int, parents: Mapping[int, int]) -> set[int]:
    """Return a process and all below it, of the parents of all processes."""
    found = {pid}
    # Parents may come after their children.
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the SuperLink and its descendants, also those outside its process group."""
    started = descendants(process.pid)
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        _signal(process.pid, stop_signal)
        try:
            process.wait(_STOP_SECONDS)
            break
        except subprocess.TimeoutExpired:
            continue
    # Flower gives a simulation a process group of its own; Ray ends with it.
    for pid in started:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
