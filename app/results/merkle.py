"""Merkle trees over a log's entries (RFC 6962, section 2.1), with SHA-256.

Whoever has kept the root over the first entries of a log can tell whether it has only grown.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry (32 bytes)."""
    return sha256(b"\x00" + entry).digest()


class Tree:
    """A tree that grows by one entry after the other, and knows its root after each.

    Only the roots of its complete subtrees are kept: a tree of n leaves is split at the largest
    power of two below n, so these are the binary digits of n.
    """

    def __init__(self) -> None:
        self.size = 0
        self._complete: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of an entry (32 bytes)."""
        self._complete.append(leaf)
        self.size += 1
        number = self.size
        while number % 2 == 0:
            right = self._complete.pop()
            self._complete.append(_node(self._complete.pop(), right))
            number //= 2

    def root(self) -> bytes:
        """Return the hash of the tree (32 bytes)."""
        if not self._complete:
            return sha256(b"").digest()
        found = self._complete[-1]
        for left in reversed(self._complete[:-1]):
            found = _node(left, found)
        return found


def roots(leaves: Iterable[bytes]) -> list[bytes]:
    """Return the roots over the first 0, 1, 2, ... entries, by the entries' hashes."""
    tree = Tree()
    found = [tree.root()]
    for leaf in leaves:
        tree.append(leaf)
        found.append(tree.root())
    return found


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
