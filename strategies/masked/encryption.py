"""What may stand between an update and its mask: an encryption, of which the key is masked.

``secagg`` masks the update itself and has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from strategies.codec.codec import Codec, mask_binding
from strategies.secagg.binding import MaskBinding
from strategies.secagg.crypto.prg import Vector
from strategies.secagg.wire import Buffer

#: Modulus bits, length and number of scalars of what a node masks.
Form = tuple[int, int, int]


class Encryption(Protocol):
    """The encryption of the updates of one attempt, the same on server and clients."""

    @property
    def masked_form(self) -> tuple[int, int]:
        """Return modulus bits and length of a key."""
        ...

    @property
    def num_bytes(self) -> int:
        """Return the bytes of a ciphertext."""
        ...

    def bound_to(self, codec: bytes) -> bytes:
        """Return SHA-256 of a codec's hash and this encryption's numbers (32 bytes)."""
        ...

    def encrypt(self, values: Vector, plan: bytes) -> tuple[Vector, Buffer]:
        """Return a fresh key, to be masked in place, and the ciphertext of an update."""
        ...

    def is_sound(self, ciphertext: Buffer) -> bool:
        """Return whether bytes are a ciphertext."""
        ...

    def decrypt(self, key_sum: Vector, ciphertexts: Sequence[Buffer], plan: bytes) -> Vector:
        """Return the sum of the updates, or raise ``MismatchError``."""
        ...


def masked_form(form: Form, encryption: Encryption | None) -> Form:
    """Return the form of what is masked, for an update of some form."""
    return form if encryption is None else (*encryption.masked_form, form[2])


def bind(
    codec: Codec, model: bytes, config: bytes, encryption: Encryption | None
) -> MaskBinding:
    """Return what the masks are bound to, an encryption included; see ``mask_binding``."""
    binding = mask_binding(codec, model, config)
    if encryption is None:
        return binding
    return replace(binding, codec=encryption.bound_to(binding.codec))
