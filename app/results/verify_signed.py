"""The check of what the participants of a run have signed, as its log tells it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from app.results.run_log import BEGUN, CLOSED, ENDED, LOG, RESUMED, SIGNED, Head
from strategies.secagg.signed_sum import FalseSignatureError, SignedSum

#: Public key of each organisation, by the name that whoever verifies gives it.
Keys = Mapping[str, bytes]


class SignatureError(ValueError):
    """A signature or a head that does not fit the log. Names the line."""


def heads_that_differ(heads: Collection[Head], roots: Sequence[bytes]) -> list[Head]:
    """Return the heads that are not of the beginning of a log with these roots."""
    return [
        head for head in heads if head.size >= len(roots) or roots[head.size].hex() != head.root
    ]


def check_signatures(
    folder: Path, history: Sequence[Mapping[str, Any]], roots: Sequence[bytes], keys: Keys
) -> Iterator[str]:
    """Check what participants have signed, and tell what that shows.

    Parameters
    ----------
    folder : Path
        The run folder, whose files are as the log says.
    history : sequence of mapping
        The entries of its log.
    roots : sequence of bytes
        The roots over its first 0, 1, 2, ... entries.
    keys : mapping of str to bytes
        Public keys by name; of others' signatures only the form is checked.

    Raises
    ------
    SignatureError
        For the first one that does not fit.
    """
    from strategies.secagg.crypto.identity import fingerprint, pin

    peers = pin(list(keys.values()))
    names = {fingerprint(key): name for name, key in keys.items()}
    given: dict[str, int] = {}
    unknown: set[bytes] = set()
    num_signed = num_rounds = 0
    run_id, config, server_round = "", b"", 0
    for number, entry in enumerate(history, start=1):
        kind = entry["kind"]
        if kind in (BEGUN, RESUMED):
            run_id, server_round = str(entry.get("run_id")), int(entry.get("round", 0))
            config = _config_hash(folder, entry)
        server_round += kind == CLOSED
        num_rounds += kind == CLOSED
        if SIGNED not in entry:
            continue
        try:
            signed = SignedSum.from_dict(entry[SIGNED])
            signers, others = signed.signers(peers)
            about = server_round + (kind == ENDED)
            _require_here(signed, (run_id, about), config, roots[:number])
            if kind == ENDED:
                _require_model(folder, signed)
        except (FalseSignatureError, SignatureError) as error:
            raise SignatureError(f"{LOG}, line {number}: {error}") from None
        num_signed += kind == CLOSED
        unknown.update(others)
        for who in signers:
            given[names[who]] = given.get(names[who], 0) + (kind == CLOSED)
    if keys and num_rounds and not num_signed:
        raise SignatureError(
            f"{LOG}: keys were given, and no round carries a signature: the run was without"
            " aggregation.identities, or somebody took them out"
        )
    yield from _told(given, len(unknown), num_signed, num_rounds, SIGNED in history[-1])


def _require_here(
    signed: SignedSum, place: tuple[str, int], config: bytes, roots: Sequence[bytes]
) -> None:
    """Refuse signatures that belong to another run, round, configuration or history."""
    run_id, server_round = place
    if (str(signed.attempt.run_id), signed.attempt.round) != (run_id, server_round):
        raise SignatureError(
            f"signatures of run {signed.attempt.run_id}, round {signed.attempt.round}"
        )
    if config and signed.binding.config != config:
        raise SignatureError("participants have signed another configuration than config.yaml")
    head = Head.signed(signed.log_head)
    if head.size != len(roots) - 1 or heads_that_differ([head], roots):
        raise SignatureError(
            f"participants have signed another log: {head.size} entries, {head.root}"
        )


def _require_model(folder: Path, signed: SignedSum) -> None:
    from app.results.model_file import ModelFileError, hash_of_model

    try:
        found = hash_of_model(folder / "model.safetensors")
    except ModelFileError as error:
        raise SignatureError(str(error)) from None
    if found != signed.binding.model:
        raise SignatureError("participants have scored another model than model.safetensors")


def _config_hash(folder: Path, entry: Mapping[str, Any]) -> bytes:
    """Return what participants sign of ``config.yaml``; empty of a resume that replaced it."""
    content = (folder / "config.yaml").read_bytes()
    if sha256(content).hexdigest() != entry.get("config"):
        return b""
    values = yaml.load(content, yaml.CSafeLoader)
    return sha256(json.dumps(values, sort_keys=True).encode()).digest()


def _told(
    given: Mapping[str, int], num_unknown: int, num_signed: int, num_rounds: int, scored: bool
) -> Iterator[str]:
    if not num_signed:
        return
    yield (
        f"{num_signed} of {num_rounds} rounds carry their participants' signatures, each over"
        " the log until then, config.yaml and the model that it began from"
    )
    if scored:
        yield "those who scored model.safetensors have signed that it is that"
    for name, rounds in sorted(given.items()):
        yield f"{name} has signed its part in {rounds} rounds"
    if num_unknown:
        yield f"{num_unknown} more have signed, whose keys are not given"
