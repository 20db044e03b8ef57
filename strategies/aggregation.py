"""Describe an aggregation to whoever asks, and say what its two halves are given.

An aggregation is a package here with a module ``aggregation``, which holds its configuration
and one ``Aggregation``. Policy, plan and rules ask these; nothing branches on its class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import Any, Protocol

from flwr.app import Message
from flwr.serverapp.strategy import FedAvg

from strategies.codec.codec import Codec, Encoded
from strategies.codec.last_sum import LastSum
from strategies.codec.run_state import RunState
from strategies.codec.stages import SumContext
from strategies.rounds.strategy import RoundStrategy
from strategies.secagg.client.memory import Memory
from strategies.secagg.client.store import Store
from strategies.secagg.crypto.identity import Identity, Peers
from tasks.schema import require
from workloads.base import Workload
from workloads.model_arrays import hash_arrays, hash_state
from workloads.values import Contribution, Query, State

#: Of a scalar on the wire: a word modulo 2^64.
SCALAR_BYTES = 8


@dataclass
class CodecConfig:
    """Fixed point: contributions as integers modulo 2^b.

    Attributes
    ----------
    modulus_bits : int
        b: bits for each parameter on the wire, from 8 to 64.
    clip_range : float
        Entries of a weighted update are clipped to +- this, above 0.
    max_weight_examples : int
        A client with more examples than this counts as one with this many, at least 1.
    value_bits : int
        A client's numbers are rounded at random to 2^v - 1 values, v from 2 to 8, and travel in
        as few bits as hold the cohort's sum; the first round goes in ``modulus_bits``. 0: all.
    keep_fraction : float
        The share of the entries of a rotated update that is sent, in (0, 1]: the same ones of
        all clients, drawn anew for each sum.
    error_feedback : bool
        A client keeps what it has not sent, and adds it to its next update.
    """

    modulus_bits: int = 32
    clip_range: float = 8.0
    max_weight_examples: int = 10_000
    value_bits: int = 0
    keep_fraction: float = 1.0
    error_feedback: bool = False

    def __post_init__(self) -> None:
        name = "aggregation.codec"
        require(
            8 <= self.modulus_bits <= 64,
            f"{name}.modulus_bits={self.modulus_bits}: must be from 8 to 64",
        )
        require(
            0 < self.clip_range < float("inf"),
            f"{name}.clip_range={self.clip_range}: must be above 0",
        )
        require(
            self.max_weight_examples >= 1,
            f"{name}.max_weight_examples={self.max_weight_examples}: must be at least 1",
        )
        require(
            not self.value_bits or 2 <= self.value_bits <= 8,
            f"{name}.value_bits={self.value_bits}: must be from 2 to 8, or 0 for modulus_bits",
        )
        require(
            0 < self.keep_fraction <= 1,
            f"{name}.keep_fraction={self.keep_fraction}: must be in (0, 1]",
        )

    @property
    def is_compressed(self) -> bool:
        """Return whether updates are rounded to few values, or kept in part."""
        return bool(self.value_bits) or self.keep_fraction < 1


@dataclass
class AggregationConfig:
    """How the sum of the contributions is computed.

    Attributes
    ----------
    codec : CodecConfig
        Fixed point.
    """

    codec: CodecConfig = field(default_factory=CodecConfig)

    @property
    def promised_survivors(self) -> int:
        """Return T; 0 where the aggregation has none, or leaves it to the cohort."""
        return 0

    @property
    def promised_colluding(self) -> int:
        """Return c; 0 where the aggregation hides nothing."""
        return 0

    @property
    def is_signed(self) -> bool:
        """Return whether nodes sign and know each other."""
        return False

    def is_sparse(self, num_simulated: int | None) -> bool:
        """Return whether nodes mask with some others only; None for a deployment."""
        return False

    @property
    def is_classical(self) -> bool:
        """Return whether deployed nodes agree on keys that a quantum computer opens."""
        return False

    def idle_keys(self, *, is_private: bool) -> dict[str, str]:
        """Return the keys without effect beside the others' values, and why, with the mend."""
        return {}

    @property
    def num_trips(self) -> int:
        """Return the requests to each node in a round, one after the other."""
        return 1

    def key_bytes(self, num_nodes: int, num_values: int, bits: int) -> int:
        """Return the bytes to and from a node in a round beside state and contribution.

        Of a deployment, for updates of so many numbers of so many bits.
        """
        return 0

    def contribution_bytes(
        self, num_values: int, num_scalars: int, bits: int, num_nodes: int
    ) -> int:
        """Return the bytes of an update of so many numbers of so many bits, and scalars."""
        return ceil(num_values * bits / 8) + SCALAR_BYTES * num_scalars

    def work(self, num_values: int, bits: int, num_nodes: int) -> str:
        """Return what the arithmetic of a round takes, in words; empty where it is little."""
        return ""

    def check_update(self, modulus_bits: int, length: int) -> None:
        """Raise ``ValueError`` if an update of this form is not for this machine."""

    @property
    def num_key_trips(self) -> int:
        """Return how many more there are before the first round."""
        return 0

    @property
    def fewest_nodes(self) -> int:
        """Return how many nodes there must be for a sum, as far as the numbers tell."""
        return 1

    def check_cohort(self, num_nodes: int, num_simulated: int | None) -> None:
        """Raise ``ValueError`` if the contributions of so many nodes cannot be summed."""

    def check_deadline(self, deadline_seconds: float) -> None:
        """Raise ``ValueError`` if a trip may last longer than a node remembers the last."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A message that asks a node for a contribution.

    Attributes
    ----------
    training : bool
        Whether it asks for training, or for the last evaluation.
    state, query : State, Query
        What it asks about.
    workload : Workload
        What is summed in this run.
    codec : Codec
        For a vector of this length, with this round's clip norm.
    node_encodes : bool
        Whether the node encodes its contribution even where nothing is masked.
    last_sum : LastSum or None
        The sum that the state was made from, as the server says.
    total_weight : float or None
        What that sum was divided by, as the server says; None where it does not.
    """

    training: bool
    state: State
    query: Query
    workload: Workload
    codec: Codec
    node_encodes: bool
    last_sum: LastSum | None = None
    total_weight: float | None = None

    def hash(self) -> bytes:
        """Return SHA-256 of what is asked about (32 bytes)."""
        return hash_state(self.state, self.query.values, self.workload.loads_as)

    @cached_property
    def hash_of_arrays(self) -> bytes:
        """SHA-256 of the state's arrays alone (32 bytes): made once, for they may be large."""
        return hash_arrays(self.state)

    def hash_of(self, state: State) -> bytes:
        """Return SHA-256 of a state alone (32 bytes), as ``LastSum.asked``."""
        return hash_state(state, {}, self.workload.loads_as)


