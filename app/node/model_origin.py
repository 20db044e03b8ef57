"""The rule that a node takes models of known origin only (``model_signers`` in the policy).

In round 1 the state must be the one that this node makes itself from the configuration, or the
one whose hash an entry names that a listed key has signed. In a later round the model has
changed by training, and a node knows its own part of that only: then the entry's signature is
looked at, where one comes, and nothing else. So the rule keeps out models that an honest server
was given, and not a server that lies about the number of the round.
"""

from __future__ import annotations

import re
from pathlib import Path

from app.node.followed_state import agree
from app.node.identity import IdentityError, own_peers
from app.node.model_entry import EntryError, ModelEntry, SignedEntry
from app.node.policy import Policy, PolicyError
from app.node.session import NodeSession
from strategies.refusals import Reason, RequestRefusedError
from workloads.base import Workload
from workloads.model_arrays import hash_state
from workloads.values import State


class UnknownOriginError(ValueError):
    """A model that nobody whom this node knows has signed. For the node's own log."""


def require_known_origin(
    session: NodeSession, workload: Workload, state: State, server_round: int, told: str | None
) -> None:
    """Refuse a model of unknown origin, where the node's owner demands a known one.

    Parameters
    ----------
    session : NodeSession
        Of this message.
    workload : Workload
        Of the run.
    state : State
        As it came.
    server_round : int
        Likewise, from 1.
    told : str or None
        The content of ``entry.json`` that came with it; empty where the run began with a model
        without one, None where it did not begin with another run's model.

    Raises
    ------
    RequestRefusedError
        If it is unknown, or the policy names somebody whom the peers file does not.
    """
    policy = session.policy
    if policy is None or policy.model_signers is None:
        return
    try:
        entry = _entry(policy, session.settings.peers_file, told)
        if server_round == 1:
            _require_first(workload, state, entry)
    except (UnknownOriginError, EntryError) as error:
        told_why = UnknownOriginError(
            f"round {server_round}: {error}. This node's policy has model_signers: it takes the"
            " untrained model, or one that a listed key has signed (`tacet models tag`); let"
            " the coordinator give such an entry's folder as initial-model, or list the signer"
        )
        raise RequestRefusedError(Reason.MODEL_OF_UNKNOWN_ORIGIN) from told_why
    except PolicyError as error:
        raise RequestRefusedError(Reason.POLICY_REFUSED) from error


def signer_keys(policy: Policy, peers_file: Path | None) -> dict[str, bytes]:
    """Return the public keys that ``model_signers`` lists, by what it calls them.

    Raises
    ------
    PolicyError
        Naming who is not in the peers file.
    """
    listed = policy.model_signers or ()
    names = [one for one in listed if not _is_key(one)]
    try:
        known = own_peers(peers_file) if names and peers_file is not None else {}
    except IdentityError as error:
        raise PolicyError(f"this node's policy: model_signers: {error}") from None
    for name in names:
        if name not in known:
            where = peers_file or "this node's --node-config, which names no peers-file"
            raise PolicyError(
                f"this node's policy: model_signers: {name!r} is not in {where}; add its key"
                " (`tacet keys merge`), or list the 64 hexadecimal digits of the key itself"
            )
    return {one: bytes.fromhex(one) if _is_key(one) else known[one] for one in listed}


def _is_key(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def _entry(policy: Policy, peers_file: Path | None, told: str | None) -> ModelEntry | None:
    """Return what came with the request, signed by a listed key; None if nothing came."""
    keys = signer_keys(policy, peers_file)
    if told is None:
        return None
    if not told:
        raise UnknownOriginError("the run began with a model that no entry names")
    signed = SignedEntry.parse(told.encode("utf-8", "replace"))
    signed.require_signed_by(keys)
    return signed.entry


def _require_first(workload: Workload, state: State, entry: ModelEntry | None) -> None:
    asked = hash_state(state, {}, workload.loads_as).hex()
    if entry is not None:
        if asked != entry.state:
            raise UnknownOriginError(
                f"the model has the hash {asked}, and {entry.reference} is {entry.state}"
            )
        return
    # It is drawn from the seed: the same on all machines but for the last digits.
    if not agree(workload.initial_state(), state):
        raise UnknownOriginError(
            "the model is not the untrained one of this configuration, and no signed entry came"
            " with it"
        )
