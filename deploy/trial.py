"""A whole federation on this machine: TLS, node authentication, identities, guarded nodes.

What the deployment tests and ``benchmarks.round_trip --deployment`` run on. The steps are those
of ``docs/deployment.md``, by the same commands.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from app.superlink import descendants
from deploy.records import write_records

ROOT = Path(__file__).resolve().parent.parent
CONNECTION = "trial"
_START_SECONDS = 90.0
_RESTART_SECONDS = 3.0
_POLICY = """\
dataset: trial
unit: example
privacy: [none, example_distributed]
max_epsilon: {max_epsilon}
delta: 0.001
min_survivors: {min_survivors}
min_colluding: {min_colluding}
require_identities: true
bundles: [{bundle}]
"""


class TrialError(RuntimeError):
    """A part of the federation did not start or end as it should."""


class Trial:
    """One SuperLink and its SuperNodes; a context manager that stops all that it started.

    Parameters
    ----------
    home : Path
        Holds everything: keys, policies, records, databases, logs, ``FLWR_HOME``.
    num_nodes : int
        How many SuperNodes.
    max_epsilon : float
        Every node's cap.
    min_survivors, min_colluding : int
        Every node's floors.
    app : Path
        The checkout that runs, and whose bundle the nodes approve.
    others : tuple of Path
        More apps whose bundles they approve.
    """

    def __init__(
        self,
        home: Path,
        num_nodes: int,
        *,
        max_epsilon: float = 3.0,
        min_survivors: int = 2,
        min_colluding: int = 0,
        app: Path = ROOT,
        others: tuple[Path, ...] = (),
    ) -> None:
        self.home, self.num_nodes, self.app = home, num_nodes, app
        self._approved = (app, *others)
        self._floors = (max_epsilon, min_survivors, min_colluding)
        self.port = free_port()
        self.environment = trial_environment(home / "flower")
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self.superlink: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
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

    def prepare(self) -> None:
        """Make certificates, keys, identities, policies, records and Flower's connection."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.tacet("keys", "tls", "tls", "--host", "127.0.0.1", "localhost")
        for number in range(self.num_nodes):
            self.node_home(number).mkdir()
            self.tacet("keys", "node", f"node-{number}/flower-key")
            self.tacet("keys", "new", f"node-{number}/identity")
        public = [f"node-{n}=node-{n}/identity.pub" for n in range(self.num_nodes)]
        self.tacet("keys", "merge", "--out", "peers", *public)
        hashes = [self.tacet("bundle", "hash", str(app)).strip() for app in self._approved]
        bundle = ", ".join(hashes)
        for number in range(self.num_nodes):
            shutil.copy(self.home / "peers", self.node_home(number) / "peers")
            self.write_policy(number, bundle)
            write_records(self.node_home(number) / "records.csv", number, self.num_nodes)
        flower = self.home / "flower"
        flower.mkdir()
        (flower / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "127.0.0.1:{self.port}"\n'
            f'root-certificates = "{self.home / "tls" / "ca.crt"}"\n'
        )

    def write_policy(self, number: int, bundle: str) -> None:
        """Write a node's policy, which approves bundles, given with commas between."""
        epsilon, survivors, colluding = self._floors
        (self.node_home(number) / "policy.yaml").write_text(
            _POLICY.format(
                max_epsilon=epsilon,
                min_survivors=survivors,
                min_colluding=colluding,
                bundle=bundle,
            )
        )

    def node_home(self, number: int) -> Path:
        """Return the folder with all that one node has."""
        return self.home / f"node-{number}"

    def start_superlink(self) -> None:
        """Start the SuperLink, with the database that an earlier one left."""
        tls = self.home / "tls"
        self.superlink = self._start(
            "superlink.log",
            "flower-superlink",
            *("--ssl-ca-certfile", tls / "ca.crt", "--ssl-certfile", tls / "superlink.pem"),
            *("--ssl-keyfile", tls / "superlink.key", "--enable-supernode-auth"),
            *("--database", self.home / "superlink.db"),
            *("--host", "127.0.0.1", "--port", self.port),
            *("--control-api-address", f"127.0.0.1:{free_port()}"),
            "--disable-runtime-dependency-installation",
        )
        self._wait_for_port(self.superlink)

    def register(self, number: int) -> None:
        """Make a node's public key known to the SuperLink."""
        key = self.node_home(number) / "flower-key.pub"
        self.flwr("supernode", "register", str(key), CONNECTION)

    def start_node(self, number: int, **changes: str) -> subprocess.Popen[bytes]:
        """Start a guarded SuperNode; ``changes`` replace its node config's paths."""
        own = self.node_home(number)
        config = {
            "data-path": str(own / "records.csv"),
            "state-path": str(own / "state.sqlite"),
            "policy-file": str(own / "policy.yaml"),
            "identity-key": str(own / "identity"),
            "peers-file": str(own / "peers"),
            **{key.replace("_", "-"): value for key, value in changes.items()},
        }
        place = f"partition-id={number} num-partitions={self.num_nodes}"
        root = config.pop("root-certificates", str(self.home / "tls" / "ca.crt"))
        key = config.pop("flower-key", str(own / "flower-key"))
        node_config = " ".join(f'{name}="{value}"' for name, value in config.items())
        node_config = f"{node_config} {place}"
        process = self._start(
            f"node-{number}.log",
            *("tacet", "supernode", "--superlink", f"127.0.0.1:{self.port}"),
            *("--root-certificates", root, "--auth-supernode-private-key", key),
            *("--host", "127.0.0.1", "--port", free_port(), "--node-config", node_config),
            # Apart, as on a machine of its own.
            flower_home=own / "flower",
        )
        self.nodes[number] = process
        return process

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
            *("run", str(app or self.app), CONNECTION, "--stream"),
            *("--run-config", run_config),
            seconds=seconds,
        )

    def start_run(self, run_config: str, log: str = "run.log") -> subprocess.Popen[bytes]:
        """Submit a run and go on; its log goes to a file of that name."""
        return self._start(
            log, "flwr", "run", self.app, CONNECTION, "--stream", "--run-config", run_config
        )

    def log(self, name: str) -> str:
        """Return what a process has written so far, e.g. ``node-0``."""
        return (self.home / f"{name}.log").read_text(errors="replace")

    def wait_for(self, name: str, text: str, seconds: float = 300.0) -> None:
        """Wait until a process has written a text."""
        end = time.monotonic() + seconds
        while text not in self.log(name):
            if time.monotonic() > end:
                raise TrialError(f"{name} did not say {text!r}:\n{self.log(name)[-4000:]}")
            time.sleep(0.1)

    def kill_node(self, number: int) -> None:
        """Kill a SuperNode and its processes, as a power cut would."""
        _kill_tree(self.nodes.pop(number), signal.SIGKILL)

    def stop_node(self, number: int) -> None:
        """Stop a SuperNode as its owner would: it takes its leave of the SuperLink."""
        _kill_tree(self.nodes.pop(number), signal.SIGTERM)

    def stop_superlink(self) -> None:
        """Stop the SuperLink and its ServerApps; its database stays."""
        if self.superlink is not None:
            _kill_tree(self.superlink, signal.SIGTERM)
            self.superlink = None

    def stop(self) -> None:
        """Stop everything."""
        processes = [*self.nodes.values(), *self._others]
        for process in processes:
            _kill_tree(process, signal.SIGTERM)
        self.nodes.clear()

    def tacet(self, *arguments: str) -> str:
        """Run the ``tacet`` command in the home folder and return what it printed."""
        return self._call("tacet", *arguments)

    def flwr(self, *arguments: str, seconds: float = 120.0) -> str:
        """Run the ``flwr`` command and return what it printed."""
        return self._call("flwr", *arguments, seconds=seconds)

    def _call(self, name: str, *arguments: str, seconds: float = 120.0) -> str:
        result = subprocess.run(
            [_tool(name), *arguments],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        if result.returncode:
            raise TrialError(f"{name} {' '.join(arguments)}:\n{result.stdout}")
        return result.stdout

    def _start(
        self, log: str, name: str, *arguments: object, flower_home: Path | None = None
    ) -> subprocess.Popen[bytes]:
        environment = self.environment
        if flower_home is not None:
            environment = environment | {"FLWR_HOME": str(flower_home)}
        with (self.home / log).open("ab") as output:
            process = subprocess.Popen(
                [_tool(name), *map(str, arguments)],
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


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def trial_environment(flower_home: Path) -> dict[str, str]:
    """Return this process's environment with Flower confined to a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {
        "PATH": path,
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
        "FLWR_HOME": str(flower_home),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
    }


def _kill_tree(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a process and all below it, and see that they end."""
    below = descendants(process.pid)
    for pid in (process.pid, *below):
        try:
            os.kill(pid, number)
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