class ClientSide(Protocol):
    """The node in one message, as the client's half of an aggregation sees it.

    What a node checks and pays stands behind it, the same for every aggregation. Each method
    refuses by an error that the ClientApp turns into an enumerated reason.
    """

    @property
    def config(self) -> Any:
        """Return the aggregation's configuration."""
        ...

    @property
    def config_hash(self) -> bytes:
        """Return SHA-256 of the whole configuration (32 bytes)."""
        ...

    @property
    def run_id(self) -> int:
        """Return Flower's id of the run."""
        ...

    @property
    def node_id(self) -> int:
        """Return Flower's id of the node."""
        ...

    @property
    def num_simulated(self) -> int | None:
        """Return the number of simulated nodes; None in a deployment."""
        ...

    @property
    def store(self) -> Store:
        """Return where the node keeps its records of a protocol."""
        ...

    @property
    def identity(self) -> Identity:
        """Return the node's identity."""
        ...

    @property
    def memory(self) -> Memory:
        """Return what the node remembers of other attempts."""
        ...

    @property
    def bundle(self) -> bytes:
        """Return the SHA-256 of the code that runs."""
        ...

    def approved_bundles(self) -> frozenset[bytes] | None:
        """Return the bundles that peers may run; None for any."""
        ...

    def read(self, message: Message) -> Request:
        """Read a request for a contribution, trusting nothing."""
        ...

    def check_fits(self, num_contributions: int) -> None:
        """Refuse a cohort that the codec was not sized for."""
        ...

    def contribute(self, attempt: int | None, context: SumContext) -> Encoded:
        """Charge what the contribution to the request reveals, then return it encoded, once.

        Noise is in it, so that an aggregation never holds what it could add other noise to.
        ``attempt`` is the number of the attempt; None where a round has only one. Loads torch.
        """
        ...

    def contribute_in_clear(self) -> Contribution:
        """Return the contribution of a run in which nodes do not encode. Loads torch."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServerSide:
    """What the server's half of an aggregation is made from.

    Attributes
    ----------
    config : AggregationConfig
        The aggregation's own.
    config_hash : bytes
        SHA-256 of the whole configuration.
    inner : FedAvg
        Flower's strategy that turns a mean into the next model.
    min_replies : int
        With fewer good replies a round changes nothing.
    workload : Workload
        What is summed.
    coding : RunState
        The codec that the nodes use, or would, and what it has cost.
    in_clear : RunState
        The same where nobody encodes: floats.
    node_encodes : bool
        Whether the nodes encode even where nothing is masked.
    run_id : int
        Flower's id of the run.
    num_simulated : int or None
        Simulated nodes; None in a deployment.
    read_peers : callable
        From the name of a peers file to the pinned public keys in it.
    """

    config: Any
    config_hash: bytes
    inner: FedAvg
    min_replies: int
    workload: Workload
    coding: RunState
    in_clear: RunState
    node_encodes: bool
    run_id: int
    num_simulated: int | None
    read_peers: Callable[[str], Peers]


def _keep_nothing(message: Message, side: ClientSide) -> None:
    """Do nothing: a node holds nothing for a message."""


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    """One way to compute a sum.

    Attributes
    ----------
    name : str
        Of the option.
    config : type
        Its dataclass, below ``AggregationConfig``.
    sees_contributions : bool
        Whether the server sees each contribution, or sums only.
    actions : tuple of str
        Kinds of message beside train and evaluate, without the prefix ``train.``.
    serve : callable
        From a ``ServerSide`` to the Flower strategy; imports it when it is called.
    answer : callable
        From a message and a ``ClientSide`` to the reply; imports what it needs when called.
    forget : callable
        Takes the same two once a message is refused; deletes what the node holds for it.
    """

    name: str
    config: type[AggregationConfig]
    sees_contributions: bool
    actions: tuple[str, ...] = ()
    serve: Callable[[ServerSide], RoundStrategy]
    answer: Callable[[Message, ClientSide], Message]
    forget: Callable[[Message, ClientSide], None] = _keep_nothing
