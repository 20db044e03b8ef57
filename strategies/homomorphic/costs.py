"""What masking and encrypting an update cost, estimated from rates of one machine.

The rates are CPU times of one thread of a server processor, by ``python -m benchmarks.secagg
--aggregation homomorphic``; another machine differs, the ratios less so. What both aggregations
do alike is left out: rows of shares for every pair of nodes, and signatures.
"""

from dataclasses import dataclass

from strategies.homomorphic.parameters import Slots

#: Seconds to generate and add one byte of one mask.
MASK_BYTE = 0.16e-9
#: Seconds in which the server, for masks, agrees on the key of a survivor and a dropout.
PAIR = 0.1e-3
#: Seconds for one polynomial, with numpy alone and with numba.
ENCRYPT = {False: 4.5e-3, True: 2.2e-3}
DECRYPT = {False: 4.6e-3, True: 2.6e-3}
#: Seconds for one polynomial of one node: to check it and to add it.
ADD = {False: 0.38e-3, True: 0.16e-3}
#: The part of the nodes that is missing in the estimates for dropouts.
MISSING = 0.3


@dataclass(frozen=True)
class Seconds:
    """CPU seconds of a round: of one node, of the server with all nodes and with dropouts."""

    node: float
    server: float
    server_with_dropouts: float

    def __str__(self) -> str:
        times = f"{self.node:.2g} s a node, the server {self.server:.2g} s"
        return f"{times}, with {MISSING:.0%} dropouts {self.server_with_dropouts:.2g} s"


def of_masks(slots: Slots, num_nodes: int) -> Seconds:
    """Return what masks of whole updates cost, where everyone masks with everyone."""
    mask = slots.num_values * slots.modulus_bits / 8 * MASK_BYTE
    dropouts = int(MISSING * num_nodes)
    survivors = num_nodes - dropouts
    with_dropouts = survivors * ((1 + dropouts) * mask + dropouts * PAIR)
    return Seconds(num_nodes * mask, num_nodes * mask, with_dropouts)


def of_encryption(slots: Slots, num_nodes: int, *, compiled: bool) -> Seconds:
    """Return what encryption costs, with numba or without."""
    count = slots.num_polynomials
    survivors = num_nodes - int(MISSING * num_nodes)
    node = count * ENCRYPT[compiled]
    opened = count * DECRYPT[compiled]
    adding = count * ADD[compiled]
    return Seconds(node, opened + num_nodes * adding, opened + survivors * adding)
