"""The settings that all attempts of a run with secure aggregation share."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from strategies.codec.run_state import RunState
from strategies.masked.encryption import Encryption, Form
from strategies.rounds.attempt import RunStoppedError
from strategies.secagg.crypto.identity import Peers
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.server.disputes import Disputes
from strategies.secagg.server.role import ServerRole
from strategies.secagg.wire import AttemptId

log = logging.getLogger("flwr.tacet")


@dataclass(frozen=True, kw_only=True)
class SecAggSettings:
    """The settings that all attempts of a run share.

    Attributes
    ----------
    run_id : int
        Flower's id of the run.
    parameters : ProtocolParameters
        Thresholds and graph.
    coding : RunState
        Contributions to integers.
    config_hash : bytes
        SHA-256 of the resolved shared configuration.
    peers : mapping or None
        Pinned public keys by fingerprint, where identities are on.
    disputes : Disputes
        Who is at fault, over the whole run.
    name : str
        Of the aggregation, for messages.
    encryption : callable
        From modulus bits and length of an update, and the size of the cohort, to how it is
        encrypted; None where it is masked as it is.
    """

    run_id: int
    parameters: ProtocolParameters
    coding: RunState
    config_hash: bytes
    peers: Peers | None = None
    disputes: Disputes
    name: str
    encryption: Callable[[int, int, int], Encryption | None]

    def new_role(self, number: int, attempt: int) -> ServerRole:
        """Return the server's role for one attempt at a round."""
        return ServerRole(
            AttemptId(self.run_id, number, attempt),
            self.parameters,
            peers=self.peers,
            disputes=self.disputes,
        )

    def check_fits(self, num_members: int) -> None:
        """Stop the run, before anything is sent, if its numbers do not fit the cohort.

        Raises
        ------
        RunStoppedError
            Naming the values and the mends.
        """
        try:
            self.parameters.shape(num_members)
            self.coding.codec.check_fits(num_members)
        except ValueError as error:
            raise RunStoppedError(f"aggregation={self.name}: {error}") from None

    def encryption_for(self, form: Form, num_members: int) -> Encryption | None:
        """Return how updates of a form are encrypted, or stop the run as `check_fits` does."""
        try:
            return self.encryption(*form[:2], num_members)
        except ValueError as error:
            raise RunStoppedError(f"aggregation={self.name}: {error}") from None

    def say_limits(self, num_members: int) -> None:
        """Log which guarantees a small cohort lacks."""
        if num_members == 2:
            log.warning("2 clients: each can tell the other's update from the sum")
        if self.parameters.survivors(num_members) == num_members:
            log.warning("%d clients: a round fails if one of them drops out", num_members)
