"""The files of a trial federation: keys, policies, records, and Flower's connection.

Made by the commands of ``docs/deployment.md``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from app.simulation.superlink import flower_environment, free_port, tool
from deploy.records import write_records

ROOT = Path(__file__).resolve().parent.parent
CONNECTION = "trial"
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
    """A part of the federation that did not start or end as it should."""


class TrialHome:
    """A folder with everything of one federation, and the commands that are run in it.

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
    guarded : bool
        ``tacet supernode``; or else Flower's own, for comparison.
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
        guarded: bool = True,
    ) -> None:
        self.home, self.num_nodes, self.app = home, num_nodes, app
        self.supernode = ("tacet", "supernode") if guarded else ("flower-supernode",)
        self.port = free_port()
        self.environment = flower_environment(home / "flower")
        self._approved = (app, *others)
        self._floors = (max_epsilon, min_survivors, min_colluding)

    def prepare(self) -> None:
        """Make certificates, keys, identities, policies, records and Flower's connection."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.tacet("keys", "tls", "tls", "--host", "127.0.0.1", "localhost")
        for number in range(self.num_nodes):
            self.make_keys(number)
        public = [f"node-{n}=node-{n}/identity.pub" for n in range(self.num_nodes)]
        self.tacet("keys", "merge", "--out", "peers", *public)
        hashes = [self.tacet("bundle", "hash", str(app)).strip() for app in self._approved]
        self.bundles = ", ".join(hashes)
        for number in range(self.num_nodes):
            self.furnish(number)
        flower = self.home / "flower"
        flower.mkdir()
        (flower / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "127.0.0.1:{self.port}"\n'
            f'root-certificates = "{self.home / "tls" / "ca.crt"}"\n'
        )

    def make_keys(self, number: int) -> None:
        """Make a node's folder, its Flower key and its identity."""
        self.node_home(number).mkdir()
        self.tacet("keys", "node", f"node-{number}/flower-key")
        self.tacet("keys", "new", f"node-{number}/identity")

    def furnish(self, number: int) -> None:
        """Give a node the peers file, a policy and one of the parts of the records."""
        own, part = self.node_home(number), number % self.num_nodes
        shutil.copy(self.home / "peers", own / "peers")
        self.write_policy(number, self.bundles)
        write_records(own / "records.csv", part, self.num_nodes)

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

    def log(self, name: str) -> str:
        """Return what a process has written so far, e.g. ``node-0``."""
        return (self.home / f"{name}.log").read_text(errors="replace")

    def tacet(self, *arguments: str) -> str:
        """Run the ``tacet`` command in the home folder and return what it printed."""
        return self._call("tacet", *arguments)

    def flwr(self, *arguments: str, seconds: float = 120.0) -> str:
        """Run the ``flwr`` command and return what it printed."""
        return self._call("flwr", *arguments, seconds=seconds)

    def _call(self, name: str, *arguments: str, seconds: float = 120.0) -> str:
        result = subprocess.run(
            [tool(name), *arguments],
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
