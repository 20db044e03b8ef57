"""Keys: hybrid key agreement, HKDF-SHA256 and sealed shares.

Every derivation and signature starts with its own constant (`Use`), so that no byte string
made for one purpose is valid for another. Contexts have a length in front, so that no two
different contexts are the same bytes.

Sources: X25519 RFC 7748, ML-KEM FIPS 203, HKDF RFC 5869, AES-GCM NIST SP 800-38D.
"""

import hashlib
import struct
from collections.abc import Callable
from enum import Enum
from functools import cached_property, lru_cache, partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strategies.secagg.crypto.prg import KEY_BYTES
from strategies.secagg.fields import Buffer
from strategies.secagg.messages import KEM_TEXT_BYTES, PUBLIC_KEY_BYTES, X25519_BYTES

SEED_BYTES = 32
_SHA256 = SHA256()
NONCE_BYTES, TAG_BYTES = 12, 16  # of AES-GCM
RandomBytes = Callable[[int], bytes]


class Use(bytes, Enum):
    """The constant that separates each use of a hash, a key or a signature."""

    SHARE = b"tacet/secagg/v2/share-encryption"
    PAIR_MASK = b"tacet/secagg/v2/pairwise-mask"
    SELF_MASK = b"tacet/secagg/v2/self-mask"
    COMMITMENT = b"tacet/secagg/v2/self-mask-commitment"
    # People have compared these by phone: another version of the protocol keeps them.
    FINGERPRINT = b"tacet/secagg/v1/identity-fingerprint"
    SIGN_ADVERT = b"tacet/secagg/v2/sign-advert"
    SIGN_SHARES = b"tacet/secagg/v2/sign-shares"
    SIGN_INPUT = b"tacet/secagg/v2/sign-masked-input"
    SIGN_VIEW = b"tacet/secagg/v2/sign-view"
    SIGN_REPLY = b"tacet/secagg/v2/sign-unmask-reply"
    MASK_SHARE = b"tacet/secagg/v2/hash-of-mask-share"
    SELF_SHARE = b"tacet/secagg/v2/hash-of-self-mask-share"
    X25519_SEED = b"tacet/secagg/v2/x25519-seed"
    KEM_SEED = b"tacet/secagg/v2/ml-kem-768-seed"
    PAIR_SECRET = b"tacet/secagg/v2/pair-secret"
    PAIR_SEAL = b"tacet/secagg/v2/pair-secret-encryption"
    PAIR_COMMITMENT = b"tacet/secagg/v2/pair-secret-commitment"
    KEM_KEY = b"tacet/secagg/v5/hash-of-a-kem-key"
    GRAPH = b"tacet/secagg/v2/graph"
    LEDGER = b"tacet/secagg/v2/heads-of-a-ledger"
    SIGN_MODEL = b"tacet/models/v1/sign-entry"


_pack_length = struct.Struct(">I").pack


def bind(use: Use, *context: Buffer) -> bytes:
    """Return `use` and the context parts, each with its length in front."""
    parts: list[Buffer] = [use, b"\0"]
    for part in context:
        parts += _pack_length(len(part)), part
    return b"".join(parts)


def binder(use: Use) -> Callable[[bytes], bytes]:
    """Return the function from a roster's hash to `bind` of `use` and it.

    It is asked for each pair of nodes, and all of it is public: the last ones are kept.
    """
    return lru_cache(maxsize=8)(partial(bind, use))


PAIR_BYTES = 16
#: As `bind` goes on with `PAIR_BYTES` and two nodes; and with another part's length behind.
frame_pair = struct.Struct(">IQQ").pack
frame_pair_and = struct.Struct(">IQQI").pack


def derive(secret: bytes, use: Use, *context: bytes, num_bytes: int = KEY_BYTES) -> bytes:
    """Return HKDF-SHA256 of `secret` with `use` and context as info, no salt."""
    return expand(secret, bind(use, *context), num_bytes)


