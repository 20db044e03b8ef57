"""The server's role in an attempt whose inputs are encrypted under keys that nodes have dealt.

The trips are those of `role.ServerRole`. What differs: members deal shares of a key and of no
seed, inputs are ciphertexts, and each survivor answers with one share of the sum of the
survivors' keys. Any t of them open that sum; who dropped out costs nothing more.
"""

from dataclasses import replace
from os import urandom
from typing import Protocol

from strategies.secagg.crypto.identity import Peers
from strategies.secagg.crypto.packed import FalseAnswersError, Packing, is_share, open_vector
from strategies.secagg.fields import AttemptId, Buffer
from strategies.secagg.graph import ProtocolParameters, Shape
from strategies.secagg.messages import EncryptedInput, KeyReply, KeyRoster
from strategies.secagg.server.disputes import Disputes
from strategies.secagg.server.outcome import BadReplyError, OpenedKeys, Phase
from strategies.secagg.server.role import ServerRole
from strategies.secagg.server.rows import KeyRows
from strategies.secagg.server.survivors import Survivors


class CiphertextSum(Protocol):
    """The running sum of ciphertexts, which knows what is one."""

    def add(self, node: int, ciphertext: Buffer) -> bool:
        """Add a node's ciphertext, or say that it is none; `OSError` if it cannot be kept."""
        ...

    def take_out(self, node: int) -> None:
        """Subtract the ciphertext of a node again."""
        ...

    def close(self) -> None:
        """Drop what was kept; the sum stays."""
        ...


class KeyRole(ServerRole):
    """One attempt at the server, with dealt keys.

    Parameters
    ----------
    attempt, parameters, peers, disputes
        As of `ServerRole`.
    key_length : int
        Entries of a key.
    """

    def __init__(
        self,
        attempt: AttemptId,
        parameters: ProtocolParameters,
        key_length: int,
        *,
        peers: Peers | None = None,
        disputes: Disputes | None = None,
    ) -> None:
        super().__init__(attempt, parameters, peers=peers, disputes=disputes)
        self._key_length = key_length
        self._packing: Packing | None = None
        self._key_shares: dict[int, bytes] = {}
        #: Where ciphertexts go; until it is set, nothing is one.
        self.ciphertexts: CiphertextSum | None = None

    @property
    def packing(self) -> Packing:
        """Return how keys are dealt; `RuntimeError` before the adverts are closed."""
        if self._packing is None:
            raise RuntimeError("the adverts are not closed")
        return self._packing

    def _shape(self, num_members: int) -> Shape:
        return self._parameters.key_shape(num_members)

    def _roster(self, shape: Shape, adverts: tuple[bytes, ...]) -> KeyRoster:
        self._packing = Packing(
            self._key_length, shape.num_packed, shape.threshold, shape.num_members
        )
        return KeyRoster(
            self.attempt, shape.threshold, shape.num_neighbors, adverts, shape.num_packed
        )

    def _new_rows(self) -> KeyRows:
        return KeyRows(self._members, self.packing.share_bytes)

    def add_masked(self, sender: int, data: Buffer) -> EncryptedInput:
        """Take one encrypted input and return it, for the advert in it."""
        message = self._decode(Phase.MASKED, EncryptedInput, data)
        self._check_sender(sender, message)
        self._check_signed(sender, message)
        self._add_ciphertext(sender, message.ciphertext)
        self._inputs[sender] = replace(message, ciphertext=b"", next_advert=None)
        return message

    def _add_ciphertext(self, sender: int, ciphertext: Buffer) -> None:
        total = self.ciphertexts
        try:
            # Before the survivors are chosen: later nobody could be left out any more.
            if total is None or not total.add(sender, ciphertext):
                raise BadReplyError(f"input from {sender}: no ciphertext of this attempt")
        except OSError as error:
            raise self._not_kept(len(ciphertext), error) from error

    def _chosen(self, sitting_out: frozenset[int]) -> Survivors:
        """Return who is in the sum: nothing of a dropout is needed."""
        return Survivors(tuple(sorted(set(self._inputs) - sitting_out)), ())

    def _leave_out(self, node: int) -> None:
        """Take the ciphertext of a node that sits out from the sum again."""
        if self.ciphertexts is not None:
            self.ciphertexts.take_out(node)

    def add_unmask(self, sender: int, data: Buffer) -> KeyReply:
        """Take one survivor's share of the sum of keys, and return the reply."""
        reply = self._decode(Phase.UNMASK, KeyReply, data)
        if sender in self._key_shares:
            raise BadReplyError(f"unmask reply from {sender}: repeated")
        self._check_reply(sender, reply)
        if not is_share(reply.share, self.packing):
            self._disputes.prove(sender, "what it gave is no share of a key")
            raise BadReplyError(f"unmask reply from {sender}: no share of a key")
        self._key_shares[sender] = reply.share
        return reply

    def finish_keys(self) -> OpenedKeys:
        """Return the sum of the survivors' keys, or raise `AbandonedError`."""
        self._expect(Phase.UNMASK)
        shares, packing = self._key_shares, self.packing
        if len(shares) < packing.threshold:
            raise self._abandon(
                f"{len(shares)} shares of the sum of keys where {packing.threshold} open it"
            )
        points = {self._members.point[node]: share for node, share in shares.items()}
        try:
            opened = open_vector(points, packing, urandom)
        except FalseAnswersError as error:
            raise self._abandon(
                f"{error}: a participant lies about the sum of keys, and nobody can tell who"
            ) from error
        nodes = {point: node for node, point in self._members.point.items()}
        found = OpenedKeys(
            opened.values,
            self.survivors,
            self.dropouts,
            tuple(nodes[point] for point in opened.misfits),
            self._signed_sum(),
        )
        self._forget()
        self.phase = Phase.DONE
        return found

    def _forget(self) -> None:
        super()._forget()
        self._key_shares.clear()
        if self.ciphertexts is not None:
            self.ciphertexts.close()
