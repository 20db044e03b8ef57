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
* On the complete graph at least T members' shares must have decrypted before a node masks,
  else t of its closed neighbourhood; the same floor holds for the survivors among them.
* A node that masked but is listed as a dropout refuses: an honest server leaves it alone.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from strategies.secagg import checks
from strategies.secagg.checks import RefusedError, TrustPolicy, require
from strategies.secagg.graph import Terms
from strategies.secagg.keys import RandomBytes, survivors_to_sign
from strategies.secagg.masking import input_masks, mask_both
from strategies.secagg.messages import (
    FIELD_BYTES,
    Advert,
    AdvertRequest,
    ConsistencyReply,
    ConsistencyRequest,
    MaskedInput,
    Plan,
    Refusal,
    RefusalReason,
    Roster,
    SharesUpload,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from strategies.secagg.packing import pack
from strategies.secagg.prg import Vector, reduce_modulus, word_dtype
from strategies.secagg.sharing import draw_advert, open_shares, share_seeds
from strategies.secagg.stages import Records, Stages
from strategies.secagg.store import (
    AdvertisedSecrets,
    Change,
    MaskedSecrets,
    SharedSecrets,
    Store,
)
from strategies.secagg.transitions import Event
from strategies.secagg.wire import NODES, AttemptId, Buffer, DecodeError, Wire, peek_attempt

_log = logging.getLogger(__name__)
_Request = TypeVar("_Request", bound=Wire)
_Reply = TypeVar("_Reply")
_UNNAMED = AttemptId(0, 0, 0)


@dataclass(frozen=True, repr=False)
class Opened:
    """A train request that passed every check; for `ClientRole.mask`, after training."""

    request: TrainRequest
    model: bytes
    plan: bytes
    floor: int
    secrets: SharedSecrets
    held: dict[int, bytes]
    rejected: tuple[int, ...]


class ClientRole:
    """One node in one run.

    Parameters
    ----------
    node_id, run_id : int
        Flower's ids; messages of any other run are refused.
    terms : Terms
        Fixed for the run: other terms than at the first contact are refused.
    store : Store
        Keeps stages and secrets.
    bundle : bytes
        SHA-256 of the code that runs here.
    trust : TrustPolicy
        Identity, peers and approved bundles.
    consistency_check : bool
        Reveal only with signed survivor sets; needs an identity.
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
        terms: Terms,
        store: Store,
        bundle: bytes,
        trust: TrustPolicy | None = None,
        consistency_check: bool = False,
        lifetime_seconds: float = 3600.0,
        clock: Callable[[], float] = time.time,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._trust = trust or TrustPolicy()
        if consistency_check and self._trust.identity is None:
            raise ValueError("consistency_check=True needs an identity to sign with")
        self._node_id, self._terms, self._bundle = node_id, terms, bundle
        self._random = random_bytes
        self._stages = Stages(store, run_id, terms, consistency_check, lifetime_seconds, clock)
        self._consistency_check = consistency_check

    def advertise(self, data: Buffer) -> Advert | Refusal:
        """Answer an `AdvertRequest` (bootstrap); closes the run's other open attempts."""
        return self._answer(AdvertRequest, data, self._advertise)

    def share(self, data: Buffer) -> SharesUpload | Refusal:
        """Answer a `Roster` alone (bootstrap)."""
        return self._answer(Roster, data, self._share)

    def open_train(self, data: Buffer, plan: Plan) -> Opened | Refusal:
        """Check a `TrainRequest` before training, and decrypt its shares.

        `plan` must be made from the model and configuration that will really be used. The
        stage does not move yet: that is for `mask`.
        """
        return self._answer(TrainRequest, data, lambda request: self._open(request, plan))

    def mask(
        self, opened: Opened, update: Vector, scalars: NDArray[np.uint64], modulus_bits: int
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
        return self._guard(
            _named(opened.request),
            lambda: self._mask(opened, update, scalars, modulus_bits),
        )

    def confirm(self, data: Buffer) -> ConsistencyReply | Refusal:
        """Answer a `ConsistencyRequest`: sign the survivor set, once."""
        return self._answer(ConsistencyRequest, data, self._confirm)

    def unmask(self, data: Buffer) -> UnmaskReply | Refusal:
        """Answer an `UnmaskRequest`: one share of each node of U2, never both."""
        return self._answer(UnmaskRequest, data, self._unmask)

    def _answer(
        self, cls: type[_Request], data: Buffer, work: Callable[[_Request], _Reply]
    ) -> _Reply | Refusal:
        try:
            request = cls.decode(data)
        except DecodeError as error:
            detail = str(error)
            peeked = peek_attempt(data)

            def refuse() -> _Reply:
                raise RefusedError(RefusalReason.MALFORMED, detail)

            return self._guard([peeked] if peeked else [], refuse)
        return self._guard(_named(request), lambda: work(request))

    def _guard(self, attempts: list[AttemptId], work: Callable[[], _Reply]) -> _Reply | Refusal:
        reason = RefusalReason.INTERNAL
        try:
            self._stages.expire()
            return work()
        except RefusedError as refused:
            reason = refused.reason
            _log.warning("refused %s: %s", attempts, refused)
        except DecodeError as error:
            reason = RefusalReason.MALFORMED
            _log.warning("refused %s: %s", attempts, error)
        except Exception:
            # Whatever went wrong may depend on the data: the server learns only that it did.
            _log.exception("refused %s", attempts)
        self._stages.close(attempts)
        return Refusal(attempts[0] if attempts else _UNNAMED, reason)

    def _advertise(self, request: AdvertRequest) -> Advert:
        records = self._stages.records(request.attempt)
        advert, change = self._drawn(records, request.attempt)
        self._stages.commit([change, *self._stages.closing_others(records, request.attempt)])
        return advert

    def _drawn(self, records: Records, attempt: AttemptId) -> tuple[Advert, Change]:
        self._stages.check(records, attempt, Event.ADVERTISE)
        advert, secrets = draw_advert(
            attempt, self._node_id, self._bundle, self._trust.identity, self._random
        )
        return advert, self._stages.move(records, attempt, Event.ADVERTISE, secrets)

    def _share(self, roster: Roster) -> SharesUpload:
        upload, change = self._shared(self._stages.records(roster.attempt), roster)
        self._stages.commit([change])
        return upload

    def _shared(self, records: Records, roster: Roster) -> tuple[SharesUpload, Change]:
        self._stages.check(records, roster.attempt, Event.SHARE)
        own = AdvertisedSecrets.decode(records[roster.attempt].secrets)
        adverts, shape = checks.check_roster(roster, own.advert, self._terms, self._trust)
        upload, kept = share_seeds(roster, adverts, shape, own, self._random)
        return upload, self._stages.move(records, roster.attempt, Event.SHARE, kept)

    def _open(self, request: TrainRequest, plan: Plan) -> Opened:
        records = self._stages.records(request.attempt)
        self._stages.check(records, request.attempt, Event.MASK)
        if request.next_attempt is not None:
            self._stages.check(records, request.next_attempt, Event.ADVERTISE)
        secrets = SharedSecrets.decode(records[request.attempt].secrets)
        terms = self._terms
        checks.check_cohort(request.cohort, secrets.members, self._node_id, terms)
        checks.check_model(records, request.attempt, plan.model)
        min_survivors = terms.survivors(len(secrets.members))
        numbers = secrets.threshold, min_survivors, terms.max_colluding
        plan_hash = plan.hash(secrets.roster, request.cohort, numbers)
        require(plan_hash == request.plan, RefusalReason.PLAN_MISMATCH)
        near = {peer for peer, _ in secrets.peers}.intersection(request.cohort)
        expected = near.issuperset(sender for sender, _ in request.shares)
        require(expected, RefusalReason.SHARES_UNEXPECTED)
        held, rejected = open_shares(request, self._node_id, secrets)
        complete = secrets.num_neighbors == len(secrets.members) - 1
        floor = min_survivors if complete else secrets.threshold
        require(len(held) >= floor, RefusalReason.SHARES_TOO_FEW, f"{len(held)} under {floor}")
        return Opened(request, plan.model, plan_hash, floor, secrets, held, rejected)

    def _mask(
        self, opened: Opened, update: Vector, scalars: NDArray[np.uint64], modulus_bits: int
    ) -> MaskedInput:
        right = update.dtype == word_dtype(modulus_bits) and scalars.dtype == np.uint64
        require(right, RefusalReason.BAD_INPUT, f"{update.dtype}, {scalars.dtype}")
        request, secrets = opened.request, opened.secrets
        records = self._stages.records(request.attempt)
        checks.check_model(records, request.attempt, opened.model)
        advert: Advert | None = None
        changes = [self._moved_to_masked(records, opened)]
        if request.next_attempt is not None:
            advert, change = self._drawn(records, request.next_attempt)
            changes.append(change)
        changes += self._stages.closing_retried(records, request.attempt, opened.model)
        scalars = np.append(scalars, np.uint64(1))
        peers = [(peer, keys[:32]) for peer, keys in secrets.peers if peer in opened.held]
        seeds = secrets.mask_seed, secrets.self_seed
        mask_both(update, scalars, input_masks(self._node_id, seeds, peers, opened.plan))
        reduce_modulus(update, modulus_bits)
        reply = MaskedInput(
            attempt=request.attempt,
            modulus_bits=modulus_bits,
            num_parameters=len(update),
            update=pack(update, modulus_bits),
            scalars=scalars.astype("<u8").tobytes(),
            rejected=opened.rejected,
            next_advert=advert.encode() if advert is not None else None,
        )
        self._stages.commit(changes)
        return reply

    def _moved_to_masked(self, records: Records, opened: Opened) -> Change:
        secrets = opened.secrets
        kept = MaskedSecrets(
            roster=secrets.roster,
            plan=opened.plan,
            threshold=secrets.threshold,
            min_survivors=self._terms.survivors(len(secrets.members)),
            floor=opened.floor,
            cohort=opened.request.cohort,
            identities=secrets.identities,
            held=tuple(sorted(opened.held.items())),
            rejected=opened.rejected,
            signed=bytes(32),
        )
        attempt = opened.request.attempt
        return self._stages.move(records, attempt, Event.MASK, kept, opened.model)

    def _confirm(self, request: ConsistencyRequest) -> ConsistencyReply:
        records = self._stages.records(request.attempt)
        self._stages.check(records, request.attempt, Event.CONFIRM)
        identity = self._trust.identity
        if identity is None:
            raise RefusedError(RefusalReason.CONSISTENCY_MISSING, "no identity to sign with")
        secrets = MaskedSecrets.decode(records[request.attempt].secrets)
        checks.check_survivors(request.survivors, self._node_id, secrets)
        message = survivors_to_sign(
            request.attempt, secrets.roster, secrets.plan, request.survivors
        )
        kept = replace(secrets, signed=_hash_nodes(request.survivors))
        self._stages.commit([self._stages.move(records, request.attempt, Event.CONFIRM, kept)])
        return ConsistencyReply(request.attempt, identity.sign(message))

    def _unmask(self, request: UnmaskRequest) -> UnmaskReply:
        records = self._stages.records(request.attempt)
        self._stages.check(records, request.attempt, Event.UNMASK)
        secrets = MaskedSecrets.decode(records[request.attempt].secrets)
        checks.check_split(request, secrets.cohort)
        checks.check_survivors(request.survivors, self._node_id, secrets)
        if self._consistency_check and self._trust.identity is not None:
            signed = _hash_nodes(request.survivors) == secrets.signed
            require(signed, RefusalReason.CONSISTENCY_BROKEN, "not the survivors it signed")
            checks.check_confirmations(request, secrets, self._trust.identity)
        changes = [self._stages.move(records, request.attempt, Event.UNMASK, None)]
        upload: SharesUpload | None = None
        if request.next_roster is not None:
            upload, change = self._shared(records, Roster.decode(request.next_roster))
            changes.append(change)
        self._stages.commit(changes)
        survivors = set(request.survivors)
        held = secrets.held
        return UnmaskReply(
            attempt=request.attempt,
            self_shares=tuple((n, s[FIELD_BYTES:]) for n, s in held if n in survivors),
            mask_shares=tuple((n, s[:FIELD_BYTES]) for n, s in held if n not in survivors),
            next_shares=upload.encode() if upload is not None else None,
        )


def _hash_nodes(nodes: tuple[int, ...]) -> bytes:
    return hashlib.sha256(NODES.write(nodes)).digest()


def _named(request: Wire) -> list[AttemptId]:
    """Return the attempts that a request is about: a refusal closes all of them."""
    named: list[AttemptId | None] = [getattr(request, "attempt", None)]
    if isinstance(request, TrainRequest):
        named.append(request.next_attempt)
    if isinstance(request, UnmaskRequest) and request.next_roster is not None:
        named.append(peek_attempt(request.next_roster))
    return [attempt for attempt in named if attempt is not None]
