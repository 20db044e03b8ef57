"""Private runs in one process, with nodes that have a ledger and perhaps a policy."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from app.preflight.run_plan import RunPlan
from app.simulation.in_process import simulate
from privacy.ledger.ledger import Ledger
from privacy.ledger.spent import Spent
from tests.kits.traced import Traced

FAST = "rounds.deadline_seconds=0.3"
_STEPS = "task.training.num_steps=2"
DELTA = 1e-3
ADAPTIVE = "privacy.adaptive_clip.bit_noise=5"
_COMMON = "privacy.noise_multiplier=2 privacy.delta=1e-3 privacy.clip_norm=0.5"
_MASKED = "aggregation.min_survivors=3"

#: Aggregations that each option may have.
LEGAL = {
    "example_local": ("plain", "secagg"),
    "example_distributed": ("secagg",),
    "example_central": ("plain", "secagg"),
    "client_local": ("plain", "secagg"),
    "client_distributed": ("secagg",),
    "client_central": ("plain", "secagg"),
}
MATRIX = [(option, how) for option, hows in LEGAL.items() for how in hows]


def overrides(option: str, population: int = 4, rate: float = 1.0, noise: str = "") -> str:
    """Return what an option needs, with given noise: nothing is calibrated, which is slow."""
    words = [_COMMON, f"privacy.population={population}", FAST]
    if option not in ("example_distributed", "example_central"):
        words.append(_STEPS)
    if option.startswith("example"):
        local = option == "example_local"
        words.append(f"privacy.sampling_rate={rate}")
        words.append(f"privacy.expected_batch_size={114 if local else 456}")
    if option.endswith("distributed"):
        words.append(_MASKED)
        words.append(f"privacy.mechanism={noise}" if noise else "")
    return " ".join(words)


def run_config_of(folder: Path, option: str, aggregation: str, free: str = "", **keys) -> dict:
    """Return a run config; ``keys`` have underscores for hyphens.

    Keys are agreed as in a deployment, for one of the nodes may answer as there (``RealNode``).
    """
    if aggregation == "secagg":
        free += " aggregation.key_agreement=hybrid"
    population = keys.pop("population", 4)
    rate = keys.pop("rate", 1.0)
    return {
        "task": "breast_cancer",
        "aggregation": aggregation,
        "privacy": option,
        "num-rounds": 3,
        "output-dir": str(folder / "run"),
        "overrides": f"{overrides(option, population, rate)} {free}",
        **{key.replace("_", "-"): value for key, value in keys.items()},
    }


def composing(option: str, aggregation: str = "secagg", free: str = "", **keys) -> dict:
    """Return a run config that is to be composed or planned, not run."""
    needed = overrides(option)
    if aggregation == "plain":
        needed = needed.replace("aggregation.min_survivors=3", "")
    return {
        "task": "breast_cancer",
        "privacy": option,
        "aggregation": aggregation,
        "overrides": f"{needed} {free}",
        **keys,
    }


def policy(option: str = "", **changes) -> dict:
    """Return a policy that lets the runs of ``run_config_of`` pass."""
    return {
        "dataset": "records",
        "privacy": [option],
        "unit": option.partition("_")[0],
        "max_epsilon": 1e6,
        "delta": DELTA,
        "min_survivors": 1 if "distributed" not in option else 3,
        "min_colluding": 0,
        "require_identities": False,
    } | changes


def write_policy(file: Path, values: dict) -> Path:
    """Write a policy file that only its owner may write."""
    file.write_text(yaml.safe_dump(values))
    file.chmod(0o644)
    return file


class Nodes:
    """Simulated nodes, each with a state file; a node that has a policy has it in a file.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    number : int
        How many nodes.
    policies : dict
        Number of the node to its policy.
    """

    def __init__(self, folder: Path, number: int, policies: dict | None = None) -> None:
        self.folder, self.number = folder, number
        entries = []
        for node in range(number):
            entry = {"state-path": f"node{node}/state.sqlite"}
            if policies and node in policies:
                write_policy(folder / f"policy{node}.yaml", policies[node])
                entry["policy-file"] = f"policy{node}.yaml"
            entries.append(entry)
        self.file = folder / "nodes.yaml"
        self.file.write_text(yaml.safe_dump(entries))

    def state(self, node: int) -> Path:
        """Return a node's own file."""
        return self.folder / f"node{node}" / "state.sqlite"

    def spent(self, node: int, dataset: str = "simulated", delta: float = DELTA) -> Spent:
        """Return what a node's own ledger shows."""
        return Ledger(self.state(node), dataset).spent(delta)


def has_charged(file: Path) -> bool:
    """Return whether a node's file holds a charge; one that is not there has none."""
    if not file.exists():
        return False
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        named = database.execute("SELECT name FROM sqlite_master WHERE name = 'ledger_charges'")
        if named.fetchone() is None:
            return False
        return database.execute("SELECT 1 FROM ledger_charges").fetchone() is not None


def planned_epsilon(plan: RunPlan, colluding: int = 1) -> float:
    """Return what the plan says of the server, or where it is trusted, of all others."""
    for adversary in plan.adversaries:
        all_others = "all other participants" in adversary.who
        if adversary.num_colluding == colluding or all_others:
            return adversary.epsilon
    raise LookupError(plan.adversaries)


def run_with_ledgers(tmp_path, option, aggregation, free="", number=4, fault=None, **keys):
    """Run with nodes whose ledgers can be read; return the run and the nodes."""
    nodes = Nodes(tmp_path, number)
    keys = {"simulation_nodes": str(nodes.file), "population": number, **keys}
    run_config = run_config_of(tmp_path, option, aggregation, free, **keys)
    traced = Traced(run_config, number, *([fault] if fault else []))
    return traced, nodes


def sent_by(run_config, number, error, match) -> list:
    """Return what was sent by a run that is refused with this error."""
    sent = []
    clients = {1000 + n: lambda message: sent.append(message) for n in range(number)}
    with pytest.raises(error, match=match):
        simulate(run_config, number, clients)
    return sent
