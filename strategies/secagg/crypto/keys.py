"""Keys: X25519 agreement, HKDF-SHA256 and sealed shares.

Every derivation and signature starts with its own constant (`Use`), so that no byte string
made for one purpose is valid for another. Contexts have a length in front, so that no two
different contexts are the same bytes.

Sources: X25519 RFC 7748, HKDF RFC 5869, AES-GCM NIST SP 800-38D.
"""

import hashlib
import struct
from collections.abc import Callable
from enum import Enum
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strategies.secagg.crypto.prg import KEY_BYTES

SEED_BYTES = 32
_SHA256 = SHA256()
NONCE_BYTES = 12
RandomBytes = Callable[[int], bytes]


class Use(Enum):
    """The constant that separates each use of a hash, a key or a signature."""

    SHARE = b"tacet/secagg/v2/share-encryption"
    PAIR_UPDATE = b"tacet/secagg/v2/pairwise-mask/update"
    PAIR_SCALARS = b"tacet/secagg/v2/pairwise-mask/scalars"
    SELF_UPDATE = b"tacet/secagg/v2/self-mask/update"
    SELF_SCALARS = b"tacet/secagg/v2/self-mask/scalars"
    COMMITMENT = b"tacet/secagg/v2/self-mask-commitment"
    # People have compared these by phone: another version of the protocol keeps them.
    FINGERPRINT = b"tacet/secagg/v1/identity-fingerprint"
    SIGN_ADVERT = b"tacet/secagg/v2/sign-advert"
    SIGN_SHARES = b"tacet/secagg/v2/sign-shares"
    SIGN_INPUT = b"tacet/secagg/v2/sign-masked-input"
    SIGN_VIEW = b"tacet/secagg/v2/sign-view"
    SIGN_REPLY = b"tacet/secagg/v2/sign-unmask-reply"
    SIGN_ROW = b"tacet/secagg/v2/sign-row"
    MASK_SHARE = b"tacet/secagg/v2/hash-of-mask-share"
    SELF_SHARE = b"tacet/secagg/v2/hash-of-self-mask-share"
    GRAPH = b"tacet/secagg/v2/graph"


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


def hash_share(use: Use, share: bytes, roster: bytes, dealer: int, receiver: int) -> bytes:
    """Return SHA-256 of one share, bound to its kind, roster, dealer and receiver (32 bytes).

    It hides the share: without t - 1 others that is uniform over 256 bits.
    """
    return hashlib.sha256(bind(use, roster, _pair(dealer, receiver), share)).digest()


def hash_pair(text: bytes, roster: bytes, dealer: int, receiver: int) -> bytes:
    """Return the hashes of a mask share and the self-mask share behind it (64 bytes)."""
    half = len(text) // 2
    mask = hash_share(Use.MASK_SHARE, text[:half], roster, dealer, receiver)
    return mask + hash_share(Use.SELF_SHARE, text[half:], roster, dealer, receiver)


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
