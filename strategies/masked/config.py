"""The configuration of secure aggregation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from strategies.aggregation import AggregationConfig
from strategies.masked.encryption import KeyedEncryption
from strategies.secagg.client.store import MAX_LIFETIME_SECONDS
from strategies.secagg.graph import COMPLETE_UP_TO, ProtocolParameters
from strategies.secagg.sizes import key_bytes
from tasks.schema import require


class Graph(Enum):
    """Who masks with whom where there are more than 32 clients."""

    auto = "auto"
    complete = "complete"
    sparse = "sparse"


class KeyAgreement(Enum):
    """How two nodes agree on keys."""

    auto = "auto"
    hybrid = "hybrid"
    classical = "classical"


@dataclass
class SecAggConfig(AggregationConfig):
    """The server hears only the sum. See ``docs/secure-aggregation.md``.

    Attributes
    ----------
    min_survivors : int
        T: a sum over fewer is never opened; 0 for two thirds of the roster, plus one.
    max_colluding : int
        c: so many clients may collude with the server.
    threshold : int
        t: shares that rebuild a seed; 0 for two thirds of the roster, plus one, and on a sparse
        graph for half of the neighbourhood with c, plus one.
    graph : Graph
        ``complete``: everyone masks with everyone. ``sparse``: above 32 clients each one masks
        with as many as keep the chance that the sum shows in parts below 2^-40, which hides
        nothing from a malicious server. ``auto``: sparse in a simulation, else complete.
    max_dropout_fraction : float
        The dropouts for which that number is chosen, in [0, 1).
    key_agreement : KeyAgreement
        ``hybrid``: X25519 and ML-KEM-768, so that what is recorded today stays closed to a
        quantum computer. ``classical``: X25519 alone. ``auto``: classical in a simulation,
        where no message crosses a network, else hybrid.
    identities : bool
        Every message is signed, and checked against each node's own peers file; and nodes give
        shares only once they are shown that all of them see the same survivors.
    peers_file : str
        The peers file on the server; needed with identities.
    secrets_seconds : float
        Nodes delete an attempt's secrets so long after its last step; at most one day.
    """

    min_survivors: int = 0
    max_colluding: int = 1
    threshold: int = 0
    graph: Graph = Graph.auto
    max_dropout_fraction: float = 0.1
    key_agreement: KeyAgreement = KeyAgreement.auto
    identities: bool = False
    peers_file: str = ""
    secrets_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("min_survivors", "max_colluding", "threshold"):
            value = getattr(self, name)
            require(value >= 0, f"aggregation.{name}={value}: must not be negative")
        require(
            self.min_survivors != 1,
            "aggregation.min_survivors=1: one client's sum is its update",
        )
        require(
            0 <= self.max_dropout_fraction < 1,
            f"aggregation.max_dropout_fraction={self.max_dropout_fraction}: must be in [0, 1)",
        )
        require(
            0 < self.secrets_seconds <= MAX_LIFETIME_SECONDS,
            f"aggregation.secrets_seconds={self.secrets_seconds}: must be above 0 and at most"
            f" {MAX_LIFETIME_SECONDS:g}, one day: no node keeps secrets for longer",
        )
        require(
            self.min_survivors > 0 or not self.identities,
            "aggregation.min_survivors=0: with aggregation.identities=true T must be a number,"
            " or the server chooses it with the roster; give it, e.g. two thirds of the nodes",
        )

    @property
    def promised_survivors(self) -> int:
        """Return T; 0 where the cohort decides."""
        return self.min_survivors

    @property
    def promised_colluding(self) -> int:
        """Return c."""
        return self.max_colluding

    @property
    def is_signed(self) -> bool:
        """Return whether every message is signed."""
        return self.identities

    def idle_keys(self, *, is_private: bool) -> dict[str, str]:
        """Return what is for a sparse graph, and for identities that are on."""
        idle: dict[str, str] = {}
        if self.graph is Graph.complete:
            idle["max_dropout_fraction"] = "aggregation.graph=complete: nothing is chosen by it"
        if not self.identities:
            idle["peers_file"] = "without aggregation.identities=true nobody signs"
        return idle

    def is_sparse(self, num_simulated: int | None) -> bool:
        """Return whether clients above 32 mask with some others only."""
        if self.graph is Graph.auto:
            return num_simulated is not None and num_simulated > COMPLETE_UP_TO
        return self.graph is Graph.sparse

    @property
    def is_classical(self) -> bool:
        """Return whether deployed nodes are to agree with X25519 alone."""
        return self.key_agreement is KeyAgreement.classical

    def is_hybrid(self, num_simulated: int | None) -> bool:
        """Return whether keys are agreed with ML-KEM-768 too."""
        if self.key_agreement is KeyAgreement.auto:
            return num_simulated is None
        return self.key_agreement is KeyAgreement.hybrid

    @property
    def num_trips(self) -> int:
        """Return mask and unmask; with identities, a round with dropouts takes one more."""
        return 2

    def key_bytes(self, num_nodes: int, num_values: int, bits: int) -> int:
        """Return the bytes of keys, shares and signatures; 0 where the numbers do not fit."""
        try:
            return key_bytes(num_nodes, self.parameters(None), signed=self.identities)
        except ValueError:
            return 0

    @property
    def num_key_trips(self) -> int:
        """Return the first keys and shares; later ones ride along (protocol, section 1)."""
        return 2

    @property
    def fewest_nodes(self) -> int:
        """Return the largest of T, t and c + 2."""
        return max(self.min_survivors, self.threshold, self.max_colluding + 2)

    def check_cohort(self, num_nodes: int, num_simulated: int | None) -> None:
        """Refuse a cohort that the thresholds do not allow."""
        self.parameters(num_simulated).shape(num_nodes)

    def check_deadline(self, deadline_seconds: float) -> None:
        """Refuse a trip that could last longer than a node keeps its secrets."""
        require(
            self.secrets_seconds >= 2 * deadline_seconds,
            f"aggregation.secrets_seconds={self.secrets_seconds}: must be at least twice"
            f" rounds.deadline_seconds={deadline_seconds}, or a slow trip finds the secrets"
            " gone",
        )

    def check_place(self, num_simulated: int | None) -> None:
        """Raise ``ValueError`` where this may not run: None is a deployment."""

    @property
    def encryption(self) -> KeyedEncryption | None:
        """Return how updates are encrypted; None where they are masked."""
        return None

    def parameters(self, num_simulated: int | None) -> ProtocolParameters:
        """Return the protocol's public numbers; the same on server and clients.

        Two nodes cannot hide from each other in a sum, so c = 0 is all that is left there. A
        simulation, in which nobody is to be kept out, goes on with that; a deployment refuses.
        """
        return ProtocolParameters(
            min_survivors=self.min_survivors or None,
            max_colluding=0 if num_simulated == 2 else self.max_colluding,
            threshold=self.threshold or None,
            is_sparse=self.is_sparse(num_simulated),
            is_hybrid=self.is_hybrid(num_simulated),
            max_dropout_fraction=self.max_dropout_fraction,
        )
