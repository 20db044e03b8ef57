"""Check what protects a node, from its own configuration. Changes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.node.identity import IdentityError, peer_lines, read_peers, readable_fingerprint
from app.node.node_config import (
    CONTRIBUTION,
    DATA_PATH,
    IDENTITY_KEY,
    PEERS_FILE,
    POLICY_FILE,
    STATE_PATH,
    contribution_objection,
    paths,
    unknown,
)
from app.node.permissions import objection
from app.node.policy import NONE, Policy, PolicyError, load_policy
from app.preflight.worst_case import worst_case
from privacy.ledger.budget import LedgerError
from privacy.ledger.heads import verify
from privacy.ledger.ledger import Ledger
from privacy.ledger.rows import reading
from privacy.ledger.spent import summary_line
from tasks.base import DataSource

_LOCK_SECONDS = 5.0


@dataclass
class Findings:
    """Result of a check: lines to print, and gaps in the node's protection."""

    lines: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


def inspect(node_config: dict[str, Any], task: str | None = None) -> Findings:
    """Inspect every file that a node's configuration names.

    With the name of a YAML in conf/task, the records are held against it as well.
    """
    found, given = Findings(), paths(node_config)
    found.gaps += unknown(node_config)
    policy = _policy(given.get(POLICY_FILE), found)
    epsilon = policy.publish_gain_epsilon if policy is not None else None
    if told := contribution_objection(node_config.get(CONTRIBUTION, False), epsilon):
        found.gaps.append(told)
    _identity(given.get(IDENTITY_KEY), given.get(PEERS_FILE), policy, found)
    place = _data(given.get(DATA_PATH), policy, found)
    if task is not None and place is not None:
        _records(place, task, policy, found)
    _state(given.get(STATE_PATH), policy, found)
    if policy is not None:
        found.lines += ["", *worst_case(policy), ""]
    return found


def _policy(path: Path | None, found: Findings) -> Policy | None:
    if path is None:
        found.gaps.append("policy-file is not given: the node accepts whatever a run asks")
        return None
    try:
        policy = load_policy(path)
    except PolicyError as error:
        found.gaps.append(str(error))
        return None
    cap = (
        f"epsilon {policy.max_epsilon:g} at delta {policy.delta:g}" if policy.budget else "none"
    )
    found.lines += [
        f"policy:    {path}",
        f"data set:  {policy.dataset}",
        f"unit:      {policy.unit or 'none'}",
        f"privacy:   {', '.join(policy.privacy)}",
        f"floors:    min_survivors {policy.min_survivors}, min_colluding"
        f" {policy.min_colluding}, min_noise_multiplier {policy.min_noise_multiplier:g}",
        f"cap:       {cap}",
        f"cohorts:   {_cohorts(policy)}",
        f"models:    {_models(policy)}",
        *_published(policy),
    ]
    if policy.exact:
        found.lines.append(
            f"exact:     {', '.join(policy.exact)}; a server that chooses what such a sum asks"
            " can single out a record; `tacet node allow-cohort` shows over whom"
        )
    found.gaps += _gaps(policy)
    return policy


def _gaps(policy: Policy) -> Iterator[str]:
    """Yield what the policy leaves open, each with the mend."""
    if not policy.budget:
        yield "no cap: give max_epsilon and delta in the policy"
    if NONE in policy.privacy:
        yield "privacy lists none: such runs bound nothing; take it out"
    if policy.min_survivors == 1:
        yield "min_survivors=1: a run may show the server each contribution; raise it"
    if not policy.require_identities:
        yield (
            "require_identities=false: a server can play all other nodes itself, and tell each"
            " node of other survivors; take it out"
        )
    if policy.allow_sparse_graph:
        yield (
            "allow_sparse_graph=true: above 32 nodes a malicious server can surround this node"
            " with those that suit it; take it out"
        )
    if policy.allow_classical_keys:
        yield (
            "allow_classical_keys=true: whoever records what this node sends can read it once"
            " there are quantum computers; take it out"
        )
    if not policy.bundles:
        yield (
            "bundles is not given: the server chooses the code that runs here; list what"
            " `tacet bundle hash` prints for the code that you reviewed"
        )


def _models(policy: Policy) -> str:
    if policy.model_signers is None:
        return "a run may begin with any (model_signers)"
    listed = " or ".join(policy.model_signers)
    return "a run begins untrained" + (f", or with one signed by {listed}" if listed else "")


def _published(policy: Policy) -> list[str]:
    """Return a line on what the node's replies say of the node itself; none for nothing."""
    epsilon = policy.publish_gain_epsilon
    parts = ["what is left of its cap"] * policy.publish_budget
    if epsilon is not None:
        parts.append(f"once for each run what it gains, noised, for epsilon {epsilon:g}")
    return [f"publishes: {', '.join(parts)}"] if parts else []


