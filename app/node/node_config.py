"""Keys of a node's own configuration, and reader of the string that gives it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from app.config.pairs import parse_pairs

DATA_PATH = "data-path"
STATE_PATH = "state-path"
IDENTITY_KEY = "identity-key"
PEERS_FILE = "peers-file"
POLICY_FILE = "policy-file"
BASE_MODEL = "base-model"
PARTITION_ID = "partition-id"
NUM_PARTITIONS = "num-partitions"
CONTRIBUTION = "contribution"

#: The keys that name a file or a folder.
PATHS = (DATA_PATH, STATE_PATH, IDENTITY_KEY, PEERS_FILE, POLICY_FILE, BASE_MODEL)
_KNOWN = (*PATHS, PARTITION_ID, NUM_PARTITIONS, CONTRIBUTION)


class NodeConfigError(ValueError):
    """A node config that Flower would not take."""


def parse(text: str) -> dict[str, Any]:
    """Return the node config, as ``flower-supernode`` reads it.

    Raises
    ------
    NodeConfigError
        If it is not of the form ``key1="text" key2=3``, or not a TOML file.
    """
    try:
        values = parse_pairs(text)
    except ValueError as error:
        raise NodeConfigError(f"--node-config {text!r}: {error}") from None
    if not values:
        raise NodeConfigError(
            f"--node-config {text!r}: nothing in it; give e.g. 'policy-file=\"/etc/p.yaml\"'"
        )
    return values


def paths(values: Mapping[str, Any]) -> dict[str, Path]:
    """Return the paths of a node config by key."""
    return {key: Path(str(values[key])).expanduser() for key in PATHS if values.get(key)}


def unknown(values: Collection[str]) -> list[str]:
    """Return a line for each key that Tacet does not read."""
    lines: list[str] = []
    for key in sorted(set(values) - set(_KNOWN)):
        close = difflib.get_close_matches(key, _KNOWN, n=1)
        mend = f"did you mean {close[0]}?" if close else f"Tacet reads {', '.join(_KNOWN)}"
        lines.append(f"{key}: nothing reads it; {mend}")
    return lines


def contribution_objection(value: Any, gain_epsilon: float | None) -> str:
    """Return why the key ``contribution`` cannot be so; empty if it can.

    Parameters
    ----------
    value : Any
        As it was given; False where it was not.
    gain_epsilon : float or None
        The policy's ``publish_gain_epsilon``.
    """
    if not isinstance(value, bool):
        return f"{CONTRIBUTION}={value!r} in --node-config: must be true or false, unquoted"
    if gain_epsilon is not None and not value:
        return (
            f"publish_gain_epsilon={gain_epsilon:g} in the policy: a gain is only worked out"
            f" with {CONTRIBUTION}=true in --node-config; add that"
        )
    return ""