def expand(secret: bytes, info: bytes, num_bytes: int) -> bytes:
    """Return HKDF-SHA256 of `secret` with what `bind` has made as info, no salt."""
    return HKDF(_SHA256, num_bytes, None, info).derive(secret)


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


@lru_cache(maxsize=2048)
def _kem_key(raw: bytes) -> MLKEM768PublicKey:
    # Checked with the roster, used right afterwards.
    return MLKEM768PublicKey.from_public_bytes(raw)


class KeyPair:
    """An X25519 key pair and, for hybrid agreement, an ML-KEM-768 one, of one 32-byte seed.

    Parameters
    ----------
    seed : bytes
        32 bytes, from which HKDF derives a seed for each.
    hybrid : bool
        Whether there is the second.
    """

    def __init__(self, seed: bytes, *, hybrid: bool) -> None:
        self._seed, self._hybrid = seed, hybrid

    # Expanded where it is needed: who opens rows needs the second alone, who masks the first.
    @cached_property
    def _private(self) -> X25519PrivateKey:
        own = derive(self._seed, Use.X25519_SEED, num_bytes=X25519_BYTES)
        return X25519PrivateKey.from_private_bytes(own)

    @cached_property
    def _kem(self) -> MLKEM768PrivateKey:
        own = derive(self._seed, Use.KEM_SEED, num_bytes=64)
        return MLKEM768PrivateKey.from_seed_bytes(own)

    @cached_property
    def public(self) -> bytes:
        """The public key: 32 bytes of X25519 and, if hybrid, the hash of the ML-KEM one."""
        first = self._private.public_key().public_bytes_raw()
        return first + _hash_kem_key(self.kem_public) if self._hybrid else first

    @cached_property
    def kem_public(self) -> bytes:
        """The public ML-KEM-768 key (1184 bytes); empty if there is none."""
        return self._kem.public_key().public_bytes_raw() if self._hybrid else b""

    def agree(self, public_key: bytes) -> bytes:
        """Return the 32 bytes that X25519 agrees on; `ValueError` for a key of low order."""
        return self._private.exchange(_public_key(public_key[:X25519_BYTES]))

    def decapsulate(self, text: bytes) -> bytes | None:
        """Return the 32-byte secret in a ciphertext, nothing if classical, None if malformed.

        A ciphertext for another key gives another secret, and no error (FIPS 203, section 6.3).
        """
        if not self._hybrid:
            return b"" if not text else None
        return self._kem.decapsulate(text) if len(text) == KEM_TEXT_BYTES else None


def encapsulate(kem_key: bytes) -> tuple[bytes, bytes]:
    """Return a fresh secret and its ciphertext for an ML-KEM key; nothing without one."""
    return _kem_key(kem_key).encapsulate() if kem_key else (b"", b"")


@lru_cache(maxsize=4096)
def is_public_key(public_key: bytes, *, hybrid: bool) -> bool:
    """Say whether bytes are a public key of this form, whose X25519 part can be used."""
    due = PUBLIC_KEY_BYTES if hybrid else X25519_BYTES
    if len(public_key) != due or is_low_order(public_key[:X25519_BYTES]):
        return False
    # X25519 takes other bytes for the same key: then one could be shown as two.
    return int.from_bytes(public_key[:X25519_BYTES], "little") < _P25519


@lru_cache(maxsize=2048)
def is_kem_key(public_key: bytes, kem_key: bytes) -> bool:
    """Say whether this is the ML-KEM key of a public key, and can be used.

    It has the hash that the public key says; with a classical one there is none.
    """
    if len(public_key) == X25519_BYTES:
        return not kem_key
    if _hash_kem_key(kem_key) != public_key[X25519_BYTES:]:
        return False
    try:
        # After the hash: what no advert vouches for is not parsed, nor kept.
        _kem_key(kem_key)
    except ValueError:
        return False
    return True


def _hash_kem_key(kem_key: bytes) -> bytes:
    return hashlib.sha256(bind(Use.KEM_KEY, kem_key)).digest()


