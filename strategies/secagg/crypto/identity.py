"""Identities: long-lived Ed25519 keys, and what a node signs with its own.

Each kind of message is signed under a constant of its own (`Use`), so that no signature is
valid for another kind. Source: Ed25519 RFC 8032.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from strategies.secagg.crypto.keys import SEED_BYTES, Use, bind, derive
from strategies.secagg.fields import NODES, AttemptId
from strategies.secagg.messages import NO_IDENTITY, Advert, KeyReply, SharesUpload, UnmaskReply

Peers = Mapping[bytes, bytes]


def fingerprint(public_key: bytes) -> bytes:
    """Return the 32-byte fingerprint of an Ed25519 public key."""
    return hashlib.sha256(bind(Use.FINGERPRINT, public_key)).digest()


def pin(public_keys: list[bytes]) -> dict[bytes, bytes]:
    """Return the pinned peers, by fingerprint, for a list of Ed25519 public keys."""
    return {fingerprint(key): key for key in public_keys}


@dataclass(frozen=True)
class Identity:
    """The node's own Ed25519 key and the peers that it has pinned, itself among them.

    Parameters
    ----------
    seed : bytes
        32-byte private key.
    peers : mapping of bytes to bytes
        Public key for each fingerprint; see `pin`.
    """

    seed: bytes
    peers: Peers

    def __post_init__(self) -> None:
        if self.fingerprint not in self.peers:
            raise ValueError("the peers file does not list this node's own identity key")

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        return self._key.public_key().public_bytes_raw()

    @cached_property
    def fingerprint(self) -> bytes:
        """The fingerprint of the public key."""
        return fingerprint(self.public)

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    def ledger_key(self, dataset: str) -> bytes:
        """Return the 32-byte key for the heads of this data set's ledger.

        Of the data set and not of the peers: the others know a ledger again when a peer has
        joined, and one identity with two ledgers for one data set is found out. Two data sets
        have nothing in common to whoever sees their heads.
        """
        return derive(self.seed, Use.LEDGER, dataset.encode(), num_bytes=SEED_BYTES)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message made with `bind`."""
        return self._key.sign(message)

    def verify(self, who: bytes, signature: bytes, message: bytes) -> bool:
        """Say whether `signature` is that of the pinned peer with fingerprint `who`."""
        return verify(self.peers, who, signature, message)


@lru_cache(maxsize=2048)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    # Of one peer there are several messages in each trip.
    return Ed25519PublicKey.from_public_bytes(raw)


def verify(peers: Peers, who: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether a pinned peer, named by its fingerprint, signed the message."""
    if who not in peers:
        return False
    try:
        _public_key(peers[who]).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def advert_to_sign(advert: Advert) -> bytes:
    """Return the bytes that an advert's signature covers: all its other fields."""
    return bind(Use.SIGN_ADVERT, advert.body)


def sign_advert(advert: Advert, identity: Identity | None) -> Advert:
    """Return the advert under this node's identity, or unsigned if identities are off."""
    if identity is None:
        return replace(advert, identity=NO_IDENTITY, signature=b"")
    named = replace(advert, identity=identity.fingerprint)
    return named.with_signature(identity.sign(advert_to_sign(named)))


def shares_to_sign(roster: bytes, upload: SharesUpload) -> bytes:
    """Return the bytes that the signature of an upload covers, under the roster's hash.

    An upload has a row for each peer: Ed25519 would hash all of it twice, with SHA-512.
    """
    return bind(Use.SIGN_SHARES, roster, hashlib.sha256(upload.body).digest())


def input_to_sign(
    attempt: AttemptId, binding: bytes, rejected: tuple[int, ...], payload_hash: bytes
) -> bytes:
    """Return the bytes that the signature of a masked input covers.

    The hash of the mask binding says the plan: roster, U2, query, configuration, codec, noise
    and thresholds. `rejected` are the peers with whom the sender did not mask.
    """
    parts = attempt.to_bytes(), binding, NODES.write(rejected), payload_hash
    return bind(Use.SIGN_INPUT, *parts)


def view_to_sign(
    attempt: AttemptId, roster: bytes, binding: bytes, survivors: tuple[int, ...]
) -> bytes:
    """Return the bytes that a view's signature covers: attempt, roster, plan (U2 is in it), U3.

    Bonawitz et al. 2017, round 3 (consistency check).
    """
    return bind(Use.SIGN_VIEW, attempt.to_bytes(), roster, binding, NODES.write(survivors))


def reply_to_sign(binding: bytes, reply: UnmaskReply | KeyReply) -> bytes:
    """Return the bytes that the signature of an unmask reply covers."""
    return bind(Use.SIGN_REPLY, binding, reply.body)
