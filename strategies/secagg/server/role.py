"""The server's role in one attempt: route shares, add inputs, remove masks.

One `ServerRole` serves one attempt through its phases: adverts, shares, masked inputs,
confirmations if wanted, unmasking. `add_*` takes one client's reply and raises
`BadReplyError` where that reply must be treated as a dropout; `close_*` ends a phase and
raises `AbandonedError` where too few are left. An abandoned role holds no inputs any more
and opens nothing.

In the steady state the strategy holds two roles: it passes the advert in a masked input and
the shares in an unmask reply on to the role of the next attempt.

Decision where `protocol.md` leaves room: inputs whose senders complain of one another's
shares are left out (`recovery.leave_out`) and their senders become dropouts.
"""

from typing import TypeVar

from strategies.secagg.binding import MaskBinding
from strategies.secagg.crypto.keys import (
    Peers,
    advert_to_sign,
    is_low_order,
    survivors_to_sign,
    verify,
)
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import (
    Advert,
    AdvertRequest,
    ConsistencyReply,
    ConsistencyRequest,
    MaskedInput,
    Roster,
    SharesUpload,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from strategies.secagg.packing import packed_bytes
from strategies.secagg.server.outcome import AbandonedError, BadReplyError, Phase, UnmaskedSum
from strategies.secagg.server.recovery import Members, RecoveryError, leave_out, open_sum
from strategies.secagg.wire import AttemptId, Buffer, DecodeError, Wire

_Message = TypeVar("_Message", bound=Wire)


class ServerRole:
    """One attempt at the server.

    Parameters
    ----------
    attempt : AttemptId
        An attempt at the run's current or next round.
    parameters : ProtocolParameters
        The same as on the nodes.
    consistency_check : bool
        Whether the trip for signed survivor sets takes place.
    peers : mapping of bytes to bytes, optional
        Public keys by fingerprint: adverts that honest nodes would refuse are left out
        early. None where identities are off.
    """

    def __init__(
        self,
        attempt: AttemptId,
        parameters: ProtocolParameters,
        *,
        consistency_check: bool = False,
        peers: Peers | None = None,
    ) -> None:
        self.attempt, self._parameters, self._peers = attempt, parameters, peers
        self._consistency_check = consistency_check
        self.phase = Phase.ADVERTS
        self._adverts: dict[int, Advert] = {}
        self._keys: set[bytes] = set()
        self._sharers: set[int] = set()
        self._inbox: dict[int, dict[int, bytes]] = {}
        self._inputs: dict[int, MaskedInput] = {}
        self._confirmations: dict[int, bytes] = {}
        self._replies: dict[int, UnmaskReply] = {}
        self._members = Members(b"", 0, {}, {}, {})
        self._binding = b""
        self._form: tuple[int, int, int] | None = None
        self.cohort: tuple[int, ...] = ()
        self.survivors: tuple[int, ...] = ()

    def advert_request(self) -> AdvertRequest:
        """Return the bootstrap's first message, the same for every node."""
        return AdvertRequest(self.attempt)

    def add_advert(self, sender: int, data: Buffer) -> None:
        """Take one advert; the transport says who sent it."""
        advert = self._decode(Phase.ADVERTS, Advert, data)
        low = is_low_order(advert.mask_key) or is_low_order(advert.share_key)
        keys = {advert.mask_key, advert.share_key, advert.commitment}
        if advert.node_id != sender or sender in self._adverts or low:
            raise BadReplyError(f"advert of node {advert.node_id} from {sender}: name or key")
        if len(keys) < 3 or keys & self._keys:
            raise BadReplyError(f"advert from {sender}: a key or commitment twice")
        if self._peers is not None:
            twice = any(a.identity == advert.identity for a in self._adverts.values())
            signed = advert_to_sign(advert)
            if twice or not verify(self._peers, advert.identity, advert.signature, signed):
                raise BadReplyError(f"advert from {sender}: identity or signature")
        self._keys |= keys
        self._adverts[sender] = advert

    def close_adverts(self) -> Roster:
        """Fix U1 and the graph, and return the roster for all of U1."""
        self._expect(Phase.ADVERTS)
        self._floor(len(self._adverts), "adverts")
        ids = sorted(self._adverts)
        adverts = tuple(self._adverts[node].encode() for node in ids)
        try:
            shape = self._parameters.shape(len(ids))
        except ValueError as error:
            raise self._abandon(str(error)) from error
        roster = Roster(self.attempt, shape.threshold, shape.num_neighbors, adverts)
        self._members = Members.of(roster, shape, self._adverts)
        self.phase = Phase.SHARES
        return roster

    @property
    def members(self) -> tuple[int, ...]:
        """U1, ascending; empty before the adverts are closed."""
        return tuple(sorted(self._members.near))

    def add_shares(self, sender: int, data: Buffer) -> None:
        """Take one node's encrypted shares: one for each of its neighbours."""
        upload = self._decode(Phase.SHARES, SharesUpload, data)
        receivers = frozenset(receiver for receiver, _ in upload.shares)
        expected = self._members.near.get(sender, frozenset[int]()) - {sender}
        if sender in self._sharers or sender not in self._members.near or receivers != expected:
            raise BadReplyError(f"shares from {sender}: repeated, or not for its neighbours")
        self._sharers.add(sender)
        for receiver, sealed in upload.shares:
            self._inbox.setdefault(receiver, {})[sender] = sealed

    def close_shares(self) -> tuple[int, ...]:
        """Fix and return U2."""
        self._expect(Phase.SHARES)
        self._floor(len(self._sharers), "shares")
        self.cohort = tuple(sorted(self._sharers))
        self.phase = Phase.MASKED
        return self.cohort

    def bind_masks(
        self, binding: MaskBinding, form: tuple[int, int, int] | None = None
    ) -> None:
        """Bind the attempt to the model and configuration that the train requests carry.

        ``form`` is what masked inputs must have: modulus bits, parameters, scalars. Without it
        the first one that comes decides.
        """
        self._expect(Phase.MASKED)
        t, parameters = self._members.threshold, self._parameters
        numbers = t, parameters.survivors(len(self.members)), parameters.max_colluding
        self._binding = binding.hash(self._members.roster, self.cohort, numbers)
        self._form = form

    def train_request(self, node: int, next_attempt: AttemptId | None = None) -> TrainRequest:
        """Return the request for one node of U2; `next_attempt` asks for its next advert."""
        self._expect(Phase.MASKED)
        shares = tuple(sorted(self._inbox.get(node, {}).items()))
        return TrainRequest(self.attempt, self.cohort, shares, self._binding, next_attempt)

    def add_masked(self, sender: int, data: Buffer) -> MaskedInput:
        """Take one masked input and return it, for the advert in it.

        The payload is kept as a view of `data`, not copied.
        """
        message = self._decode(Phase.MASKED, MaskedInput, data)
        if sender not in self.cohort or sender in self._inputs:
            raise BadReplyError(f"masked input from {sender}: not in the cohort, or repeated")
        first = next(iter(self._inputs.values()), message)
        form, due = _form(message), self._form or _form(first)
        whole = len(message.scalars) >= 8 and len(message.scalars) % 8 == 0
        size = packed_bytes(message.num_parameters, message.modulus_bits)
        if form != due or not whole or len(message.update) != size:
            raise BadReplyError(f"masked input from {sender}: form {form}, due {due}")
        self._inputs[sender] = message
        return message

    def close_masked(self) -> tuple[int, ...]:
        """Fix and return U3; below the floor the attempt is abandoned, all inputs dropped."""
        self._expect(Phase.MASKED)
        complaints = {node: frozenset(m.rejected) for node, m in self._inputs.items()}
        gone = leave_out(complaints)
        survivors = tuple(sorted(set(self._inputs) - gone))
        self._floor(len(survivors), "masked inputs")
        alone = [n for n in self.cohort if not self._can_open(n, survivors)]
        if alone:
            raise self._abandon(f"too few neighbours survive around {alone}")
        self.survivors = survivors
        self.phase = Phase.CONFIRM if self._consistency_check else Phase.UNMASK
        return survivors

    def _can_open(self, node: int, survivors: tuple[int, ...]) -> bool:
        near = len(self._members.near[node].intersection(survivors))
        return near >= self._members.threshold

    def consistency_request(self) -> ConsistencyRequest:
        """Return the survivor set for every survivor to sign."""
        self._expect(Phase.CONFIRM)
        return ConsistencyRequest(self.attempt, self.survivors)

    def add_confirmation(self, sender: int, data: Buffer) -> None:
        """Take one survivor's signature; a false one would stop every honest node."""
        reply = self._decode(Phase.CONFIRM, ConsistencyReply, data)
        message = survivors_to_sign(
            self.attempt, self._members.roster, self._binding, self.survivors
        )
        advert = self._adverts.get(sender)
        if sender not in self.survivors or advert is None:
            raise BadReplyError(f"confirmation from {sender}, which is no survivor")
        if not verify(self._peers or {}, advert.identity, reply.signature, message):
            raise BadReplyError(f"confirmation from {sender}: signature")
        self._confirmations[sender] = reply.signature

    def close_confirmations(self) -> None:
        """End the consistency trip; needs t signatures."""
        self._expect(Phase.CONFIRM)
        if len(self._confirmations) < self._members.threshold:
            raise self._abandon(f"{len(self._confirmations)} confirmations")
        self.phase = Phase.UNMASK

    @property
    def dropouts(self) -> tuple[int, ...]:
        """U2 without U3."""
        return tuple(sorted(set(self.cohort) - set(self.survivors)))

    def unmask_request(self, next_roster: Roster | None = None) -> UnmaskRequest:
        """Return the request for a survivor; `next_roster` only if it is in that roster."""
        self._expect(Phase.UNMASK)
        confirmations = tuple(sorted(self._confirmations.items()))
        roster = next_roster.encode() if next_roster is not None else None
        return UnmaskRequest(self.attempt, self.survivors, self.dropouts, confirmations, roster)

    def add_unmask(self, sender: int, data: Buffer) -> UnmaskReply:
        """Take one survivor's shares and return the reply, for the next shares in it."""
        reply = self._decode(Phase.UNMASK, UnmaskReply, data)
        if sender not in self.survivors or sender in self._replies:
            raise BadReplyError(f"unmask reply from {sender}: no survivor, or repeated")
        self._replies[sender] = reply
        return reply

    def finish(self) -> UnmaskedSum:
        """Return the sum, or raise `AbandonedError`."""
        self._expect(Phase.UNMASK)
        inputs = {node: self._inputs[node] for node in self.survivors}
        self._inputs.clear()
        try:
            update, scalars = open_sum(
                self._members, self._binding, inputs, self._replies, self.dropouts
            )
        except RecoveryError as error:
            raise self._abandon(str(error)) from error
        if int(scalars[-1]) != len(self.survivors):
            raise self._abandon("the masks did not cancel: a client broke the sum")
        self._forget()
        self.phase = Phase.DONE
        return UnmaskedSum(update, scalars[:-1], self.survivors, self.dropouts)

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
        parameters, num_members = self._parameters, len(self.members)
        least = (
            parameters.survivors(num_members) if num_members else parameters.min_survivors or 0
        )
        floor = max(least, parameters.max_colluding + 2)
        if count < floor:
            raise self._abandon(f"{count} {what} where at least {floor} are needed")

    def _abandon(self, why: str) -> AbandonedError:
        self._forget()
        self.phase = Phase.ABANDONED
        return AbandonedError(f"{self.attempt}: {why}")

    def _forget(self) -> None:
        for table in (self._inbox, self._inputs, self._confirmations, self._replies):
            table.clear()


def _form(message: MaskedInput) -> tuple[int, int, int]:
    """Return modulus bits, parameters and scalars, without the one that counts."""
    return message.modulus_bits, message.num_parameters, len(message.scalars) // 8 - 1
