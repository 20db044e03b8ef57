"""The running sum of masked inputs, and where they are kept in case one must come out again.

An input is added as it comes, so that the memory for many is that for one. Whether it stays in
the sum is known only once all have come: a complaint about shares leaves two nodes out. So each
input is kept as it was sent, first in memory, and beyond `MEMORY_BYTES` of all of them in a
temporary file; who is left out is subtracted again, which is exact modulo 2^b. The file has no
name, so that nothing of it is left after a crash, and holds what was sent and nothing else:
whoever reads the disk sees no more than the server has been sent, masked.
"""

from io import BytesIO
from itertools import chain
from tempfile import TemporaryFile
from typing import IO
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.crypto.prg import Vector, word_dtype
from strategies.secagg.fields import Buffer
from strategies.secagg.messages import MaskedInput
from strategies.secagg.packing import Read, add_packed, packed_bytes, subtract_packed

#: Inputs are kept in memory up to so many bytes, all together.
MEMORY_BYTES = 64 << 20


class Kept:
    """What nodes have sent, each as many bytes: to be read again if one is left out.

    Parameters
    ----------
    num_bytes : int
        Of each.
    """

    def __init__(self, num_bytes: int) -> None:
        self._size = num_bytes
        self._nodes: list[int] = []
        # As they came: a copy would cost more than the sum.
        self._in_memory: list[tuple[Buffer, ...]] = []
        self._file: IO[bytes] | None = None

    def add(self, node: int, *parts: Buffer) -> None:
        """Keep what a node has sent, which must not change; `OSError` if it cannot be kept."""
        place = len(self._nodes) * self._size
        if self._file is None and place + self._size > MEMORY_BYTES:
            self._file = self._moved()
        if self._file is None:
            self._in_memory.append(parts)
        else:
            self._file.seek(place)
            for part in parts:
                self._file.write(part)
        self._nodes.append(node)

    def _moved(self) -> IO[bytes]:
        """Return a file with all that was in memory."""
        file = TemporaryFile(prefix="tacet-")  # noqa: SIM115
        # However an attempt ends: a run may stop anywhere between two messages.
        finalize(self, file.close)
        for part in chain(*self._in_memory):
            file.write(part)
        self._in_memory.clear()
        return file

    def reader(self, node: int) -> Read:
        """Return what reads it again, so many bytes at a time."""
        at = self._nodes.index(node)
        if self._file is None:
            return BytesIO(b"".join(self._in_memory[at])).read
        self._file.seek(at * self._size)
        return self._file.read

    def close(self) -> None:
        """Drop all."""
        self._in_memory.clear()
        if self._file is not None:
            self._file.close()


class MaskedSum:
    """The sum of one attempt's masked inputs, masks included.

    Parameters
    ----------
    modulus_bits, num_parameters, num_scalars : int
        The form of each input; the scalars without the one that counts.
    """

    def __init__(self, modulus_bits: int, num_parameters: int, num_scalars: int) -> None:
        self.modulus_bits = modulus_bits
        self._update = np.zeros(num_parameters, word_dtype(modulus_bits))
        self._scalars = np.zeros(num_scalars + 1, np.uint64)
        size = packed_bytes(num_parameters, modulus_bits) + self._scalars.nbytes
        self._kept = Kept(size)

    def add(self, node: int, message: MaskedInput) -> None:
        """Add a node's input, which has the form, and keep it.

        Raises
        ------
        OSError
            If it cannot be kept; then it is not in the sum either.
        """
        self._kept.add(node, message.update, message.scalars)
        add_packed(message.update, self.modulus_bits, self._update)
        self._scalars += np.frombuffer(message.scalars, "<u8")

    def take_out(self, node: int) -> None:
        """Subtract the input of a node again."""
        read = self._kept.reader(node)
        subtract_packed(read, self.modulus_bits, self._update)
        self._scalars -= np.frombuffer(read(self._scalars.nbytes), "<u8")

    def opened(self) -> tuple[Vector, NDArray[np.uint64]]:
        """Return both sums, to take the masks off in place; what was kept goes.

        Only the low b bits of the first one mean anything: reduce it modulo 2^b.
        """
        self.close()
        return self._update, self._scalars

    def close(self) -> None:
        """Drop what was kept."""
        self._kept.close()
