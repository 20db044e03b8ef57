"""The configuration of secure aggregation."""

from __future__ import annotations

from dataclasses import dataclass

from strategies.aggregation import AggregationConfig
from strategies.secagg.graph import ProtocolParameters
from tasks.schema import require


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
        t: shares that rebuild a seed; 0 for two thirds of the neighbourhood, plus one.
    num_neighbors : int
        Clients that each one masks with; 0 for all up to 32 clients, then as many as keep the
        chance of a failed round below 1e-9.
    max_dropout_fraction : float
        The dropouts for which that number is chosen, in [0, 1).
    consistency_check : bool
        Survivors sign the survivor set before anything is opened; needs identities.
    identities : bool
        Adverts are signed, and checked against each node's own peers file.
    peers_file : str
        The peers file on the server, which then leaves out early what nodes would refuse.
    secrets_seconds : float
        Nodes delete an attempt's secrets so long after its last step.
    """

    min_survivors: int = 0
    max_colluding: int = 1
    threshold: int = 0
    num_neighbors: int = 0
    max_dropout_fraction: float = 0.1
    consistency_check: bool = False
    identities: bool = False
    peers_file: str = ""
    secrets_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("min_survivors", "max_colluding", "threshold", "num_neighbors"):
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
            0 < self.secrets_seconds < float("inf"),
            f"aggregation.secrets_seconds={self.secrets_seconds}: must be above 0",
        )
        require(
            self.identities or not self.consistency_check,
            "aggregation.consistency_check=true: signatures need aggregation.identities=true",
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
        """Return whether adverts are signed."""
        return self.identities

    def idle_keys(self, *, is_private: bool) -> dict[str, str]:
        """Return what is for a graph that is computed, and for identities that are on."""
        idle: dict[str, str] = {}
        if self.num_neighbors:
            why = (
                f"aggregation.num_neighbors={self.num_neighbors} is given; take one of them out"
            )
            idle["max_dropout_fraction"] = why
        if not self.identities:
            idle["peers_file"] = "without aggregation.identities=true nobody signs"
        return idle

    @property
    def num_trips(self) -> int:
        """Return mask, unmask and, with the consistency check, confirm in between."""
        return 3 if self.consistency_check else 2

    @property
    def num_key_trips(self) -> int:
        """Return the first keys and shares; later ones ride along (protocol, section 1)."""
        return 2

    def check_deadline(self, deadline_seconds: float) -> None:
        """Refuse a trip that could last longer than a node keeps its secrets."""
        require(
            self.secrets_seconds >= 2 * deadline_seconds,
            f"aggregation.secrets_seconds={self.secrets_seconds}: must be at least twice"
            f" rounds.deadline_seconds={deadline_seconds}, or a slow trip finds the secrets"
            " gone",
        )

    def parameters(self, num_simulated: int | None) -> ProtocolParameters:
        """Return the protocol's public numbers; the same on server and clients.

        Two nodes cannot hide from each other in a sum, so c = 0 is all that is left there. A
        simulation, in which nobody is to be kept out, goes on with that; a deployment refuses.
        """
        return ProtocolParameters(
            min_survivors=self.min_survivors or None,
            max_colluding=0 if num_simulated == 2 else self.max_colluding,
            threshold=self.threshold or None,
            num_neighbors=self.num_neighbors or None,
            max_dropout_fraction=self.max_dropout_fraction,
        )
