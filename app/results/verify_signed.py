"""The check of what the participants of a run have signed, as its log tells it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from app.results.run_log import (
    BEGUN,
    CHANGEABLE,
    CLOSED,
    ENDED,
    LOG,
    RESUMED,
    SIGNED,
    Head,
    hash_of_bytes,
)
from strategies.secagg.signed_sum import FalseSignatureError, SignedSum

# In C, where there is one: it takes a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Public key of each organisation, by the name that whoever verifies gives it.
Keys = Mapping[str, bytes]


class SignatureError(ValueError):
    """A signature or a head that does not fit the log. Names the line."""


@dataclass(frozen=True)
class Signatures:
    """What the signatures of a run show.

    Attributes
    ----------
    lines : tuple of str
        What was checked, for a person.
    not_verified : tuple of str
        What they leave open.
    """

    lines: tuple[str, ...]
    not_verified: tuple[str, ...]


def heads_that_differ(heads: Collection[Head], roots: Sequence[bytes]) -> list[Head]:
    """Return the heads that are not of the beginning of a log with these roots."""
    return [
        head for head in heads if head.size >= len(roots) or roots[head.size].hex() != head.root
    ]


def check_signatures(
    folder: Path, history: Sequence[Mapping[str, Any]], roots: Sequence[bytes], keys: Keys
) -> Signatures:
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
        Public keys by name; of others' signatures only the form is checked, and they show
        nothing.

    Raises
    ------
    SignatureError
        For the first one that does not fit, or if none is by one of the keys.
    """
    from strategies.secagg.crypto.identity import fingerprint, pin

    peers = pin(list(keys.values()))
    names = {fingerprint(key): name for name, key in keys.items()}
    found = _Found()
    run_id, config = "", b""
    for number, entry in enumerate(history, start=1):
        kind = entry["kind"]
        found.take(kind, entry)
        try:
            if kind in (BEGUN, RESUMED):
                run_id, config = str(entry.get("run_id")), b""
            if SIGNED not in entry:
                continue
            config = config or _config_hash(folder, history[:number])
            signed = SignedSum.from_dict(entry[SIGNED])
            signers, others = signed.signers(peers)
            about = len(found.rounds) + (kind == ENDED)
            _require_here(signed, (run_id, about), config, roots[:number])
            if kind == CLOSED and entry.get("num_replies") != len(signed.survivors):
                raise SignatureError(
                    f"num_replies={entry.get('num_replies')!r}, and {len(signed.survivors)}"
                    " have signed"
                )
            # An older end speaks of a model that a resumed run has replaced.
            if kind == ENDED and not _goes_on(history[number:]):
                _require_model(folder, signed)
                found.scored = sorted(names[who] for who in signers)
        except (FalseSignatureError, SignatureError) as error:
            raise SignatureError(f"{LOG}, line {number}: {error}") from None
        found.note(number, kind, [names[who] for who in signers], others)
    return _told(found, keys, len(history))


@dataclass
class _Found:
    """Who has signed which rounds that count; a resumed run may do some again."""

    #: Of each round the names, None where it carries no signature.
    rounds: list[list[str] | None] = field(default_factory=list[list[str] | None])
    scored: list[str] = field(default_factory=list[str])
    unknown: set[bytes] = field(default_factory=set[bytes])
    #: Lines of the log over which a known key has signed.
    num_lines: int = 0

    def take(self, kind: str, entry: Mapping[str, Any]) -> None:
        if kind == RESUMED:
            del self.rounds[entry["round"] :]
        if kind == CLOSED:
            self.rounds.append(None)

    def note(self, line: int, kind: str, known: list[str], others: list[bytes]) -> None:
        if kind == CLOSED:
            self.rounds[-1] = known
        self.unknown.update(others)
        if known:
            self.num_lines = line - 1


def _goes_on(later: Sequence[Mapping[str, Any]]) -> bool:
    return any(entry["kind"] in (RESUMED, CLOSED) for entry in later)


