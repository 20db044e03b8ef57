"""What may take the place of masks: an encryption under keys that nodes deal among themselves.

``secagg`` masks and has none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from strategies.codec.codec import Codec, mask_binding
from strategies.secagg.binding import MaskBinding
from strategies.secagg.crypto.keys import RandomBytes
from strategies.secagg.crypto.prg import Vector
from strategies.secagg.fields import Buffer
from strategies.secagg.server.key_role import CiphertextSum

#: Modulus bits, length and number of scalars of a contribution.
Form = tuple[int, int, int]
#: An update and its scalars, as integers.
Integers = tuple[Vector, NDArray[np.uint64]]


class OpenableSum(CiphertextSum, Protocol):
    """A sum of ciphertexts, which the sum of their keys opens."""

    def opened(self, key_sum: NDArray[np.int64], plan: bytes) -> Integers:
        """Return the sums of the contributions, or raise ``MismatchError``."""
        ...


class Encryption(Protocol):
    """The encryption of the contributions of one attempt, the same on server and clients."""

    @property
    def num_bytes(self) -> int:
        """Return the bytes of a ciphertext."""
        ...

    def bound_to(self, codec: bytes) -> bytes:
        """Return SHA-256 of a codec's hash and this encryption's numbers (32 bytes)."""
        ...

    def encrypt(self, key: NDArray[np.int8], contribution: Integers, plan: bytes) -> Buffer:
        """Return the ciphertext of a contribution under a key of this attempt alone."""
        ...

    def new_sum(self) -> OpenableSum:
        """Return a sum of no ciphertexts yet."""
        ...


class KeyedEncryption(Protocol):
    """Encryptions whose keys add up: of any contributions, under keys of one length."""

    @property
    def key_length(self) -> int:
        """Return the entries of a key."""
        ...

    def draw_key(self, random_bytes: RandomBytes) -> NDArray[np.int8]:
        """Return a fresh key."""
        ...

    def pays_for(self, modulus_bits: int, length: int, num_contributions: int) -> bool:
        """Return whether updates are encrypted; those that are not stay under masks."""
        ...

    def scheme(self, form: Form, num_contributions: int) -> Encryption:
        """Return the encryption of contributions of a form; ``ValueError`` if there is none."""
        ...


def bind(
    codec: Codec, model: bytes, config: bytes, encryption: Encryption | None
) -> MaskBinding:
    """Return what the masks are bound to, an encryption included; see ``mask_binding``."""
    binding = mask_binding(codec, model, config)
    if encryption is None:
        return binding
    return replace(binding, codec=encryption.bound_to(binding.codec))
