"""The server's role in one attempt: route shares, add inputs, remove masks.

One `ServerRole` serves one attempt through its phases: adverts, shares, masked inputs, the
signatures over the view where identities are on and somebody dropped out, unmasking. `add_*`
takes one client's reply and raises `BadReplyError` where that reply must be treated as a
dropout; `close_*` ends a phase and raises `AbandonedError` where too few are left. An
abandoned role holds no inputs any more and opens nothing.

In the steady state the strategy holds two roles: it passes the advert in a masked input and
the shares in an unmask reply on to the role of the next attempt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import urandom

import numpy as np

from strategies.secagg.binding import MaskBinding
from strategies.secagg.crypto.identity import Peers, input_to_sign, reply_to_sign, view_to_sign
from strategies.secagg.fields import AttemptId, Buffer
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import (
    NO_LOG_HEAD,
    ConfirmReply,
    ConfirmRequest,
    EncryptedInput,
    KeyReply,
    MaskedInput,
    ShareRequest,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from strategies.secagg.packing import packed_bytes
from strategies.secagg.server.disputes import Disputes
from strategies.secagg.server.key_exchange import KeyExchange
from strategies.secagg.server.masked_sum import MaskedSum
from strategies.secagg.server.outcome import AbandonedError, BadReplyError, Phase, UnmaskedSum
from strategies.secagg.server.recovery import LyingDealerError, RecoveryError, open_sum
from strategies.secagg.server.rows import Rows
from strategies.secagg.server.survivors import Survivors, choose_survivors
from strategies.secagg.signed_sum import SignedInput, SignedSum


class ServerRole(KeyExchange):
    """One attempt at the server.

    Parameters
    ----------
    attempt : AttemptId
        An attempt at the run's current or next round.
    parameters : ProtocolParameters
        The same as on the nodes.
    peers : mapping of bytes to bytes, optional
        Public keys by fingerprint, where identities are on: what its sender has not signed is
        no reply, and each node is shown that the others have its view. None where they are off.
    disputes : Disputes, optional
        Who is at fault, over all attempts of the run.
    """

    def __init__(
        self,
        attempt: AttemptId,
        parameters: ProtocolParameters,
        *,
        peers: Peers | None = None,
        disputes: Disputes | None = None,
    ) -> None:
        super().__init__(attempt, parameters, peers=peers, disputes=disputes)
        # Without their payloads, which are in the sum.
        self._inputs: dict[int, MaskedInput | EncryptedInput] = {}
        self._sum: MaskedSum | None = None
        self._payload_hashes: dict[int, bytes] = {}
        self._views: dict[int, bytes] = {}
        self._replies: dict[int, UnmaskReply] = {}
        self._binding = b""
        self._bound: MaskBinding | None = None
        self._log_head = NO_LOG_HEAD
        self._form: tuple[int, int, int] | None = None
        self.survivors: tuple[int, ...] = ()
        self._needed: tuple[int, ...] = ()
        #: Who sent an input that is not in the sum, for a dispute about shares.
        self.sat_out: tuple[int, ...] = ()

    def bind_masks(
        self,
        binding: MaskBinding,
        form: tuple[int, int, int] | None = None,
        log_head: bytes = NO_LOG_HEAD,
    ) -> None:
        """Bind the attempt to the model and configuration that the train requests carry.

        ``form`` is what masked inputs must have: modulus bits, parameters, scalars. Without it
        the first one that comes decides. ``log_head`` is that of the run's log (40 bytes).
        """
        self._expect(Phase.MASKED)
        self._binding = binding.hash(self._members.roster, self.cohort, self._numbers, log_head)
        self._bound, self._log_head = binding, log_head
        self._form = form

    @property
    def plan(self) -> bytes:
        """The hash that all masks, and all ciphertexts, are bound to."""
        return self._binding

    @property
    def _numbers(self) -> tuple[int, int, int]:
        """t, T and c."""
        parameters = self._parameters
        least = parameters.survivors(len(self.members))
        return self._members.threshold, least, parameters.max_colluding

    def train_request(self, node: int, next_attempt: AttemptId | None = None) -> TrainRequest:
        """Return the request for one node of U2; `next_attempt` asks for its next advert."""
        self._expect(Phase.MASKED)
        rows = self._rows.addressed_to(node)
        return TrainRequest(
            self.attempt, self.cohort, rows, self._binding, self._log_head, next_attempt
        )

    def add_masked(self, sender: int, data: Buffer) -> MaskedInput | EncryptedInput:
        """Take one masked input and return it, for the advert in it.

        The payload is added to the sum at once, and kept as it came until the sum is opened:
        `data` must not change.
        """
        message = self._decode(Phase.MASKED, MaskedInput, data)
        self._check_sender(sender, message)
        form = _form(message)
        due = self._form or form
        whole = len(message.scalars) >= 8 and len(message.scalars) % 8 == 0
        size = packed_bytes(message.num_parameters, message.modulus_bits)
        if form != due or not whole or len(message.update) != size:
            raise BadReplyError(f"masked input from {sender}: form {form}, due {due}")
        self._check_signed(sender, message)
        self._add_up(sender, message, due)
        return message

    def _check_sender(self, sender: int, message: MaskedInput | EncryptedInput) -> None:
        if sender not in self.cohort or sender in self._inputs:
            raise BadReplyError(f"masked input from {sender}: not in the cohort, or repeated")
        rejected = set(message.rejected)
        # Mostly nobody: its peers are not put together for that.
        if rejected and not rejected <= self._members.near[sender] & {*self.cohort} - {sender}:
            raise BadReplyError(f"masked input from {sender}: rejects others than its peers")

    def _check_signed(self, sender: int, message: MaskedInput | EncryptedInput) -> None:
        if self._peers is None:
            return
        hashed = message.payload_hash()
        signed = partial(input_to_sign, self.attempt, self._binding, message.rejected, hashed)
        self._verify(sender, message.signature, signed, "masked input")
        self._payload_hashes[sender] = hashed

    def _add_up(self, sender: int, message: MaskedInput, form: tuple[int, int, int]) -> None:
        """Add an input to the sum, and keep of it what comes with its payload."""
        if self._sum is None:
            self._form, self._sum = form, MaskedSum(*form)
        try:
            self._sum.add(sender, message)
        except OSError as error:
            raise self._not_kept(len(message.update), error) from error
        self._inputs[sender] = replace(message, update=b"", scalars=b"", next_advert=None)

    def _not_kept(self, num_bytes: int, error: OSError) -> AbandonedError:
        return self._abandon(
            f"a masked input of {num_bytes} bytes cannot be kept: {error}; TMPDIR names the"
            " folder for temporary files, which needs room for all of them"
        )

    def close_masked(self) -> tuple[int, ...]:
        """Fix and return U3; below the floor the attempt is abandoned, all inputs dropped."""
        self._expect(Phase.MASKED)
        self._floor(len(self._inputs), "masked inputs")
        complaints = {node: message.rejected for node, message in self._inputs.items()}
        self._note(complaints)
        chosen = self._chosen(self._disputes.sitting_out(complaints))
        self._floor(len(chosen.survivors), "survivors of disputes about shares")
        alone = [n for n in chosen.survivors if not self._can_open(n, chosen.survivors)]
        if alone:
            raise self._abandon(f"too few neighbours survive around {alone}")
        self.survivors, self._needed = chosen.survivors, chosen.needed
        self.sat_out = tuple(sorted(set(self._inputs) - set(self.survivors)))
        for node in self.sat_out:
            try:
                self._leave_out(node)
            except OSError as error:
                cause = f"what node {node} sent cannot be read again: {error}"
                raise self._abandon(cause) from error
        whole = self._peers is None or self.survivors == self.cohort
        self.phase = Phase.UNMASK if whole else Phase.CONFIRM
        return self.survivors

    def _chosen(self, sitting_out: frozenset[int]) -> Survivors:
        return choose_survivors(self._members, self.cohort, self._inputs, sitting_out)

    def _leave_out(self, node: int) -> None:
        """Take the input of a node that sits out from the sum again."""
        self._total.take_out(node)

    def _note(self, complaints: Mapping[int, tuple[int, ...]]) -> None:
        """Note who is in dispute; a row without its form is its dealer's lie."""
        for node, dealers in complaints.items():
            for dealer in dealers:
                if self._rows.is_sound(dealer, node):
                    self._disputes.add(node, dealer)
                else:
                    self._disputes.prove(dealer, "a row of shares that is not in its form")

    def _can_open(self, node: int, survivors: tuple[int, ...]) -> bool:
        near = len(self._members.near[node].intersection(survivors))
        return near >= self._members.threshold

    def confirm_request(self) -> ConfirmRequest:
        """Return the survivor set for every survivor to sign."""
        self._expect(Phase.CONFIRM)
        return ConfirmRequest(self.attempt, self.survivors)

    def add_view(self, sender: int, data: Buffer) -> None:
        """Take one survivor's signature; a false one would stop every honest node."""
        reply = self._decode(Phase.CONFIRM, ConfirmReply, data)
        if sender not in self.survivors:
            raise BadReplyError(f"view from {sender}, which is no survivor")
        roster = self._members.roster
        message = partial(view_to_sign, self.attempt, roster, self._binding, self.survivors)
        self._verify(sender, reply.signature, message, "view")
        self._views[sender] = reply.signature

    def close_views(self) -> None:
        """End the confirm trip; needs q signatures."""
        self._expect(Phase.CONFIRM)
        if len(self._views) < self._members.quorum:
            raise self._abandon(
                f"{len(self._views)} signed their view where {self._members.quorum} are needed"
            )
        self.phase = Phase.UNMASK

    @property
    def dropouts(self) -> tuple[int, ...]:
        """U2 without U3."""
        return tuple(sorted(set(self.cohort) - set(self.survivors)))

    def unmask_request(self, next_request: ShareRequest | None = None) -> UnmaskRequest:
        """Return the request for one survivor, with its share request of the next attempt."""
        self._expect(Phase.UNMASK)
        return UnmaskRequest(
            attempt=self.attempt,
            survivors=self.survivors,
            dropouts=self._needed,
            inputs=self._shown_inputs(),
            views=self._shown_views(),
            next_request=next_request.encode() if next_request is not None else None,
        )

    def _shown_inputs(self) -> tuple[tuple[int, bytes], ...]:
        """Hash and signature of q masked inputs, where they show that all have one view."""
        if self._peers is None or self._views:
            return ()
        return tuple(
            (node, self._payload_hashes[node] + self._inputs[node].signature)
            for node in self._drawn(self.survivors)
        )

    def _shown_views(self) -> tuple[tuple[int, bytes], ...]:
        """Return q signatures over the view; none where there was no confirm trip."""
        return tuple((node, self._views[node]) for node in self._drawn(sorted(self._views)))

    def _drawn(self, nodes: Sequence[int]) -> list[int]:
        """Draw q nodes: more prove no more.

        For each request anew, as a node keeps what it knows of those that it is shown to have
        masked: so hardly anyone is shown to nobody.
        """
        if not nodes:
            return []
        if len(nodes) < self._members.quorum:
            raise ValueError(f"{len(nodes)} nodes where {self._members.quorum} are to be shown")
        # The order of as many random words is a random order. One call of the system for all:
        # `SystemRandom().sample` makes one for each node that it draws.
        words = np.frombuffer(urandom(8 * len(nodes)), np.uint64)
        order: list[int] = np.argsort(words).tolist()
        return sorted(nodes[at] for at in order[: self._members.quorum])

    def add_unmask(self, sender: int, data: Buffer) -> UnmaskReply | KeyReply:
        """Take one survivor's shares and return the reply, for the next shares in it."""
        reply = self._decode(Phase.UNMASK, UnmaskReply, data)
        self._check_reply(sender, reply)
        if not self._rows.holds_what_was_dealt(sender, reply):
            self._disputes.prove(sender, "it gave a share that was never dealt to it")
            raise BadReplyError(f"unmask reply from {sender}: a share that was never dealt")
        # Verified; the next shares go on to the next attempt, and are long.
        self._replies[sender] = replace(reply, next_shares=None)
        return reply

    def _check_reply(self, sender: int, reply: UnmaskReply | KeyReply) -> None:
        if sender not in self.survivors or sender in self._replies:
            raise BadReplyError(f"unmask reply from {sender}: no survivor, or repeated")
        signed = partial(reply_to_sign, self._binding, reply)
        self._verify(sender, reply.signature, signed, "unmask reply")

    def finish(self) -> UnmaskedSum:
        """Return the sum, or raise `AbandonedError`."""
        self._expect(Phase.UNMASK)
        inputs = {
            node: message
            for node, message in self._inputs.items()
            if node in self.survivors and isinstance(message, MaskedInput)
        }
        signed = self._signed_sum()
        self._inputs.clear()
        try:
            update, scalars = open_sum(
                self._members,
                self._binding,
                inputs,
                self._replies,
                self._needed,
                self._rows.pair_part,
                self._total,
            )
        except LyingDealerError as error:
            self._disputes.prove(error.node, "what it dealt does not give its secrets")
            raise self._abandon(str(error)) from error
        except RecoveryError as error:
            raise self._abandon(str(error)) from error
        if int(scalars[-1]) != len(self.survivors):
            raise self._abandon(
                "a participant's contribution is not possible, as the masks do not cancel;"
                " nobody can tell whose"
            )
        self._forget()
        self.phase = Phase.DONE
        return UnmaskedSum(update, scalars[:-1], self.survivors, self.dropouts, signed)

    @property
    def _total(self) -> MaskedSum:
        if self._sum is None:
            raise RuntimeError("no masked input has come")
        return self._sum

    def _signed_sum(self) -> SignedSum | None:
        """Return what the survivors have signed; None where identities are off."""
        if self._peers is None or self._bound is None:
            return None
        adverts = self._members.adverts
        return SignedSum(
            attempt=self.attempt,
            roster=self._members.roster,
            binding=self._bound,
            numbers=self._numbers,
            cohort=self.cohort,
            survivors=self.survivors,
            log_head=self._log_head,
            inputs=tuple(
                SignedInput(
                    adverts[node].identity,
                    self._inputs[node].rejected,
                    self._payload_hashes[node],
                    self._inputs[node].signature,
                )
                for node in self.survivors
            ),
            views=tuple(
                (adverts[node].identity, signature)
                for node, signature in sorted(self._views.items())
            ),
        )

    def _forget(self) -> None:
        for table in (self._inputs, self._views, self._replies):
            table.clear()
        if self._sum is not None:
            self._sum.close()
        self._sum = None
        self._rows = Rows(self._members)


def _form(message: MaskedInput) -> tuple[int, int, int]:
    """Return modulus bits, parameters and scalars, without the one that counts."""
    return message.modulus_bits, message.num_parameters, len(message.scalars) // 8 - 1