def _require_here(
    signed: SignedSum, place: tuple[str, int], config: bytes, roots: Sequence[bytes]
) -> None:
    """Refuse signatures that belong to another run, round, configuration or history."""
    run_id, server_round = place
    if (str(signed.attempt.run_id), signed.attempt.round) != (run_id, server_round):
        raise SignatureError(
            f"signatures of run {signed.attempt.run_id}, round {signed.attempt.round}"
        )
    if signed.binding.config != config:
        raise SignatureError("participants have signed another configuration than config.yaml")
    head = Head.signed(signed.log_head)
    if head.size != len(roots) - 1 or heads_that_differ([head], roots):
        raise SignatureError(
            f"participants have signed another log: {head.size} entries, {head.root}"
        )


def _require_model(folder: Path, signed: SignedSum) -> None:
    from app.results.model_file import ModelFileError, read_model

    try:
        found = read_model(folder / "model.safetensors").hash
    except ModelFileError as error:
        raise SignatureError(str(error)) from None
    if found != signed.binding.model.hex():
        raise SignatureError("participants have scored another model than model.safetensors")


def _config_hash(folder: Path, history: Sequence[Mapping[str, Any]]) -> bytes:
    """Return what participants sign of the configuration at the end of this history.

    A resume replaces ``config.yaml``, in a few values: what these were before is in the log.
    """
    content = (folder / "config.yaml").read_bytes()
    entry = [one for one in history if one["kind"] in (BEGUN, RESUMED)][-1]
    try:
        # A few references to references would be too many values to write.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _LOADER)):
            raise SignatureError("config.yaml: has references, which no run writes")
        values: Any = yaml.load(content, _LOADER)  # noqa: S506 - safe
        if hash_of_bytes(content) != entry.get("config"):
            values = dict(values) | _changeable(entry)
        return sha256(json.dumps(values, sort_keys=True).encode()).digest()
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, SignatureError):
            raise
        raise SignatureError(f"config.yaml: no configuration: {type(error).__name__}") from None


def _changeable(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the configuration was replaced later, and nothing else."""
    from app.results.run_folder import MAY_CHANGE

    values: Any = json.loads(str(entry.get(CHANGEABLE)))
    if not isinstance(values, dict) or {*values} != {*MAY_CHANGE}:
        raise SignatureError(
            "config.yaml is another one than when this part of the run began, and its entry"
            " does not say in what"
        )
    return dict(values)


def _told(found: _Found, keys: Keys, num_lines: int) -> Signatures:
    signed = [names for names in found.rounds if names is not None]
    if not keys:
        words = f"whose signatures {len(signed)} of {len(found.rounds)} rounds carry (--peers)"
        return Signatures((), (words,) if signed else ())
    known = [names for names in signed if names]
    if found.rounds and not known:
        raise SignatureError(
            f"{LOG}: keys were given, and no round carries a signature by one of them: the run"
            " was without aggregation.identities, these are the keys of others, or somebody"
            " has made the log anew"
        )
    return Signatures(tuple(_shown(found, known, keys)), tuple(_left_open(found, num_lines)))


def _shown(found: _Found, known: Sequence[list[str]], keys: Keys) -> Iterator[str]:
    yield (
        f"{len(known)} of {len(found.rounds)} rounds carry signatures by these keys, each over"
        " the log until then, config.yaml and the model that it began from"
    )
    for name in sorted(keys):
        num_rounds = sum(name in names for names in known)
        yield f"{name} has signed its part in {num_rounds} rounds"
    if found.scored:
        yield f"{', '.join(found.scored)}: have signed that they scored model.safetensors"


def _left_open(found: _Found, num_lines: int) -> Iterator[str]:
    if not found.scored:
        yield "model.safetensors: nobody with these keys has signed that it scored it"
    if found.unknown:
        yield f"who {len(found.unknown)} more are that have signed: their keys are not given"
    first = found.num_lines + 1
    yield (
        f"{LOG}, lines {first} to {num_lines}: nobody with these keys has signed them; compare"
        " the head with one that was kept elsewhere (--head)"
    )
