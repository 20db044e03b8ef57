"""The cases, vectors and clocks for measuring both protocols."""

import hashlib
import statistics
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.graph import ProtocolParameters

#: Both protocols clip to this range. Tacet's and Flower's default.
CLIP_RANGE = 8.0
#: Of the masked words; Flower's default, and so is Tacet's.
MODULUS_BITS = 32
WORD_BYTES = 4

_COMPLETE_UP_TO = 100


@dataclass(frozen=True)
class Case:
    """A setting: number of clients, length of the vector, dropouts.

    Attributes
    ----------
    clients, parameters : int
        n and d.
    dropouts : int
        Clients that answer everything before their masked input, and then no more.
    is_sparse : bool
        Whether each client masks with some others only.
    """

    clients: int
    parameters: int
    dropouts: int
    is_sparse: bool = False

    @staticmethod
    def of(clients: int, parameters: int, dropouts: int) -> "Case":
        """Return a case on the complete graph, or over 100 clients on a sparse one."""
        return Case(clients, parameters, dropouts, clients > _COMPLETE_UP_TO)

    @property
    def protocol(self) -> ProtocolParameters:
        """Return the protocol's numbers."""
        return ProtocolParameters(
            min_survivors=None,
            max_colluding=1,
            is_sparse=self.is_sparse,
            max_dropout_fraction=self.dropouts / self.clients,
        )

    @property
    def num_neighbors(self) -> int:
        """Return the number of others that each client masks with."""
        return self.protocol.shape(self.clients).num_neighbors

    @property
    def dropped(self) -> frozenset[int]:
        """Numbers of the clients that drop out, spread evenly."""
        spread = range(self.dropouts)
        return frozenset(place * self.clients // self.dropouts for place in spread)

    @property
    def surviving(self) -> list[int]:
        """Numbers of the clients that do not, ascending."""
        return [i for i in range(self.clients) if i not in self.dropped]

    def vector(self, client: int) -> NDArray[np.float32]:
        """Return a client's vector, the same at every call."""
        digest = hashlib.sha256(f"{client}".encode()).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
        return rng.standard_normal(self.parameters, np.float32)

    def error(self, total: NDArray[np.float64]) -> float:
        """Return the largest difference to the sum of the vectors in float64."""
        exact = np.zeros(self.parameters)
        for client in self.surviving:
            exact += self.vector(client)
        np.subtract(total, exact, out=exact)
        return float(np.abs(exact, out=exact).max())


@dataclass(frozen=True)
class Measured:
    """The measurements of one attempt.

    Attributes
    ----------
    client, server : float
        CPU seconds that one client (the median survivor) and the server worked.
    bytes_per_parameter : float
        The size of the encoded reply with the masked input.
    error, error_bound : float
        The error of the sum, in units of the vector, and the bound by fixed point.
    server_wall : float
        Seconds that passed while the server worked: fewer, where it works with threads.
    opening : float
        CPU seconds of the server once the last reply has come, of those that it worked; 0 if
        not known.
    key_bytes_per_peer : float
        What a client sends and receives in a steady round beside its update, a peer; 0 if not
        known.
    """

    client: float
    server: float
    bytes_per_parameter: float
    error: float
    error_bound: float
    server_wall: float
    opening: float = 0.0
    key_bytes_per_peer: float = 0.0


def median(attempts: Sequence[Measured]) -> Measured:
    """Return the attempts' median, figure by figure."""
    rows = [list(vars(attempt).values()) for attempt in attempts]
    return Measured(*(statistics.median(column) for column in zip(*rows, strict=True)))


@dataclass
class Clock:
    """Seconds that one party has worked.

    Attributes
    ----------
    seconds : float
        CPU time, which other programs disturb least.
    wall : float
        Seconds that passed. With one thread an idle machine takes as many as CPU time.
    """

    seconds: float = field(default=0.0, init=False)
    wall: float = field(default=0.0, init=False)

    @contextmanager
    def running(self) -> Generator[None]:
        """Measure the time inside the context."""
        started, begun = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.process_time() - started
            self.wall += time.perf_counter() - begun
