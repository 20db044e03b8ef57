"""The signatures of a sum's participants, for whoever was not there.

Each signs its masked input under the hash of the mask binding: what was asked, the
configuration, the codec, the cohort, and the head of the run's log at that time. So whoever
knows the public keys can tell who gave to a sum, about which model, and what had been logged
until then. The inputs themselves are not needed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

from strategies.secagg.binding import MaskBinding
from strategies.secagg.crypto.identity import Peers, input_to_sign, verify, view_to_sign
from strategies.secagg.fields import MAX_MEMBERS, AttemptId
from strategies.secagg.messages import LOG_HEAD_BYTES, SIGNATURE_BYTES


class FalseSignatureError(ValueError):
    """A signature that is not of who it names, or values that are none."""


@dataclass(frozen=True)
class SignedInput:
    """The signature over a masked input.

    Attributes
    ----------
    identity : bytes
        The fingerprint of the key (32 bytes).
    rejected : tuple of int
        The nodes with which it did not mask.
    payload_hash : bytes
        SHA-256 of the masked values.
    signature : bytes
        See `input_to_sign` (64 bytes).
    """

    identity: bytes
    rejected: tuple[int, ...]
    payload_hash: bytes
    signature: bytes


@dataclass(frozen=True, kw_only=True)
class SignedSum:
    """What the participants of a sum have signed.

    Attributes
    ----------
    attempt : AttemptId
        The attempt that gave the sum.
    roster : bytes
        The hash of all adverts (32 bytes).
    binding : MaskBinding
        What was asked, configuration, codec and noise.
    numbers : tuple of int
        t, T and c.
    cohort, survivors : tuple of int
        U2 and U3, node ids.
    log_head : bytes
        The head of the run's log that was shown to them (40 bytes).
    inputs : tuple of SignedInput
        Of the survivors.
    views : tuple of (bytes, bytes)
        Fingerprint and signature over U3, of those who were asked because a node was missing.
    """

    attempt: AttemptId
    roster: bytes
    binding: MaskBinding
    numbers: tuple[int, int, int]
    cohort: tuple[int, ...]
    survivors: tuple[int, ...]
    log_head: bytes
    inputs: tuple[SignedInput, ...]
    views: tuple[tuple[bytes, bytes], ...]

    def signers(self, peers: Peers) -> tuple[list[bytes], list[bytes]]:
        """Check every signature whose key is known.

        Parameters
        ----------
        peers : mapping of bytes to bytes
            Public key for each fingerprint.

        Returns
        -------
        signers, unknown : list of bytes
            The fingerprints of those who gave an input: known with a good signature, and not
            known.

        Raises
        ------
        FalseSignatureError
            If a signature is not that of the key, one key signed for two, or somebody of the
            cohort is left out and those who are in the sum have not signed that.
        """
        named = [one.identity for one in self.inputs]
        if len(named) != len(self.survivors) or len(set(named)) != len(named):
            raise FalseSignatureError(
                f"{len(self.survivors)} gave to the sum, and {len(set(named))} keys have signed"
            )
        voted = {who for who, _ in self.views}
        if not voted.issubset(named) or not {*self.survivors}.issubset(self.cohort):
            raise FalseSignatureError("others have signed than those of the cohort")
        # An input signs the cohort; where one of it is missing, those who are left sign that.
        if (self.survivors != self.cohort) != bool(voted):
            raise FalseSignatureError(
                f"{len(self.survivors)} of {len(self.cohort)} gave to the sum, and"
                f" {len(voted)} have signed who did"
            )
        binding = self.binding.hash(self.roster, self.cohort, self.numbers, self.log_head)
        view = view_to_sign(self.attempt, self.roster, binding, self.survivors)
        signed = [
            (
                one.identity,
                one.signature,
                input_to_sign(self.attempt, binding, one.rejected, one.payload_hash),
            )
            for one in self.inputs
        ]
        signed += [(who, signature, view) for who, signature in self.views]
        for who, signature, message in signed:
            if who in peers and not verify(peers, who, signature, message):
                raise FalseSignatureError(f"the signature of {who.hex()} is not over this")
        known = [who for who in named if who in peers]
        return known, [who for who in named if who not in peers]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON; bytes and node ids as text."""
        binding = self.binding
        return {
            "attempt": [str(part) for part in self.attempt],
            "roster": self.roster.hex(),
            "asked": binding.model.hex(),
            "config": binding.config.hex(),
            "codec": binding.codec.hex(),
            "noise_scale": binding.noise_scale.hex(),
            "numbers": list(self.numbers),
            "cohort": _texts(self.cohort),
            "survivors": _texts(self.survivors),
            "log_head": self.log_head.hex(),
            "inputs": [
                [
                    one.identity.hex(),
                    _texts(one.rejected),
                    one.payload_hash.hex(),
                    one.signature.hex(),
                ]
                for one in self.inputs
            ],
            "views": [[who.hex(), signature.hex()] for who, signature in self.views],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` gives, trusting nothing.

        Raises
        ------
        FalseSignatureError
            If it is something else.
        """
        try:
            numbers = [int(number) for number in values["numbers"]]
            if len(numbers) != 3:
                raise ValueError(f"{len(numbers)} numbers where 3 belong")
            found = cls(
                attempt=AttemptId(*_nodes(values["attempt"])),
                roster=_hash(values["roster"]),
                binding=MaskBinding(
                    model=_hash(values["asked"]),
                    config=_hash(values["config"]),
                    codec=_hash(values["codec"]),
                    noise_scale=float.fromhex(values["noise_scale"]),
                ),
                numbers=(numbers[0], numbers[1], numbers[2]),
                cohort=_nodes(values["cohort"]),
                survivors=_nodes(values["survivors"]),
                log_head=_bytes(values["log_head"], LOG_HEAD_BYTES),
                inputs=tuple(
                    SignedInput(
                        _hash(who),
                        _nodes(rejected),
                        _hash(payload),
                        _bytes(signature, SIGNATURE_BYTES),
                    )
                    for who, rejected, payload, signature in values["inputs"]
                ),
                views=tuple(
                    (_hash(who), _bytes(signature, SIGNATURE_BYTES))
                    for who, signature in values["views"]
                ),
            )
            # What was never signed cannot be encoded either.
            found.signers({})
        except FalseSignatureError:
            raise
        except _WRONG as error:
            raise FalseSignatureError(f"no signatures of a sum: {error}") from None
        if set(values) != set(found.to_dict()):
            raise FalseSignatureError(f"no signatures of a sum: {sorted(values)}")
        return found


_WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error)


def _texts(nodes: tuple[int, ...]) -> list[str]:
    # JSON's numbers hold 53 bits elsewhere.
    return [str(node) for node in nodes]


def _nodes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or len(cast(list[Any], values)) > MAX_MEMBERS:
        raise ValueError("no list of nodes")
    return tuple(int(value) for value in cast(list[Any], values))


def _hash(text: Any) -> bytes:
    return _bytes(text, 32)


def _bytes(text: Any, num_bytes: int) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != num_bytes:
        raise ValueError(f"{len(found)} bytes where {num_bytes} belong")
    return found
