"""Rounds, bytes and seconds of the table workloads on Adult, over a real SuperLink with TLS.

A whole federation on this machine: certificates, node authentication, signed messages, a policy
on every node that lists the exact workloads. Bytes are those on the wire between SuperLink and
nodes, with TLS, heartbeats, empty polls and, in each run, the app itself: a proxy counts them.
Both sides look for work every few seconds, and each message is a process that reads its records
anew, with all nodes on this one machine.

    python -m benchmarks.deployed_tables --data-dir FOLDER [--nodes 3] [--only ebm]
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.results.model_file import load_model
from app.simulation.superlink import free_port
from benchmarks.adult_runs import Adult
from benchmarks.report import machine_line, positive, table, write_json
from deploy.trial import Trial
from deploy.trial_home import TrialError

_EXACT = "statistics, glm, ebm, gbdt, forest, tree"
_PRIVATE = (
    "privacy=example_distributed privacy.epsilon=1 privacy.delta=1e-5 privacy.sampling_rate=1"
    " privacy.population={nodes} privacy.expected_batch_size={records}"
)
_COLUMNS = "algorithm.columns=[age,education-num,hours-per-week,sex]"
#: name -> algorithm, rounds, more keys.
RUNS = {
    "statistics": ("statistics", 1, ""),
    "glm, 4 columns": ("glm", 10, _COLUMNS),
    "ebm": ("ebm", 6, ""),
    "ebm, epsilon 1": ("ebm", 6, _PRIVATE),
    "gbdt, 1 tree": ("gbdt", 5, ""),
    "gbdt, epsilon 1": ("gbdt", 12, _PRIVATE),
    "tree": ("tree", 8, ""),
    "forest, 30 trees": ("forest", 10, ""),
}
HEADERS = ("run", "rounds", "seconds", "a round", "MB to nodes", "MB from nodes", "result")


class CountingProxy:
    """A TCP proxy that counts bytes; a context manager that ends it.

    Parameters
    ----------
    target : int
        The local port that it passes connections on to.
    """

    def __init__(self, target: int) -> None:
        self.port = int(free_port())
        self.down = self.up = 0
        self._target = target
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            for pair in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
                with self._lock:
                    if is_up:
                        self.up += len(data)
                    else:
                        self.down += len(data)
        except OSError:
            pass
        finally:
            for one in (source, sink):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class TableTrial(Trial):
    """A trial whose nodes read Adult and list the exact workloads, behind a proxy."""

    def __init__(self, home: Path, num_nodes: int, data: Path) -> None:
        super().__init__(home, num_nodes, max_epsilon=100.0, min_survivors=num_nodes)
        self._data = data
        self._behind = self.port
        self.proxy = CountingProxy(int(self.port))

    def write_policy(self, number: int, bundle: str) -> None:
        """Write the policy with the exact workloads on it."""
        super().write_policy(number, bundle)
        with (self.node_home(number) / "policy.yaml").open("a") as file:
            file.write(f"exact: [{_EXACT}]\n")

    def start_node(self, number: int, **changes: str) -> Any:
        """Start a SuperNode that reads its part of Adult and speaks through the proxy."""
        self.port = str(self.proxy.port)
        try:
            return super().start_node(number, data_path=str(self._data), **changes)
        finally:
            self.port = self._behind


@dataclass(frozen=True)
class Row:
    """What one run took; bytes are of all nodes together."""

    run: str
    num_rounds: int
    seconds: float
    bytes_down: int
    bytes_up: int
    result: str

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        times = f"{self.seconds:.0f}", f"{self.seconds / max(1, self.num_rounds):.1f}"
        sizes = f"{self.bytes_down / 1e6:.2f}", f"{self.bytes_up / 1e6:.2f}"
        return [self.run, str(self.num_rounds), *times, *sizes, self.result]


def measure(trial: TableTrial, name: str, data: Adult) -> Row:
    """Run one workload to its end.

    Raises
    ------
    TrialError
        If it did not complete.
    """
    algorithm, num_rounds, more = RUNS[name]
    nodes, folder = trial.num_nodes, trial.home / f"run-{name.replace(' ', '-')}"
    words = (
        "aggregation.identities=true aggregation.max_colluding=0"
        f" aggregation.min_survivors={nodes} aggregation.peers_file={trial.home / 'peers'}"
        f" rounds.min_clients={nodes} rounds.min_replies={nodes} "
        + more.format(nodes=nodes, records=len(data.train))
    )
    down, up, started = trial.proxy.down, trial.proxy.up, time.monotonic()
    log = trial.run(
        f'task="adult" algorithm="{algorithm}" num-rounds={num_rounds}'
        f' output-dir="{folder}" overrides="{words}"',
        1800,
    )
    seconds = time.monotonic() - started
    file = folder / "summary.json"
    summary = json.loads(file.read_text()) if file.exists() else {}
    if summary.get("status") not in ("completed", "stopped early"):
        raise TrialError(f"{name}:\n{log}")
    result = "report.json"
    if (folder / "model.safetensors").exists() and algorithm not in ("statistics", "glm"):
        _, model = load_model(folder / "model.safetensors")
        result = f"AUC {data.auc(model.predict(data.test.columns)[:, 1]):.4f}"
    sizes = trial.proxy.down - down, trial.proxy.up - up
    return Row(name, int(summary["num_rounds"]), seconds, *sizes, result)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen workloads one after the other and print the table."""
    options = _parser().parse_args(argv)
    data = Adult.load(options.data_dir)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tacet-") as home:
        trial = TableTrial(Path(home) / "trial", options.nodes, data.folder)
        try:
            with trial:
                for name in options.only or RUNS:
                    rows.append(measure(trial, name, data))
                    print(" | ".join(rows[-1].cells()), flush=True)
        except TrialError as error:
            print(f"FAIL {error}")
            return 1
        finally:
            trial.proxy.close()
    print(f"\n{options.nodes} nodes, TLS, all signed; {machine_line()}\n")
    print(table(HEADERS, [row.cells() for row in rows]))
    if options.json:
        write_json(options.json, "deployed_tables", {"rows": [asdict(row) for row in rows]})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deployed_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with adult.data and adult.test"
    )
    parser.add_argument("--nodes", type=positive, default=3)
    parser.add_argument("--only", nargs="+", choices=list(RUNS), metavar="RUN")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
