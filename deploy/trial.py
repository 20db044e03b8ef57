"""A whole federation on this machine: TLS, node authentication, identities, guards.

What the deployment tests and ``benchmarks.round_trip --deployment`` run on. The steps are those
of ``docs/deployment.md``, by the same commands.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from app.simulation.superlink import descendants, free_port, tool
from deploy.trial_home import CONNECTION, TrialError, TrialHome

_START_SECONDS = 180.0
_RESTART_SECONDS = 10.0


class Trial(TrialHome):
    """One SuperLink and its SuperNodes; a context manager that stops all that it started."""

    superlink: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._others: list[subprocess.Popen[bytes]] = []
        try:
            self.prepare()
            self.start_superlink()
            for number in range(self.num_nodes):
                self.register(number)
                self.start_node(number)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start_superlink(self) -> None:
        """Start the SuperLink, with the database that an earlier one left."""
        tls = self.home / "tls"
        self.superlink = self._start(
            "superlink.log",
            "flower-superlink",
            "--ssl-ca-certfile",
            tls / "ca.crt",
            "--ssl-certfile",
            tls / "superlink.pem",
            "--ssl-keyfile",
            tls / "superlink.key",
            "--enable-supernode-auth",
            "--database",
            self.home / "superlink.db",
            "--host",
            "127.0.0.1",
            "--port",
            self.port,
            "--disable-runtime-dependency-installation",
        )
        self._wait_for_port(self.superlink)

    def register(self, number: int) -> None:
        """Make a node's public key known to the SuperLink."""
        key = self.node_home(number) / "flower-key.pub"
        self.flwr("supernode", "register", str(key), CONNECTION)

    def start_node(self, number: int, **changes: str) -> subprocess.Popen[bytes]:
        """Start a SuperNode; ``changes`` replace its node config's paths."""
        own = self.node_home(number)
        config = {
            "data-path": str(own / "records.csv"),
            "state-path": str(own / "state.sqlite"),
            "policy-file": str(own / "policy.yaml"),
            "identity-key": str(own / "identity"),
            "peers-file": str(own / "peers"),
            **{key.replace("_", "-"): value for key, value in changes.items()},
        }
        part = number % self.num_nodes
        place = f"partition-id={part} num-partitions={self.num_nodes}"
        root = config.pop("root-certificates", str(self.home / "tls" / "ca.crt"))
        key = config.pop("flower-key", str(own / "flower-key"))
        node_config = " ".join(f'{name}="{value}"' for name, value in config.items())
        node_config = f"{node_config} {place}"
        process = self._start(
            f"node-{number}.log",
            *self.supernode,
            "--superlink",
            f"127.0.0.1:{self.port}",
            "--root-certificates",
            root,
            "--auth-supernode-private-key",
            key,
            "--host",
            "127.0.0.1",
            "--port",
            free_port(),
            "--node-config",
            node_config,
            # Apart, as on a machine of its own.
            flower_home=own / "flower",
        )
        self.nodes[number] = process
        return process

    def add_node(self, number: int, **changes: str) -> None:
        """Start one SuperNode more, whose Flower key is registered; ``changes`` as above."""
        self.make_keys(number)
        self.furnish(number)
        self.register(number)
        self.start_node(number, **changes)
        self.wait_for(f"node-{number}", "SuperNode ID:")

    def node_id(self, number: int) -> str:
        """Return the id that the SuperLink gave a node, from the node's log."""
        return re.findall(r"SuperNode ID: *(\d+)", self.log(f"node-{number}"))[-1]

    def restart_node(self, number: int, **changes: str) -> None:
        """Start a killed SuperNode, as a service manager would: again until it stays.

        For two missed heartbeats, a minute, the SuperLink takes it for connected and refuses
        another one with its key.
        """
        end = time.monotonic() + _START_SECONDS
        while True:
            place = len(self.log(f"node-{number}"))
            process = self.start_node(number, **changes)
            while "SuperNode ID:" not in self.log(f"node-{number}")[place:]:
                if process.poll() is not None:
                    break
                time.sleep(0.1)
            else:
                return
            if time.monotonic() > end:
                raise TrialError(self.log(f"node-{number}")[place:])
            # Its SuperExec outlives it.
            self.kill_node(number)
            time.sleep(_RESTART_SECONDS)

    def run(self, run_config: str, seconds: float = 600.0, app: Path | None = None) -> str:
        """Submit a run, stream its log to the end, and return the log."""
        return self.flwr(
            "run",
            str(app or self.app),
            CONNECTION,
            "--stream",
            "--run-config",
            run_config,
            seconds=seconds,
        )

    def start_run(self, run_config: str, log: str = "run.log") -> subprocess.Popen[bytes]:
        """Submit a run and go on; its log goes to a file of that name."""
        return self._start(
            log, "flwr", "run", self.app, CONNECTION, "--stream", "--run-config", run_config
        )

    def wait_for(self, name: str, text: str, seconds: float = 300.0) -> None:
        """Wait until a process has written a text."""
        end = time.monotonic() + seconds
        while text not in self.log(name):
            if time.monotonic() > end:
                raise TrialError(f"{name} did not say {text!r}:\n{self.log(name)[-4000:]}")
            time.sleep(0.1)

    def kill_node(self, number: int) -> None:
        """Kill a SuperNode and its processes, as a power cut would: all at once."""
        process = self.nodes.pop(number)
        self._others.remove(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop_node(self, number: int) -> None:
        """Stop a SuperNode as its owner would: it takes its leave of the SuperLink."""
        self._end(self.nodes.pop(number))

    def stop_superlink(self) -> None:
        """Stop the SuperLink and its ServerApps; its database stays."""
        if self.superlink is not None:
            self._end(self.superlink)
            self.superlink = None

    def stop(self) -> None:
        """Stop everything."""
        for process in [*self.nodes.values(), *self._others]:
            if process in self._others:
                self._end(process)
        self.nodes.clear()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._others.remove(process)
        _stop_tree(process)

    def _start(
        self, log: str, name: str, *arguments: object, flower_home: Path | None = None
    ) -> subprocess.Popen[bytes]:
        environment = self.environment
        if flower_home is not None:
            environment = environment | {"FLWR_HOME": str(flower_home)}
        with (self.home / log).open("ab") as output:
            process = subprocess.Popen(
                [tool(name), *map(str, arguments)],
                cwd=self.home,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._others.append(process)
        return process

    def _wait_for_port(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise TrialError(f"flower-superlink did not start:\n{self.log('superlink')}")


def _stop_tree(process: subprocess.Popen[bytes]) -> None:
    """Ask a process and all below it to end, and see that they do."""
    below = descendants(process.pid)
    for pid in (process.pid, *below):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in below:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    # It leads a group of its own, in which those are whose parents are gone.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
