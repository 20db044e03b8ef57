"""What a node knows of itself, from its own configuration and never from the server's.

In a simulation all nodes share one machine and one user, so there, and only there, the run
config may say where data lies.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from app.config.load import ConfigError, task_of
from app.config.run import AppConfig
from app.node.policy import PolicyError, load_policy
from tasks.base import DataError, Node

_DATA_PATH = "data-path"
_PATHS = {
    _DATA_PATH: "data_path",
    "state-path": "state_path",
    "identity-key": "identity_key",
    "peers-file": "peers_file",
    "policy-file": "policy_file",
}
_PARTITION_ID = "partition-id"
_NUM_PARTITIONS = "num-partitions"


_simulated_in_process = False


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


def node_of(node_config: Mapping[str, Any], config: AppConfig, simulated: bool) -> Node:
    """Build the node from Flower's node config.

    Parameters
    ----------
    node_config : mapping
        ``partition-id``, ``num-partitions``, ``data-path``, ``state-path``, ``identity-key``,
        ``peers-file``, ``policy-file``; all optional in a deployment.
    config : AppConfig
        Consulted for the simulation's data paths only.
    simulated : bool
        Whether this is a simulation.

    Raises
    ------
    ConfigError
        If the run config names paths outside a simulation.
    DataError
        If the node's own configuration is wrong.
    """
    if not simulated:
        check_simulation_only(config)
    own = dict(node_config)
    partition_id, num_partitions = _partition(own)
    if not own.keys() >= {_PARTITION_ID, _NUM_PARTITIONS} and task_of(config).is_shared:
        raise DataError(
            f"this node's --node-config lacks {_PARTITION_ID} or {_NUM_PARTITIONS}: all nodes"
            " share this task's data set, and each needs a part of its own"
        )
    if simulated and config.simulation_nodes:
        own |= simulation_nodes(config.simulation_nodes, partition_id)
    if simulated and config.data_dir:
        own.setdefault(_DATA_PATH, config.data_dir)
    paths = {
        field: Path(str(own[key])).expanduser() for key, field in _PATHS.items() if own.get(key)
    }
    if "policy_file" in paths:
        paths |= _data_path_of(paths["policy_file"], paths.get("data_path"))
    return Node(
        partition_id=partition_id,
        num_partitions=num_partitions,
        simulated=simulated,
        **paths,
    )


def _data_path_of(policy_file: Path, given: Path | None) -> dict[str, Path]:
    """Return the data path that the policy gives: its cap is for those records and no others.

    Raises
    ------
    DataError
        If the node's own configuration names another, or the policy cannot be read.
    """
    try:
        path = load_policy(policy_file).data_path
    except PolicyError as error:
        raise DataError(str(error)) from None
    if path is None:
        return {}
    if given is not None and given.resolve() != path.resolve():
        raise DataError(
            f"data-path={given} in --node-config, but the policy {policy_file} is for"
            f" data_path={path}; take one of them out"
        )
    return {"data_path": path}


def _partition(own: Mapping[str, Any]) -> tuple[int, int]:
    numbers = own.get(_PARTITION_ID, 0), own.get(_NUM_PARTITIONS, 1)
    try:
        return int(numbers[0]), int(numbers[1])
    except (ValueError, TypeError):
        raise DataError(
            f"{_PARTITION_ID}={numbers[0]!r}, {_NUM_PARTITIONS}={numbers[1]!r}: must be whole"
            " numbers in --node-config"
        ) from None


def simulation_nodes(path: str, partition_id: int) -> dict[str, Any]:
    """Return the entry of one simulated node in the file that maps nodes to their config.

    The file is a YAML list, one mapping for each node. Relative paths start at the file's own
    folder.

    Raises
    ------
    DataError
        If the file is missing or malformed, or has no entry for this node.
    """
    file = Path(path).expanduser()
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"simulation-nodes={path}: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise DataError(f"simulation-nodes={path}: must be a YAML list of mappings")
    if partition_id >= len(entries):
        raise DataError(
            f"simulation-nodes={path}: {len(entries)} entries, but this is simulated node"
            f" {partition_id} (counted from 0); add an entry or start fewer SuperNodes"
        )
    entry: dict[str, Any] = entries[partition_id]
    unknown = sorted(set(entry) - set(_PATHS))
    if unknown:
        raise DataError(
            f"simulation-nodes={path}: entry {partition_id} has {unknown[0]!r};"
            f" only {', '.join(_PATHS)} may stand there"
        )
    return {key: str(file.parent / Path(str(p)).expanduser()) for key, p in entry.items()}
