"""The configuration of homomorphic aggregation."""

from __future__ import annotations

from dataclasses import dataclass

from strategies.homomorphic.arithmetic import has_numba, require_fast
from strategies.homomorphic.costs import of_encryption, of_masks
from strategies.homomorphic.parameters import FEWEST_BITS, FEWEST_WHOLE_BITS, Slots
from strategies.homomorphic.scheme import Scheme
from strategies.masked.config import SecAggConfig
from tasks.schema import require


@dataclass
class HomomorphicConfig(SecAggConfig):
    """Updates are encrypted, and only the sum of their keys is opened, by ``secagg``.

    See ``docs/homomorphic.md``. The keys are those of ``secagg``. An update that is shorter
    than one polynomial of the encryption, whole numbers modulo 2^64, and numbers of fewer than
    8 bits (``value_bits`` with few nodes) stay under masks.
    """

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

    def update_bytes(self, num_values: int, bits: int, num_nodes: int) -> int:
        """Return the bytes of a ciphertext and of the key that goes with it."""
        found = self.encryption(bits, num_values, num_nodes)
        if found is None:
            return super().update_bytes(num_values, bits, num_nodes)
        key_bits, length = found.masked_form
        return found.num_bytes + key_bits * length // 8

    def work(self, num_values: int, bits: int, num_nodes: int) -> str:
        """Return what encrypting takes and what masking would; names bits that are free."""
        found = self.encryption(bits, num_values, num_nodes)
        if found is None:
            return (
                "updates are shorter than a key, or whole numbers, or of fewer than 8 bits:"
                " masked, as under secagg"
            )
        slots, compiled = found.slots, has_numba()
        told = (
            f"about {of_encryption(slots, num_nodes, compiled=compiled)}; aggregation=secagg"
            f" {of_masks(slots, num_nodes)}; keys and shares aside"
        )
        if not compiled:
            told += "; without numba (the extra `numba`)"
        if slots.widest_bits > bits:
            told += f"; aggregation.codec.modulus_bits={slots.widest_bits} takes no more bytes"
        return told

    def check_update(self, modulus_bits: int, length: int) -> None:
        """Refuse an update that is too long for the code that is installed here."""
        # The bits are those of one contribution; a sum's may be enough to be encrypted.
        if self.encryption(max(modulus_bits, FEWEST_BITS), length, 1) is not None:
            require_fast(length)

    def encryption(
        self, modulus_bits: int, length: int, num_contributions: int
    ) -> Scheme | None:
        """Return the encryption; None for an update that stays under masks."""
        if not FEWEST_BITS <= modulus_bits < FEWEST_WHOLE_BITS or not length:
            return None
        slots = Slots.of(length, modulus_bits, max(1, num_contributions))
        return Scheme(slots) if length >= slots.values_in_full else None
