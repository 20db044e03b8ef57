"""The configuration of homomorphic aggregation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic.arithmetic import has_numba, require_fast
from strategies.homomorphic.costs import of_encryption, of_masks
from strategies.homomorphic.parameters import (
    DEGREE,
    FEWEST_BITS,
    FEWEST_WHOLE_BITS,
    Slots,
)
from strategies.homomorphic.scheme import Scheme, draw_key
from strategies.masked.config import Graph, SecAggConfig
from strategies.masked.encryption import Form, KeyedEncryption
from strategies.secagg.crypto.keys import RandomBytes
from strategies.secagg.sizes import key_bytes
from tasks.schema import require


class Encrypted:
    """The encryption by ring learning with errors, for what is long enough to be encrypted."""

    key_length = DEGREE

    def draw_key(self, random_bytes: RandomBytes) -> NDArray[np.int8]:
        """Return a fresh key, shape (N,)."""
        return draw_key(random_bytes)

    def pays_for(self, modulus_bits: int, length: int, num_contributions: int) -> bool:
        """Return whether updates are encrypted; those that are not stay under masks."""
        if not FEWEST_BITS <= modulus_bits < FEWEST_WHOLE_BITS or not length:
            return False
        slots = Slots.of(length, modulus_bits, max(1, num_contributions))
        return length >= slots.values_in_full

    def scheme(self, form: Form, num_contributions: int) -> Scheme:
        """Return the encryption of contributions of a form, however short."""
        modulus_bits, length, num_scalars = form
        if not length:
            # Of numbers that are not there the bits mean nothing.
            modulus_bits = min(max(modulus_bits, FEWEST_BITS), FEWEST_WHOLE_BITS - 1)
        return Scheme(Slots.of(length, modulus_bits, num_contributions), num_scalars)


@dataclass
class HomomorphicConfig(SecAggConfig):
    """Updates are encrypted, and only the sum of their keys is opened.

    See ``docs/homomorphic.md``. The keys are those of ``secagg``. An update that is shorter
    than one polynomial of the encryption, whole numbers modulo 2^64, and numbers of fewer than
    8 bits (``value_bits`` with few nodes) stay under masks. Every node holds a share of every
    key, so that there is no sparse graph.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.graph is not Graph.sparse,
            "aggregation.graph=sparse with aggregation=homomorphic: every node holds a share of"
            " every key; take aggregation.graph=complete, or aggregation=secagg",
        )

    def is_sparse(self, num_simulated: int | None) -> bool:
        """Return that everyone shares with everyone, in a simulation too."""
        return False

    def idle_keys(self, *, is_private: bool) -> dict[str, str]:
        """Return what is for a sparse graph, and for identities that are on."""
        idle = super().idle_keys(is_private=is_private)
        return idle | {"max_dropout_fraction": "the graph is complete: nothing is chosen by it"}

    def check_place(self, num_simulated: int | None) -> None:
        """Refuse a deployment in which nodes do not make sure that all have one view.

        Two opened sums of keys of one attempt would differ by a key.
        """
        require(
            self.identities or num_simulated is not None,
            "aggregation.identities=false with aggregation=homomorphic: outside of a simulation"
            " nodes open keys only once they are shown that all of them see the same survivors;"
            " take aggregation.identities=true and a peers file, or aggregation=secagg",
        )

    @property
    def encryption(self) -> KeyedEncryption:
        """Return the encryption."""
        return Encrypted()

    def contribution_bytes(
        self, num_values: int, num_scalars: int, bits: int, num_nodes: int
    ) -> int:
        """Return the bytes of a ciphertext."""
        if not self.encryption.pays_for(bits, num_values, num_nodes):
            return super().contribution_bytes(num_values, num_scalars, bits, num_nodes)
        return self.encryption.scheme((bits, num_values, num_scalars), num_nodes).num_bytes

    def key_bytes(self, num_nodes: int, num_values: int, bits: int) -> int:
        """Return the bytes of keys, shares and signatures; 0 where the numbers do not fit."""
        if not self.encryption.pays_for(bits, num_values, num_nodes):
            return super().key_bytes(num_nodes, num_values, bits)
        try:
            parameters, signed = self.parameters(None), self.identities
            return key_bytes(num_nodes, parameters, signed=signed, key_length=DEGREE)
        except ValueError:
            return 0

    def work(self, num_values: int, bits: int, num_nodes: int) -> str:
        """Return what encrypting takes and what masking would; names bits that are free."""
        if not self.encryption.pays_for(bits, num_values, num_nodes):
            return (
                "updates are shorter than a key, or whole numbers, or of fewer than 8 bits:"
                " masked, as under secagg"
            )
        slots, compiled = Slots.of(num_values, bits, num_nodes), has_numba()
        told = (
            f"about {of_encryption(slots, num_nodes, compiled=compiled)}; aggregation=secagg"
            f" {of_masks(slots, num_nodes)}; rows of shares aside"
        )
        if not compiled:
            told += "; without numba (the extra `numba`)"
        if slots.widest_bits > bits:
            told += f"; aggregation.codec.modulus_bits={slots.widest_bits} takes no more bytes"
        return told

    def check_update(self, modulus_bits: int, length: int) -> None:
        """Refuse an update that is too long for the code that is installed here."""
        # The bits are those of one contribution; a sum's may be enough to be encrypted.
        if self.encryption.pays_for(max(modulus_bits, FEWEST_BITS), length, 1):
            require_fast(length)
