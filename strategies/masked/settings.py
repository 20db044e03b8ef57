"""The settings that all attempts of a run with secure aggregation share."""

import logging
from dataclasses import dataclass

from strategies.codec.run_state import RunState
from strategies.masked.encryption import Encryption, Form, KeyedEncryption
from strategies.rounds.attempt import RunStoppedError
from strategies.secagg.crypto.identity import Peers
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.server.disputes import Disputes
from strategies.secagg.server.key_role import KeyRole
from strategies.secagg.server.role import ServerRole

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
    encryption : KeyedEncryption or None
        How long updates are encrypted; None where all are masked.
    """

    run_id: int
    parameters: ProtocolParameters
    coding: RunState
    config_hash: bytes
    peers: Peers | None = None
    disputes: Disputes
    name: str
    encryption: KeyedEncryption | None

    def new_role(self, number: int, attempt: int, form: Form, num_members: int) -> ServerRole:
        """Return the server's role for one attempt at a round, with contributions of a form.

        Its members deal keys where those are encrypted, and seeds of masks where not.
        """
        name = AttemptId(self.run_id, number, attempt)
        numbers, peers, disputes = self.parameters, self.peers, self.disputes
        encryption = self.encryption
        if encryption is None or not encryption.pays_for(*form[:2], num_members):
            return ServerRole(name, numbers, peers=peers, disputes=disputes)
        length = encryption.key_length
        return KeyRole(name, numbers, length, peers=peers, disputes=disputes)

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

    def encryption_for(
        self, role: ServerRole, form: Form, num_members: int
    ) -> Encryption | None:
        """Return how contributions of a form are encrypted for a role; None if they are masked.

        Raises
        ------
        RunStoppedError
            If its members have dealt keys, and there is no such encryption.
        """
        if not isinstance(role, KeyRole) or self.encryption is None:
            return None
        try:
            return self.encryption.scheme(form, num_members)
        except ValueError as error:
            raise RunStoppedError(f"aggregation={self.name}: {error}") from None

    def say_limits(self, num_members: int) -> None:
        """Log which guarantees a small cohort lacks."""
        if num_members == 2:
            log.warning("2 clients: each can tell the other's update from the sum")
        if self.parameters.survivors(num_members) == num_members:
            log.warning("%d clients: a round fails if one of them drops out", num_members)
