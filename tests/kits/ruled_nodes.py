"""Simulated nodes whose owners have a policy for exact sums, with keys or without."""

import json
from pathlib import Path

import yaml

from app.node.identity import new_key, write_peers
from app.simulation.in_process import simulate

COLUMNS = 'algorithm.columns=["mean texture","mean smoothness"]'
POLICY = {
    "dataset": "masses",
    "privacy": ["none"],
    "min_survivors": 3,
    "min_colluding": 0,
    "exact": ["glm"],
}


class RuledNodes:
    """Nodes with files of their own, which stay from run to run.

    Parameters
    ----------
    folder : Path
        Where all files lie.
    number : int
        How many nodes.
    changes : dict, optional
        What their policy says otherwise; None takes a key out.
    signed : bool
        Whether each has a key and knows the others.
    """

    def __init__(self, folder: Path, number=4, changes=None, *, signed=False) -> None:
        self.folder, self.number, self.signed = folder, number, signed
        policy = POLICY | {"require_identities": signed} | (changes or {})
        file = folder / "policy.yaml"
        file.write_text(yaml.safe_dump({k: v for k, v in policy.items() if v is not None}))
        file.chmod(0o600)
        self.entries = [
            {"policy-file": str(file), "state-path": str(folder / f"{node}.sqlite")}
            for node in range(number)
        ]
        if signed:
            named = {f"n{i}": new_key(folder / f"{i}.key") for i in range(number)}
            write_peers(folder / "peers.yaml", named)
            for node, entry in enumerate(self.entries):
                entry["identity-key"] = str(folder / f"{node}.key")
                entry["peers-file"] = str(folder / "peers.yaml")
        self._num_runs = 0

    def config(self, overrides: str = COLUMNS, members=None, **keys) -> dict:
        """Return the run config of a run over some of the nodes, by default a regression."""
        self._num_runs += 1
        chosen = range(self.number) if members is None else members
        file = self.folder / f"nodes{self._num_runs}.yaml"
        file.write_text(yaml.safe_dump([self.entries[node] for node in chosen]))
        given = {"task": "breast_cancer", "algorithm": "glm", "num-rounds": 12}
        given |= {"aggregation": "secagg", "simulation-nodes": str(file)}
        given |= {"output-dir": str(self.folder / f"run{self._num_runs}")}
        # T: so many members that no server learns both seeds of a node.
        least = (self.number + 3) // 2
        fixed = f"rounds.deadline_seconds=2 aggregation.min_survivors={least}"
        if self.signed:
            fixed += (
                f" aggregation.identities=true aggregation.peers_file={self.folder}/peers.yaml"
            )
        given |= {key.replace("_", "-"): value for key, value in keys.items()}
        return given | {"overrides": f"{fixed} {overrides}"}

    def run(self, overrides: str = COLUMNS, members=None, **keys) -> dict:
        """Run over some of the nodes; return what the run reports, or nothing."""
        config = self.config(overrides, members, **keys)
        simulate(config, self.number if members is None else len(members))
        report = Path(config["output-dir"]) / "report.json"
        return json.loads(report.read_text()) if report.exists() else {}