def _cohorts(policy: Policy) -> str:
    most = policy.max_cohort_changes
    if most is None:
        return "may change from round to round by any number (max_cohort_changes)"
    return f"may change by a few nodes {most} times a run, else by T or more"


def _identity(
    key: Path | None, peers: Path | None, policy: Policy | None, found: Findings
) -> None:
    own = _own_key(key, found)
    if peers is None:
        found.gaps.append("peers-file is not given: make it with `tacet keys merge`")
        return
    try:
        named = read_peers(peers)
    except IdentityError as error:
        found.gaps.append(str(error))
        return
    found.lines += ["peers:", *(f"  {line}" for line in peer_lines(named))]
    if told := objection(peers):
        found.gaps.append(told)
    if own is not None and own not in named.values():
        found.gaps.append(f"{peers}: this node's own key is not in it; merge the file anew")
    others = sum(public != own for public in named.values())
    if policy is not None and others < policy.min_survivors - 1:
        found.gaps.append(
            f"{peers}: {others} others, but min_survivors={policy.min_survivors}: no sum can"
            " ever be opened; add peers, or lower it"
        )


def _own_key(path: Path | None, found: Findings) -> bytes | None:
    """Return the public part of the node's own key."""
    if path is None:
        found.gaps.append("identity-key is not given: make one with `tacet keys new`")
        return None
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
        told = objection(path, is_secret=True)
    except OSError as error:
        found.gaps.append(f"{path}: {error.strerror}")
        return None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key, told = None, None
    if not isinstance(key, Ed25519PrivateKey):
        found.gaps.append(f"{path}: no Ed25519 private key; make one with `tacet keys new`")
        return None
    if told:
        found.gaps.append(told)
    own = key.public_key().public_bytes_raw()
    found.lines.append(f"identity:  {readable_fingerprint(own)}")
    return own


def _data(path: Path | None, policy: Policy | None, found: Findings) -> Path | None:
    """Return where the records lie, if anything is there."""
    ruled = policy.data_path if policy is not None else None
    place = ruled or path
    if place is None:
        found.gaps.append("data-path is not given, and data_path is not in the policy")
        return None
    found.lines.append(f"data:      {place}")
    if ruled and path and ruled.resolve() != path.resolve():
        found.gaps.append(f"data-path={path}, but the policy's data_path is {ruled}; drop one")
    if not place.exists():
        found.gaps.append(f"{place}: nothing is there; mend data-path")
        return None
    return place


def _records(place: Path, task: str, policy: Policy | None, found: Findings) -> None:
    """Hold the records against a task: as a private run does if the policy allows no other."""
    # Hydra takes seconds.
    from app.config.load import ConfigError
    from app.preflight.data_check import check_data

    is_private = policy is not None and NONE not in policy.privacy
    try:
        seen = check_data(task, DataSource(data_path=place), is_private=is_private)
    except ConfigError as error:
        found.gaps.append(f"--task: {error}")
        return
    found.lines += seen.lines
    if seen.objection:
        found.gaps.append(f"{place} contributes nothing to {task}: {seen.objection}")


def _state(path: Path | None, policy: Policy | None, found: Findings) -> None:
    if path is None:
        found.gaps.append(
            "state-path is not given: the file is then named after the node's id, and a new"
            " id begins an empty ledger"
        )
        return
    found.lines.append(f"state:     {path}")
    found.gaps += _unusable(path)
    if path.is_file():
        try:
            with reading(path) as connection:
                verify(connection, path)
        except LedgerError as error:
            found.gaps.append(str(error))
            return
    if policy is None or policy.budget is None:
        return
    if not path.exists():
        found.lines.append("spent:     nothing; the file is made by the first message")
        return
    try:
        spent = Ledger(path, policy.dataset).spent(policy.budget.delta)
    except LedgerError as error:
        found.gaps.append(str(error))
        return
    left = max(0.0, policy.budget.epsilon - spent.epsilon)
    found.lines += [f"spent:     {summary_line(spent)}", f"left:      epsilon {left:.4g}"]
    if spent.unit and spent.unit != policy.unit:
        found.gaps.append(
            f"{path}: holds charges for the unit {spent.unit}, but unit={policy.unit}; mend"
            " the policy"
        )
    if not left:
        found.gaps.append(f"{path}: the cap is spent; this node will refuse every private run")


def _unusable(path: Path) -> Iterator[str]:
    """Yield why the node could not write its file, without writing anything."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        yield f"{folder}: not a folder that this user may write, so state-path={path} fails"
        return
    if not path.exists():
        return
    if not os.access(path, os.W_OK):
        yield f"{path}: this user may not write it; run this as the node's user"
        return
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_LOCK_SECONDS
        )
        try:
            connection.execute("BEGIN IMMEDIATE")
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield f"{path}: {error}; end what holds it, or mend state-path"
