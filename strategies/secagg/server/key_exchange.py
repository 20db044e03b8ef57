"""The first two phases of an attempt: adverts in, roster out; shares in, U2 out.

The guards of all phases are here too.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from strategies.secagg.crypto.identity import Peers, advert_to_sign, shares_to_sign, verify
from strategies.secagg.crypto.keys import is_kem_key, is_public_key
from strategies.secagg.fields import AttemptId, Buffer, DecodeError
from strategies.secagg.graph import ProtocolParameters, Shape
from strategies.secagg.messages import (
    X25519_BYTES,
    Advert,
    AdvertReply,
    AdvertRequest,
    Roster,
    ShareRequest,
    SharesUpload,
)
from strategies.secagg.server.disputes import Disputes
from strategies.secagg.server.outcome import AbandonedError, BadReplyError, Phase
from strategies.secagg.server.recovery import NO_MEMBERS, Members
from strategies.secagg.server.rows import Rows
from strategies.secagg.wire import Wire

_Message = TypeVar("_Message", bound=Wire)


class KeyExchange:
    """One attempt up to its shares; parameters as in `role.ServerRole`."""

    def __init__(
        self,
        attempt: AttemptId,
        parameters: ProtocolParameters,
        *,
        peers: Peers | None = None,
        disputes: Disputes | None = None,
    ) -> None:
        self.attempt, self._parameters, self._peers = attempt, parameters, peers
        self._disputes = disputes or Disputes(parameters.max_colluding)
        self.phase = Phase.ADVERTS
        self._adverts: dict[int, Advert] = {}
        self._keys: set[bytes] = set()
        # Of each node its ML-KEM mask key and share key.
        self._kem_keys: dict[int, tuple[bytes, bytes]] = {}
        self._roster_bytes = b""
        self._members = NO_MEMBERS
        self._rows = Rows(self._members)
        self.cohort: tuple[int, ...] = ()

    def advert_request(self) -> AdvertRequest:
        """Return the bootstrap's first message, the same for every node."""
        return AdvertRequest(self.attempt)

    def add_advert(self, sender: int, data: Buffer) -> None:
        """Take one advert; the transport says who sent it."""
        reply = self._decode(Phase.ADVERTS, AdvertReply, data)
        advert = self._decode(Phase.ADVERTS, Advert, reply.advert)
        pair = advert.mask_key, advert.share_key
        kem_pair = reply.mask_kem_key, reply.share_kem_key
        good = all(is_public_key(key, hybrid=self._parameters.is_hybrid) for key in pair)
        good = good and all(map(is_kem_key, pair, kem_pair))
        keys = {*(key[:X25519_BYTES] for key in pair), advert.commitment}
        if advert.node_id != sender or sender in self._adverts or not good:
            raise BadReplyError(f"advert of node {advert.node_id} from {sender}: name or key")
        if len(keys) < 3 or keys & self._keys:
            raise BadReplyError(f"advert from {sender}: a key or commitment twice")
        if self._peers is not None:
            twice = any(a.identity == advert.identity for a in self._adverts.values())
            signed = advert_to_sign(advert)
            if twice or not verify(self._peers, advert.identity, advert.signature, signed):
                raise BadReplyError(f"advert from {sender}: identity or signature")
        if sender in self._disputes.liars:
            raise BadReplyError(f"advert from {sender}: {self._disputes.liars[sender]}")
        self._keys |= keys
        self._adverts[sender] = advert
        self._kem_keys[sender] = kem_pair

    def close_adverts(self) -> Roster:
        """Fix U1 and the graph, and return the roster, which goes to all of U1."""
        self._expect(Phase.ADVERTS)
        self._floor(len(self._adverts), "adverts")
        ids = sorted(self._adverts)
        adverts = tuple(self._adverts[node].encode() for node in ids)
        try:
            shape = self._shape(len(ids))
        except ValueError as error:
            raise self._abandon(str(error)) from error
        roster = self._roster(shape, adverts)
        self._members = Members.of(roster, shape, self._parameters, self._adverts)
        self._rows = self._new_rows()
        # Once: with many nodes it is long, and the same for each.
        self._roster_bytes = roster.encode()
        self.phase = Phase.SHARES
        return roster

    def share_request(self, node: int) -> ShareRequest:
        """Return the request for one node of U1, with the ML-KEM keys of its neighbours."""
        self._expect(Phase.SHARES)
        near = sorted(self._members.near[node] - {node})
        kem_keys = tuple((peer, self._kem_keys_for(node, peer)) for peer in near)
        return ShareRequest(self.attempt, self._roster_bytes, kem_keys)

    def _kem_keys_for(self, node: int, peer: int) -> bytes:
        mask_key, share_key = self._kem_keys[peer]
        brings = self._members.shape.brings_secret(node, peer)
        return share_key + mask_key if brings else share_key

    def _shape(self, num_members: int) -> Shape:
        return self._parameters.shape(num_members)

    def _roster(self, shape: Shape, adverts: tuple[bytes, ...]) -> Roster:
        return Roster(self.attempt, shape.threshold, shape.num_neighbors, adverts)

    def _new_rows(self) -> Rows:
        return Rows(self._members)

    @property
    def members(self) -> tuple[int, ...]:
        """U1, ascending; empty before the adverts are closed."""
        return tuple(sorted(self._members.near))

    def add_shares(self, sender: int, data: Buffer) -> None:
        """Take one node's encrypted shares: one for each of its neighbours."""
        upload = self._decode(Phase.SHARES, SharesUpload, data)
        self._rows.check(sender, upload)
        signed = partial(shares_to_sign, self._members.roster, upload)
        self._verify(sender, upload.signature, signed, "shares")
        self._rows.add(sender, upload)

    def close_shares(self) -> tuple[int, ...]:
        """Fix and return U2."""
        self._expect(Phase.SHARES)
        self._floor(len(self._rows.dealers), "shares")
        self.cohort = tuple(sorted(self._rows.dealers))
        # Nobody is asked to share any more, and of a thousand nodes they are megabytes.
        self._kem_keys.clear()
        self._roster_bytes = b""
        self.phase = Phase.MASKED
        return self.cohort

    def _verify(
        self, sender: int, signature: bytes, message: Callable[[], bytes], what: str
    ) -> None:
        """Take what its sender has not signed for no reply: somebody else may have sent it.

        What must be signed may be long, and is put together only where anybody signs.
        """
        if self._peers is None:
            return
        who = self._members.adverts[sender].identity
        if not verify(self._peers, who, signature, message()):
            raise BadReplyError(f"{what} from {sender}: signature")

    def _decode(self, phase: Phase, cls: type[_Message], data: Buffer) -> _Message:
        self._expect(phase)
        try:
            message = cls.decode(data)
        except DecodeError as error:
            raise BadReplyError(f"{cls.__name__}: {error}") from error
        if getattr(message, "attempt", None) != self.attempt:
            raise BadReplyError(f"{cls.__name__} of another attempt")
        return message

    def _expect(self, phase: Phase) -> None:
        if self.phase is not phase:
            raise RuntimeError(f"called in phase {self.phase.name}, belongs in {phase.name}")

    def _floor(self, count: int, what: str) -> None:
        floor = self._parameters.floor(len(self.members))
        if count < floor:
            raise self._abandon(f"{count} {what} where at least {floor} are needed")

    def _abandon(self, why: str) -> AbandonedError:
        self._forget()
        self.phase = Phase.ABANDONED
        return AbandonedError(f"{self.attempt}: {why}")

    def _forget(self) -> None:
        """Drop what clients have sent."""
