"""Pages of the documentation, whose commands are run as they stand there."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from app.simulation.superlink import flower_environment, free_port
from deploy.trial_home import ROOT


def run_page(page: Path, folder: Path, variable: str, num_nodes: int) -> str:
    """Run all commands of a page in one shell, and return what they printed.

    ``variable`` is what the page calls the folder; its ports are free ones.
    """
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 7
    ports = {"PORT": free_port(), "NODE_PORT": _before_free_ports(num_nodes)}
    environment = flower_environment(folder / "flower") | {variable: str(folder)}
    environment |= {name: str(port) for name, port in ports.items()}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            ["bash", "-eu", "-c", "\n".join(blocks)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(1200)
        finally:
            # All of its group: where a command failed, the page did not come to its end.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = (folder / "output").read_text()
    assert process.returncode == 0, text
    return text


def _before_free_ports(count: int) -> int:
    """Return a port before that many free ones, below those that the system gives away."""
    for first in range(20_000, 32_000, count + 1):
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first + 1, first + 1 + count):
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")
