"""The client's role: one method for each request, bytes in, a message or a refusal out.

Each method deletes what has expired, checks, computes, advances the store by
compare-and-set, and only then returns the reply. Nothing is kept in memory in between, so a
process may end anywhere: before the write nothing has happened, after it the reply is lost
and the attempt goes on without this node.

Decisions where `protocol.md` leaves room:

* A message that cannot be decoded closes the attempt that its first bytes name, if any.
* The share point of a node is its place in the roster, from 1, in every neighbourhood.
* One more scalar, the constant 1, travels behind the others: the sum must be the number of
  survivors, or the server drops the result. It catches masks that do not cancel.
* A node that masked but is listed as a dropout refuses: an honest server leaves it alone.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.binding import MaskBinding
from strategies.secagg.client import checks
from strategies.secagg.client.checks import ProtocolRefusedError, TrustPolicy, require
from strategies.secagg.client.masking_step import (
    Opened,
    encrypted_input,
    mask_opened,
    open_request,
    secrets_after_masking,
)
from strategies.secagg.client.memory import Memory, NoMemory
from strategies.secagg.client.refusing import ErrorBoundary, named
from strategies.secagg.client.remembering import remember, require_allowed
from strategies.secagg.client.roster import check_request, read_roster
from strategies.secagg.client.sharing import OwnNode, draw_advert, share_secrets
from strategies.secagg.client.stages import Records, Stages
from strategies.secagg.client.store import (
    AdvertisedSecrets,
    Change,
    MaskedSecrets,
    SharedSecrets,
    Store,
)
from strategies.secagg.client.transitions import Event
from strategies.secagg.crypto import packed
from strategies.secagg.crypto.identity import reply_to_sign, view_to_sign
from strategies.secagg.crypto.keys import RandomBytes
from strategies.secagg.crypto.prg import Vector, word_dtype
from strategies.secagg.fields import AttemptId, Buffer
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import (
    FIELD_BYTES,
    NO_LOG_HEAD,
    AdvertReply,
    AdvertRequest,
    ConfirmReply,
    ConfirmRequest,
    EncryptedInput,
    KeyReply,
    KeyRoster,
    MaskedInput,
    Refusal,
    Roster,
    ShareRequest,
    SharesUpload,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from strategies.secagg.reasons import RefusalReason
from strategies.secagg.wire import is_message, peek_attempt

_Input = TypeVar("_Input", MaskedInput, EncryptedInput)


class ClientRole:
    """One node in one run.

    Parameters
    ----------
    node_id, run_id : int
        Flower's ids; messages of any other run are refused.
    parameters : ProtocolParameters
        Fixed for the run: other parameters than at the first contact are refused.
    store : Store
        Keeps stages and secrets.
    bundle : bytes
        SHA-256 of the code that runs here.
    memory : Memory
        Keeps heads and views; nothing unless given.
    trust : TrustPolicy
        Identity, peers and approved bundles. With an identity, every message is signed and
        shares are given for one view of the attempt only.
    draw_key : callable, optional
        From ``random_bytes`` to a fresh key, of which a roster may ask that it be dealt: shape
        (k,), int8. Without it seeds are shared, and no roster of keys is answered.
    lifetime_seconds : float
        Secrets are deleted this long after the last step of their attempt.
    clock, random_bytes : callable
        Seconds that never go back, and uniform secret bytes.
    """

    def __init__(
        self,
        *,
        node_id: int,
        run_id: int,
        parameters: ProtocolParameters,
        store: Store,
        bundle: bytes,
        memory: Memory | None = None,
        trust: TrustPolicy | None = None,
        draw_key: Callable[[RandomBytes], NDArray[np.int8]] | None = None,
        lifetime_seconds: float = 3600.0,
        clock: Callable[[], float] = time.time,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._trust = trust or TrustPolicy()
        self._parameters, self._draw_key = parameters, draw_key
        self._memory = memory or NoMemory()
        self._me = OwnNode(
            node_id=node_id,
            bundle=bundle,
            identity=self._trust.identity,
            is_hybrid=parameters.is_hybrid,
            memory=self._memory,
            random_bytes=random_bytes,
        )
        self._stages = Stages(store, run_id, parameters, lifetime_seconds, clock)
        self._boundary = ErrorBoundary(self._stages)

    def advertise(self, data: Buffer) -> AdvertReply | Refusal:
        """Answer an `AdvertRequest` (bootstrap); closes the run's other open attempts."""
        return self._boundary.answer(AdvertRequest, data, self._advertise)

    def share(self, data: Buffer) -> SharesUpload | Refusal:
        """Answer a `ShareRequest` alone (bootstrap)."""
        return self._boundary.answer(ShareRequest, data, self._share)

    def _roster_type(self, data: Buffer) -> type[Roster]:
        """Return the roster that bytes must be: one of keys only where keys can be drawn."""
        is_key = self._draw_key is not None and is_message(KeyRoster, data)
        return KeyRoster if is_key else Roster

    def open_train(
        self, data: Buffer, binding: MaskBinding | Callable[[int, bool], MaskBinding]
    ) -> Opened | Refusal:
        """Check a `TrainRequest` before training, and decrypt its shares.

        `binding` must be made from the model and configuration that will really be used; it may
        be a function of the size of U2 and of whether a key was dealt. The stage does not move
        yet: that is for `mask` or `encrypted`.
        """
        return self._boundary.answer(
            TrainRequest, data, lambda request: self._open(request, binding)
        )

    def mask(
        self,
        opened: Opened,
        update: Vector,
        scalars: NDArray[np.uint64],
        modulus_bits: int,
    ) -> MaskedInput | Refusal:
        """Mask a contribution and return the reply to the opened request.

        Parameters
        ----------
        opened : Opened
            From `open_train`.
        update : ndarray of shape (d,), of `prg.word_dtype(modulus_bits)`
            Encoded contribution, below 2^b. It is masked in place: do not use it again.
        scalars : ndarray of shape (k,), uint64
            Encoded scalars; copied.
        modulus_bits : int
            b.
        """
        return self._boundary.run(
            named(opened.request), lambda: self._mask(opened, update, scalars, modulus_bits)
        )

    def encrypted(self, opened: Opened, ciphertext: Buffer) -> EncryptedInput | Refusal:
        """Return the reply to an opened request for which a key was dealt.

        `ciphertext` must be under `Opened.key`, which is gone with this: encrypt once.
        """
        return self._boundary.run(
            named(opened.request), lambda: self._encrypted(opened, ciphertext)
        )

    def forget(self, data: Buffer) -> None:
        """Delete the secrets of the attempt that a message names: it will not be answered."""
        attempt = peek_attempt(data)
        self._stages.close([attempt] if attempt is not None else [])

    def confirm(self, data: Buffer) -> ConfirmReply | Refusal:
        """Answer a `ConfirmRequest`: sign the view with this survivor set, once."""
        return self._boundary.answer(ConfirmRequest, data, self._confirm)

    def unmask(self, data: Buffer) -> UnmaskReply | KeyReply | Refusal:
        """Answer an `UnmaskRequest`: one share of each node of U2, never both.

        Where keys were dealt, one share of the sum of the survivors' keys.
        """
        return self._boundary.answer(UnmaskRequest, data, self._unmask)

    def _advertise(self, request: AdvertRequest) -> AdvertReply:
        records = self._stages.records(named(request))
        if not records:
            self._stages.compact()
        advert, change = self._drawn(records, request.attempt)
        self._stages.commit([change, *self._stages.closing_others(records, request.attempt)])
        # One that began at the same time knew nothing of this one. With both open, some nodes
        # could mask in one order and some in the other, and each attempt get enough proofs and
        # half of the answers: of dealt keys these tell a part of both sums.
        now = self._stages.records(named(request))
        others = [one.attempt for one in self._stages.closing_others(now, request.attempt)]
        if others:
            self._stages.close([request.attempt, *others])
            raise ProtocolRefusedError(RefusalReason.WRONG_STAGE, "two attempts began at once")
        return advert

    def _drawn(self, records: Records, attempt: AttemptId) -> tuple[AdvertReply, Change]:
        self._stages.check(records, attempt, Event.ADVERTISE)
        advert, secrets = draw_advert(attempt, self._me)
        return advert, self._stages.move(records, attempt, Event.ADVERTISE, secrets)

    def _share(self, request: ShareRequest) -> SharesUpload:
        upload, change = self._shared(self._stages.records(named(request)), request)
        self._stages.commit([change])
        return upload

    def _shared(self, records: Records, request: ShareRequest) -> tuple[SharesUpload, Change]:
        attempt = request.attempt
        self._stages.check(records, attempt, Event.SHARE)
        own = AdvertisedSecrets.decode(records[attempt].secrets)
        roster = read_roster(self._roster_type(request.roster), request.roster)
        checked = check_request(request, roster, own.advert, self._parameters, self._trust)
        key = b""
        if self._draw_key is not None and checked.shape.num_packed:
            # For this attempt alone; the stage moves before a share leaves, and as it is used.
            key = self._draw_key(self._me.random_bytes).tobytes()
        upload, kept = share_secrets(attempt, checked, own, self._me, key)
        return upload, self._stages.move(records, attempt, Event.SHARE, kept)

    def _open(
        self, request: TrainRequest, given: MaskBinding | Callable[[int, bool], MaskBinding]
    ) -> Opened:
        records = self._stages.records(named(request))
        self._stages.check(records, request.attempt, Event.MASK)
        if request.next_attempt is not None:
            self._stages.check(records, request.next_attempt, Event.ADVERTISE)
        secrets = SharedSecrets.decode(records[request.attempt].secrets)
        is_key = secrets.num_packed > 0
        binding = (
            given if isinstance(given, MaskBinding) else given(len(request.cohort), is_key)
        )
        records = self._stages.records(named(request), binding.model)
        checks.check_model(records, request.attempt, binding.model)
        return open_request(request, binding, secrets, self._parameters, self._me)

    def _mask(
        self,
        opened: Opened,
        update: Vector,
        scalars: NDArray[np.uint64],
        modulus_bits: int,
    ) -> MaskedInput:
        right = update.dtype == word_dtype(modulus_bits) and scalars.dtype == np.uint64
        require(right, RefusalReason.BAD_INPUT, f"{update.dtype}, {scalars.dtype}")
        require(opened.key is None, RefusalReason.BAD_INPUT, "a mask where a key was dealt")
        segments = update, np.append(scalars, np.uint64(1))
        return self._contribute(
            opened, lambda advert: mask_opened(opened, self._me, segments, modulus_bits, advert)
        )

    def _encrypted(self, opened: Opened, ciphertext: Buffer) -> EncryptedInput:
        require(opened.key is not None, RefusalReason.BAD_INPUT, "no key was dealt")
        return self._contribute(
            opened, lambda advert: encrypted_input(opened, self._me, ciphertext, advert)
        )

    def _contribute(self, opened: Opened, message: Callable[[bytes | None], _Input]) -> _Input:
        """Move the stage, and return the message, which gets the advert of the next attempt."""
        request = opened.request
        records = self._stages.records(named(request), opened.model)
        checks.check_model(records, request.attempt, opened.model)
        advert: AdvertReply | None = None
        kept = secrets_after_masking(opened)
        changes = [self._stages.move(records, request.attempt, Event.MASK, kept, opened.model)]
        if request.next_attempt is not None:
            advert, change = self._drawn(records, request.next_attempt)
            changes.append(change)
        changes += self._stages.closing_retried(records, request.attempt, opened.model)
        reply = message(advert.encode() if advert is not None else None)
        self._stages.commit(changes)
        if reply.signature and request.log_head != NO_LOG_HEAD:
            # Before it leaves: a signature is out, and this node's owner can tell over what.
            self._memory.keep_log_head(request.attempt.run_id, request.log_head)
        return reply

    def _confirm(self, request: ConfirmRequest) -> ConfirmReply:
        records = self._stages.records(named(request))
        self._stages.check(records, request.attempt, Event.CONFIRM)
        identity = self._trust.identity
        if identity is None:
            raise ProtocolRefusedError(
                RefusalReason.VIEW_NOT_SIGNED, "no identity to sign with"
            )
        secrets = MaskedSecrets.decode(records[request.attempt].secrets)
        checks.check_survivors(request.survivors, self._me.node_id, secrets)
        require_allowed(self._memory, request, secrets)
        message = view_to_sign(
            request.attempt, secrets.roster, secrets.binding, request.survivors
        )
        kept = replace(secrets, signed=checks.hash_nodes(request.survivors))
        self._stages.commit([self._stages.move(records, request.attempt, Event.CONFIRM, kept)])
        return ConfirmReply(request.attempt, identity.sign(message))

    def _unmask(self, request: UnmaskRequest) -> UnmaskReply | KeyReply:
        records = self._stages.records(named(request))
        self._stages.check(records, request.attempt, Event.UNMASK)
        secrets = MaskedSecrets.decode(records[request.attempt].secrets)
        checks.check_split(request, secrets.cohort)
        checks.check_survivors(request.survivors, self._me.node_id, secrets)
        identity, stage = self._trust.identity, records[request.attempt].stage
        if identity is not None:
            checks.check_one_view(request, secrets, stage, identity)
        # Asked again, as two attempts may have been masked at the same time.
        model = records[request.attempt].model
        checks.check_model(records, request.attempt, model)
        require_allowed(self._memory, request, secrets)
        changes = [self._stages.move(records, request.attempt, Event.UNMASK, None)]
        changes += self._stages.closing_retried(records, request.attempt, model)
        upload: SharesUpload | None = None
        if request.next_request is not None:
            following = ShareRequest.decode(request.next_request)
            upload, change = self._shared(records, following)
            changes.append(change)
        self._stages.commit(changes)
        remember(self._me, request, secrets, stage)
        reply = _reply(request, secrets, upload.encode() if upload is not None else None)
        if identity is None:
            return reply
        return reply.with_signature(identity.sign(reply_to_sign(secrets.binding, reply)))


def _reply(
    request: UnmaskRequest, secrets: MaskedSecrets, next_shares: bytes | None
) -> UnmaskReply | KeyReply:
    """Return the shares asked for, unsigned."""
    held = secrets.held
    if secrets.num_packed:
        survivors = set(request.survivors)
        share = packed.add_shares([share for node, share in held if node in survivors])
        return KeyReply(request.attempt, share, next_shares, b"")
    survivors, dropouts = set(request.survivors), set(request.dropouts)
    return UnmaskReply(
        attempt=request.attempt,
        self_shares=tuple((n, s[FIELD_BYTES:]) for n, s in held if n in survivors),
        mask_shares=tuple((n, s[:FIELD_BYTES]) for n, s in held if n in dropouts),
        next_shares=next_shares,
        signature=b"",
    )
