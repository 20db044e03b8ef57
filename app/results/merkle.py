"""Merkle trees over a log's entries (RFC 6962, section 2.1), with SHA-256.

Whoever has kept the root over the first entries of a log can tell whether it has only grown.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry (32 bytes)."""
    return sha256(b"\x00" + entry).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the hash of a tree over the hashes of its entries (32 bytes)."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _node(root(leaves[:split]), root(leaves[split:]))


def _split(number: int) -> int:
    """Return the largest power of two below a number from 2 on."""
    return 1 << (number - 1).bit_length() - 1


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
