"""The secret of a pair that survives a quantum computer: sent by the lower node, under ML-KEM.

X25519 gives both nodes of a pair a secret without a message. A KEM does not: one side must send
a ciphertext. So the node with the lower id derives the pair's secret K from its mask seed and
sends it sealed under a fresh ML-KEM secret for the higher node's *mask* key. Either one's mask
seed, once it is recovered, gives K: the lower one's by derivation, the higher one's by opening
what was sent. With classical agreement there is no K, and the part of the row is empty.

The part holds the KEM ciphertext (1088 bytes), K under AES-GCM (60) and the hash of K (32). The
key of AES-GCM is the KEM's secret as it is: 32 uniform bytes, used once (FIPS 203, section 3).
By that hash the receiver, and the server with a recovered seed, tell a false K.
Source: ML-KEM-768, FIPS 203.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strategies.secagg.crypto.keys import (
    NONCE_BYTES,
    PAIR_BYTES,
    KeyPair,
    RandomBytes,
    Use,
    binder,
    encapsulate,
    expand,
    frame_pair,
    frame_pair_and,
)
from strategies.secagg.messages import KEM_TEXT_BYTES, PAIR_PART_BYTES

_HASH_BYTES = 32
_NO_PART = hashlib.sha256(b"").digest()
Ends = tuple[int, int]

_of_secret, _of_seal = binder(Use.PAIR_SECRET), binder(Use.PAIR_SEAL)
_of_commitment = binder(Use.PAIR_COMMITMENT)


def pair_secret(mask_seed: bytes, roster: bytes, ends: Ends) -> bytes:
    """Return K of a pair (lower, higher) from the lower node's mask seed (32 bytes)."""
    return expand(mask_seed, _of_secret(roster) + frame_pair(PAIR_BYTES, *ends), 32)


def seal_pair_secret(
    mask_seed: bytes, kem_key: bytes, roster: bytes, ends: Ends, random_bytes: RandomBytes
) -> bytes:
    """Return the part of the lower node's row for a pair; empty where there is no ML-KEM.

    `kem_key` is the higher node's public ML-KEM mask key.
    """
    fresh, text = encapsulate(kem_key)
    if not text:
        return b""
    secret, nonce = pair_secret(mask_seed, roster, ends), random_bytes(NONCE_BYTES)
    sealed = nonce + AESGCM(fresh).encrypt(nonce, secret, _bound(roster, ends))
    return text + sealed + _commit(secret, roster, ends)


def open_pair_secret(pair: KeyPair, part: bytes, roster: bytes, ends: Ends) -> bytes | None:
    """Return K from a part, with the higher node's mask keys; None if any of it is false."""
    if not part:
        return pair.decapsulate(b"")
    fresh = pair.decapsulate(part[:KEM_TEXT_BYTES]) if len(part) == PAIR_PART_BYTES else None
    if fresh is None:
        return None
    sealed = part[KEM_TEXT_BYTES:-_HASH_BYTES]
    nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        secret = AESGCM(fresh).decrypt(nonce, text, _bound(roster, ends))
    except InvalidTag:
        return None
    return secret if is_pair_secret(secret, part, roster, ends) else None


def is_pair_secret(secret: bytes, part: bytes, roster: bytes, ends: Ends) -> bool:
    """Say whether a secret is the one that a part has the hash of."""
    return part[-_HASH_BYTES:] == _commit(secret, roster, ends)


def hash_part(part: bytes) -> bytes:
    """Return SHA-256 of a part (32 bytes), to which shares and masks of the pair are bound."""
    return hashlib.sha256(part).digest() if part else _NO_PART


def _bound(roster: bytes, ends: Ends) -> bytes:
    return _of_seal(roster) + frame_pair(PAIR_BYTES, *ends)


def _commit(secret: bytes, roster: bytes, ends: Ends) -> bytes:
    pair = frame_pair_and(PAIR_BYTES, *ends, len(secret))
    return hashlib.sha256(_of_commitment(roster) + pair + secret).digest()
