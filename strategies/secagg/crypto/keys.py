"""Keys: X25519 agreement, HKDF-SHA256, sealed shares, and signed adverts.

Every derivation and signature starts with its own constant (`Use`), so that no byte string
made for one purpose is valid for another. Contexts have a length in front, so that no two
different contexts are the same bytes.

Sources: X25519 RFC 7748, HKDF RFC 5869, AES-GCM NIST SP 800-38D, Ed25519 RFC 8032.
"""

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strategies.secagg.crypto.prg import KEY_BYTES
from strategies.secagg.messages import NO_IDENTITY, Advert
from strategies.secagg.wire import NODES, AttemptId

SEED_BYTES = 32
_SHA256 = SHA256()
NONCE_BYTES = 12
RandomBytes = Callable[[int], bytes]
Peers = Mapping[bytes, bytes]


class Use(Enum):
    """The constant that separates each use of a hash, a key or a signature."""

    SHARE = b"tacet/secagg/v1/share-encryption"
    PAIR_UPDATE = b"tacet/secagg/v1/pairwise-mask/update"
    PAIR_SCALARS = b"tacet/secagg/v1/pairwise-mask/scalars"
    SELF_UPDATE = b"tacet/secagg/v1/self-mask/update"
    SELF_SCALARS = b"tacet/secagg/v1/self-mask/scalars"
    COMMITMENT = b"tacet/secagg/v1/self-mask-commitment"
    FINGERPRINT = b"tacet/secagg/v1/identity-fingerprint"
    SIGN_ADVERT = b"tacet/secagg/v1/sign-advert"
    SIGN_SURVIVORS = b"tacet/secagg/v1/sign-survivors"
    GRAPH = b"tacet/secagg/v1/graph"


def bind(use: Use, *context: bytes) -> bytes:
    """Return `use` and the context parts, each with its length in front."""
    parts = b"".join(struct.pack(">I", len(part)) + part for part in context)
    return use.value + b"\0" + parts


def derive(secret: bytes, use: Use, *context: bytes, num_bytes: int = KEY_BYTES) -> bytes:
    """Return HKDF-SHA256 of `secret` with `use` and context as info, no salt."""
    return HKDF(_SHA256, num_bytes, None, bind(use, *context)).derive(secret)


# The u-coordinates of small order on Curve25519 and its twist, and their unreduced forms:
# with one of these the agreed secret is zero for everyone.
_P25519 = 2**255 - 19
_LOW_ORDER = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P25519 - 1,
        _P25519,
        _P25519 + 1,
    }
)


def is_low_order(public_key: bytes) -> bool:
    """Say whether agreeing with this X25519 public key gives zero (RFC 7748 section 6.1)."""
    return int.from_bytes(public_key, "little") % 2**255 in _LOW_ORDER


@lru_cache(maxsize=2048)
def _public_key(raw: bytes) -> X25519PublicKey:
    # The server agrees with each survivor's key once for every dropout.
    return X25519PublicKey.from_public_bytes(raw)


class KeyPair:
    """An X25519 key pair made from a 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(seed)
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def agree(self, public_key: bytes) -> bytes:
        """Return the 32-byte agreed secret; `ValueError` for a key of low order."""
        return self._private.exchange(_public_key(public_key))


def commit(self_seed: bytes) -> bytes:
    """Return the SHA-256 commitment to a self-mask seed; hiding, as the seed is uniform."""
    return hashlib.sha256(bind(Use.COMMITMENT, self_seed)).digest()


def _pair(first: int, second: int) -> bytes:
    return struct.pack(">QQ", first, second)


def pair_mask_keys(
    agreed: bytes, binding: bytes, first: int, second: int
) -> tuple[bytes, bytes]:
    """Return the update and scalar mask keys of two nodes, the same from both sides."""
    context = binding, _pair(min(first, second), max(first, second))
    return derive(agreed, Use.PAIR_UPDATE, *context), derive(agreed, Use.PAIR_SCALARS, *context)


def self_mask_keys(self_seed: bytes, binding: bytes, node_id: int) -> tuple[bytes, bytes]:
    """Return the update and scalar mask keys of one node's self mask."""
    context = binding, struct.pack(">Q", node_id)
    update = derive(self_seed, Use.SELF_UPDATE, *context)
    return update, derive(self_seed, Use.SELF_SCALARS, *context)


def share_key(agreed: bytes, roster: bytes, sender: int, receiver: int) -> bytes:
    """Return the 32-byte AES-GCM key for shares from `sender` to `receiver`, one direction."""
    return derive(agreed, Use.SHARE, roster, _pair(sender, receiver), num_bytes=32)


def seal(key: bytes, roster: bytes, pair: tuple[int, int], text: bytes, nonce: bytes) -> bytes:
    """Return nonce and AES-GCM ciphertext; associated data are use, roster and ordered pair."""
    return nonce + AESGCM(key).encrypt(nonce, text, bind(Use.SHARE, roster, _pair(*pair)))


def unseal(key: bytes, roster: bytes, pair: tuple[int, int], sealed: bytes) -> bytes | None:
    """Return the plaintext, or None if it is not for this roster, pair and use."""
    nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(key).decrypt(nonce, body, bind(Use.SHARE, roster, _pair(*pair)))
    except (InvalidTag, ValueError):
        return None


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

    @property
    def fingerprint(self) -> bytes:
        """The fingerprint of the public key."""
        return fingerprint(self.public)

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message made with `bind`."""
        return self._key.sign(message)

    def verify(self, who: bytes, signature: bytes, message: bytes) -> bool:
        """Say whether `signature` is that of the pinned peer with fingerprint `who`."""
        return verify(self.peers, who, signature, message)


def verify(peers: Peers, who: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether a pinned peer, named by its fingerprint, signed the message."""
    if who not in peers:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(peers[who]).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def advert_to_sign(advert: Advert) -> bytes:
    """Return the bytes that an advert's signature covers: all its other fields."""
    return bind(Use.SIGN_ADVERT, replace(advert, signature=b"").encode())


def sign_advert(advert: Advert, identity: Identity | None) -> Advert:
    """Return the advert under this node's identity, or unsigned if identities are off."""
    if identity is None:
        return replace(advert, identity=NO_IDENTITY, signature=b"")
    named = replace(advert, identity=identity.fingerprint, signature=b"")
    return replace(named, signature=identity.sign(advert_to_sign(named)))


def survivors_to_sign(
    attempt: AttemptId, roster: bytes, binding: bytes, survivors: tuple[int, ...]
) -> bytes:
    """Return the bytes that a consistency signature covers (Bonawitz et al. 2017, round 3)."""
    return bind(Use.SIGN_SURVIVORS, attempt.to_bytes(), roster, binding, NODES.write(survivors))