def commit(self_seed: bytes) -> bytes:
    """Return the SHA-256 commitment to a self-mask seed; hiding, as the seed is uniform."""
    return hashlib.sha256(bind(Use.COMMITMENT, self_seed)).digest()


def pair_mask_keys(binding: bytes) -> Callable[[bytes, bytes, int, int], bytes]:
    """Return the function to the mask key of two nodes, the same from both sides.

    It takes the pair's secret, a hash and both nodes. The secret is what X25519 agrees on and,
    if hybrid, the pair's own secret behind it. The hash is of the row's part that brought that
    (`hybrid.seal_pair_secret`), so that nobody can give one node a secret of another part than
    its peer has sent. What does not change under one binding is put together once.
    """
    before = bind(Use.PAIR_MASK, binding)
    # As `bind` goes on with the hash and with two nodes.
    frame = struct.Struct(">I32sIQQ").pack

    def key(secret: bytes, part_hash: bytes, first: int, second: int) -> bytes:
        low, high = (first, second) if first < second else (second, first)
        info = before + frame(32, part_hash, PAIR_BYTES, low, high)
        return HKDF(_SHA256, KEY_BYTES, None, info).derive(secret)

    return key


def self_mask_key(self_seed: bytes, binding: bytes, node_id: int) -> bytes:
    """Return the key of one node's self mask."""
    return derive(self_seed, Use.SELF_MASK, binding, struct.pack(">Q", node_id))


_of_shares = binder(Use.SHARE)
_of_mask_share, _of_self_share = binder(Use.MASK_SHARE), binder(Use.SELF_SHARE)


def share_key(secret: bytes, roster: bytes, sender: int, receiver: int) -> bytes:
    """Return the 32-byte AES-GCM key for shares from `sender` to `receiver`, one direction."""
    return expand(secret, _of_shares(roster) + frame_pair(PAIR_BYTES, sender, receiver), 32)


def share_hash(use: Use, roster: bytes, receiver: int) -> Callable[[int, bytes], bytes]:
    """Return the function from a dealer and its share for a receiver to the share's hash.

    The hash is SHA-256 (32 bytes), bound to kind, roster, dealer and receiver. It hides the
    share: without t - 1 others that is uniform over 256 bits. The server takes one of each
    share that it is given, so what does not change is put together once.
    """
    before, sha256, frame = bind(use, roster), hashlib.sha256, frame_pair_and

    def digest(dealer: int, share: bytes) -> bytes:
        pair = frame(PAIR_BYTES, dealer, receiver, len(share))
        return sha256(before + pair + share).digest()

    return digest


def hash_pair(text: bytes, roster: bytes, dealer: int, receiver: int) -> bytes:
    """Return the hashes of a mask share and the self-mask share behind it (64 bytes).

    Each is as `share_hash` has it.
    """
    half = len(text) // 2
    pair = frame_pair_and(PAIR_BYTES, dealer, receiver, half)
    mask = hashlib.sha256(_of_mask_share(roster) + pair + text[:half])
    return mask.digest() + hashlib.sha256(_of_self_share(roster) + pair + text[half:]).digest()


def seal(
    key: bytes, roster: bytes, pair: tuple[int, int], text: bytes, nonce: bytes, part: bytes
) -> bytes:
    """Return nonce and AES-GCM ciphertext; associated data are roster, ordered pair and `part`.

    `part` is the hash of what else is in the row for this pair.
    """
    return nonce + AESGCM(key).encrypt(nonce, text, _bound(roster, pair, part))


def unseal(
    key: bytes, roster: bytes, pair: tuple[int, int], sealed: bytes, part: bytes
) -> bytes | None:
    """Return the plaintext, or None if it is not for this roster, pair, part and use."""
    nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(key).decrypt(nonce, body, _bound(roster, pair, part))
    except (InvalidTag, ValueError):
        return None


def _bound(roster: bytes, pair: tuple[int, int], part: bytes) -> bytes:
    return _of_shares(roster) + frame_pair_and(PAIR_BYTES, *pair, len(part)) + part
