"""Read a node's own configuration and its policy: nothing in them is the server's.

In a simulation all nodes share one machine and one user, so there, and only there, the run
config may say where data lies.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from app.config.load import ConfigError
from app.config.run import AppConfig
from app.node.node_config import (
    BASE_MODEL,
    CONTRIBUTION,
    DATA_PATH,
    IDENTITY_KEY,
    NUM_PARTITIONS,
    PARTITION_ID,
    PATHS,
    PEERS_FILE,
    POLICY_FILE,
    STATE_PATH,
    contribution_objection,
    paths,
)
from app.node.policy import Policy, PolicyError, load_policy
from tasks.base import DataSource
from tasks.records import DataError
from tasks.registry import task_of

_simulated_in_process = False


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """Hold a node's own configuration, with its policy as it was when it was read.

    The policy is here in place of its path, so that nobody reads the file again: what is
    checked and what is charged must be one version.

    Attributes
    ----------
    source : DataSource
        Which records are the node's.
    policy : Policy or None
        What the node's owner allows.
    state_path : Path or None
        The node's own file for secrets and ledger; None for a folder in the user's home.
    identity_key, peers_file : Path or None
        The node's private key and the file of the peers it knows.
    base_model : Path or None
        The file of the base that adapters stand on, or of a backbone.
    simulated : bool
        Whether the node is simulated: nobody is to be kept out then.
    contribution : bool
        Whether the node works out for itself what its part is worth, which doubles its work.
    """

    source: DataSource = field(default_factory=DataSource)
    policy: Policy | None = None
    state_path: Path | None = None
    identity_key: Path | None = None
    peers_file: Path | None = None
    base_model: Path | None = None
    simulated: bool = False
    contribution: bool = False

    @property
    def num_simulated(self) -> int | None:
        """Return how many nodes a simulation has; None in a deployment."""
        return self.source.num_partitions if self.simulated else None


def simulate_in_this_process() -> None:
    """Make this process a simulation. No message can: only ``app.simulation.in_process``."""
    global _simulated_in_process
    _simulated_in_process = True


def in_simulation() -> bool:
    """Whether this client process belongs to a simulation.

    In Flower's, a client runs inside a Ray worker. A SuperNode's client process never starts
    Ray, and no message can make it.
    """
    if _simulated_in_process:
        return True
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def check_simulation_only(config: AppConfig) -> None:
    """Refuse, outside a simulation, what only a simulation may be told.

    Raises
    ------
    ConfigError
        Naming the key.
    """
    for key in ("deterministic", "data_dir", "simulation_nodes"):
        if getattr(config, key):
            name = key.replace("_", "-")
            raise ConfigError(
                f"{name} works in a simulation only; in a deployment each node has its own"
                " data-path in --node-config, and randomness comes from its operating system"
            )


def settings_of(
    node_config: Mapping[str, Any], config: AppConfig, simulated: bool
) -> NodeSettings:
    """Read a node's settings from Flower's node config, and its policy from its file.

    Parameters
    ----------
    node_config : mapping
        ``partition-id``, ``num-partitions``, ``data-path``, ``state-path``, ``identity-key``,
        ``peers-file``, ``policy-file``, ``contribution``; all optional in a deployment.
    config : AppConfig
        Consulted for the simulation's data paths only.
    simulated : bool
        Whether this is a simulation.

    Raises
    ------
    ConfigError
        If the run config names paths outside a simulation.
    DataError
        If the node's own configuration is wrong, or its policy cannot be read.
    """
    if not simulated:
        check_simulation_only(config)
    own = dict(node_config)
    partition_id, num_partitions = _partition(own)
    if not own.keys() >= {PARTITION_ID, NUM_PARTITIONS} and task_of(config.task).is_shared:
        raise DataError(
            f"this node's --node-config lacks {PARTITION_ID} or {NUM_PARTITIONS}: all nodes"
            " share this task's data set, and each needs a part of its own"
        )
    if simulated and config.simulation_nodes:
        own |= simulation_nodes(config.simulation_nodes, partition_id)
    if simulated and config.data_dir:
        own.setdefault(DATA_PATH, config.data_dir)
    given = paths(own)
    policy, data_path = None, given.get(DATA_PATH)
    if policy_file := given.get(POLICY_FILE):
        policy = _read_policy(policy_file)
        data_path = _ruled_data_path(policy, policy_file, data_path)
    return NodeSettings(
        source=DataSource(partition_id, num_partitions, data_path),
        policy=policy,
        state_path=given.get(STATE_PATH),
        identity_key=given.get(IDENTITY_KEY),
        peers_file=given.get(PEERS_FILE),
        base_model=given.get(BASE_MODEL),
        simulated=simulated,
        contribution=_contribution(own, policy, simulated),
    )


def _contribution(own: Mapping[str, Any], policy: Policy | None, simulated: bool) -> bool:
    given = own.get(CONTRIBUTION, False)
    epsilon = policy.publish_gain_epsilon if policy is not None else None
    if told := contribution_objection(given, epsilon):
        raise DataError(told)
    if given and simulated and not own.get(STATE_PATH):
        raise DataError(
            f"{CONTRIBUTION}=true: a simulated node without {STATE_PATH} keeps nothing from"
            " round to round; give it one, or take this out"
        )
    return given


def _read_policy(policy_file: Path) -> Policy:
    try:
        return load_policy(policy_file)
    except PolicyError as error:
        raise DataError(str(error)) from None


def _ruled_data_path(policy: Policy, policy_file: Path, given: Path | None) -> Path | None:
    """Return the data path that the policy gives: its cap is for those records and no others.

    Raises
    ------
    DataError
        If the node's own configuration names another.
    """
    path = policy.data_path
    if path is None:
        return given
    if given is not None and given.resolve() != path.resolve():
        raise DataError(
            f"data-path={given} in --node-config, but the policy {policy_file} is for"
            f" data_path={path}; take one of them out"
        )
    return path


def _partition(own: Mapping[str, Any]) -> tuple[int, int]:
    numbers = own.get(PARTITION_ID, 0), own.get(NUM_PARTITIONS, 1)
    try:
        return int(numbers[0]), int(numbers[1])
    except (ValueError, TypeError):
        raise DataError(
            f"{PARTITION_ID}={numbers[0]!r}, {NUM_PARTITIONS}={numbers[1]!r}: must be whole"
            " numbers in --node-config"
        ) from None


def num_simulation_nodes(path: str) -> int:
    """Return how many nodes the file that maps nodes to their config has entries for.

    Raises
    ------
    DataError
        If the file is missing or malformed.
    """
    return len(_entries(path))


def simulation_nodes(path: str, partition_id: int) -> dict[str, Any]:
    """Return the entry of one simulated node in the file that maps nodes to their config.

    The file is a YAML list, one mapping for each node. Relative paths start at the file's own
    folder.

    Raises
    ------
    DataError
        If the file is missing or malformed, or has no entry for this node.
    """
    file, entries = Path(path).expanduser(), _entries(path)
    if partition_id >= len(entries):
        raise DataError(
            f"simulation-nodes={path}: {len(entries)} entries, but this is simulated node"
            f" {partition_id} (counted from 0); add an entry or start fewer SuperNodes"
        )
    entry = entries[partition_id]
    unknown = sorted(set(entry) - {*PATHS, CONTRIBUTION})
    if unknown:
        raise DataError(
            f"simulation-nodes={path}: entry {partition_id} has {unknown[0]!r};"
            f" only {', '.join((*PATHS, CONTRIBUTION))} may stand there"
        )
    found = {
        k: str(file.parent / Path(str(entry[k])).expanduser()) for k in PATHS if k in entry
    }
    return found | {k: v for k, v in entry.items() if k == CONTRIBUTION}


def _entries(path: str) -> list[dict[str, Any]]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
        entries: Any = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise DataError(f"simulation-nodes={path}: {told}") from None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise DataError(f"simulation-nodes={path}: must be a YAML list of mappings")
    return entries
