"""The client's train step: check and decrypt before training, mask or encrypt after it.

Decision where `protocol.md` leaves room: on the complete graph at least T members' shares
must have decrypted before a node masks, else t of its closed neighbourhood; the same floor
holds later for the survivors among them.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.binding import MaskBinding
from strategies.secagg.client.checks import check_cohort, require
from strategies.secagg.client.memory import names
from strategies.secagg.client.opening import OpenedShares, open_shares
from strategies.secagg.client.sharing import OwnNode
from strategies.secagg.client.store import MaskedSecrets, SharedSecrets
from strategies.secagg.crypto.identity import input_to_sign
from strategies.secagg.crypto.masking import input_masks
from strategies.secagg.crypto.prg import Vector, apply_masks, reduce_modulus
from strategies.secagg.fields import Buffer
from strategies.secagg.graph import ProtocolParameters, Shape
from strategies.secagg.messages import EncryptedInput, MaskedInput, TrainRequest
from strategies.secagg.packing import pack
from strategies.secagg.reasons import RefusalReason

_ROLLED_BACK = (
    "the others know a head of this node's ledger that its file lacks: it was put back to an"
    " older state, or another file is for the same data set. Put back the newest file; if it is"
    " lost, give the data another name (dataset in a policy) and a cap that counts what may"
    " have been spent"
)


@dataclass(frozen=True, repr=False)
class Opened:
    """A train request that passed every check; for `ClientRole.mask`, after training."""

    request: TrainRequest
    model: bytes
    binding: bytes
    min_survivors: int
    floor: int
    quorum: int
    secrets: SharedSecrets
    shares: OpenedShares

    @property
    def key(self) -> NDArray[np.int8] | None:
        """The key that was dealt for this attempt alone; None where inputs are masked."""
        if not self.secrets.num_packed:
            return None
        return np.frombuffer(self.secrets.key, np.int8)

    @property
    def held(self) -> dict[int, bytes]:
        """The share pairs of those that it masks with, and its own."""
        return self.shares.held

    @property
    def rejected(self) -> tuple[int, ...]:
        """The neighbours in U2 that it does not mask with."""
        return self.shares.rejected


def open_request(
    request: TrainRequest,
    binding: MaskBinding,
    secrets: SharedSecrets,
    parameters: ProtocolParameters,
    me: OwnNode,
) -> Opened:
    """Check U2 and the mask binding, and decrypt all shares addressed to this node."""
    check_cohort(request.cohort, secrets.members, me.node_id, parameters)
    min_survivors = parameters.survivors(len(secrets.members))
    numbers = secrets.threshold, min_survivors, parameters.max_colluding
    binding_hash = binding.hash(secrets.roster, request.cohort, numbers, request.log_head)
    require(binding_hash == request.binding, RefusalReason.PLAN_MISMATCH)
    near = {peer for peer, _ in secrets.peers}.intersection(request.cohort)
    expected = near.issuperset(sender for sender, _ in request.rows)
    require(expected, RefusalReason.SHARES_UNEXPECTED)
    shares = open_shares(request, secrets, me)
    shape = Shape(len(secrets.members), secrets.num_neighbors, secrets.threshold)
    floor = min_survivors if shape.is_complete else secrets.threshold
    enough = len(shares.held) >= floor
    require(enough, RefusalReason.SHARES_TOO_FEW, f"{len(shares.held)} under {floor}")
    intact = not me.memory.lacks(shares.shown)
    require(intact, RefusalReason.LEDGER_ROLLED_BACK, _ROLLED_BACK)
    members = names(request.cohort, dict(secrets.signers))
    allowed = me.memory.allows_view(request.attempt.run_id, members, min_survivors)
    require(allowed, RefusalReason.COHORT_CHANGED, "U2")
    return Opened(
        request=request,
        model=binding.model,
        binding=binding_hash,
        min_survivors=min_survivors,
        floor=floor,
        quorum=parameters.quorum(shape),
        secrets=secrets,
        shares=shares,
    )


def mask_opened(
    opened: Opened,
    me: OwnNode,
    segments: tuple[Vector, NDArray[np.uint64]],
    modulus_bits: int,
    next_advert: bytes | None,
) -> MaskedInput:
    """Mask both segments in place, with the peers whose shares are held; pack and sign them."""
    update, scalars = segments
    secrets = opened.secrets
    pair, met = me.keys(secrets.mask_seed), opened.shares.met
    masks = input_masks(me.node_id, pair, secrets.self_seed, met, opened.binding)
    apply_masks((update, scalars), masks)
    reduce_modulus(update, modulus_bits)
    message = MaskedInput(
        attempt=opened.request.attempt,
        modulus_bits=modulus_bits,
        num_parameters=len(update),
        update=pack(update, modulus_bits),
        scalars=scalars.astype("<u8").tobytes(),
        rejected=opened.rejected,
        next_advert=next_advert,
        signature=b"",
    )
    return replace(message, signature=_signature(opened, me, message))


def encrypted_input(
    opened: Opened, me: OwnNode, ciphertext: Buffer, next_advert: bytes | None
) -> EncryptedInput:
    """Return what is encrypted under the key of the attempt, signed."""
    message = EncryptedInput(
        attempt=opened.request.attempt,
        ciphertext=ciphertext,
        rejected=opened.rejected,
        next_advert=next_advert,
        signature=b"",
    )
    return replace(message, signature=_signature(opened, me, message))


def _signature(opened: Opened, me: OwnNode, message: MaskedInput | EncryptedInput) -> bytes:
    if me.identity is None:
        return b""
    text = input_to_sign(
        message.attempt, opened.binding, message.rejected, message.payload_hash()
    )
    return me.identity.sign(text)


def secrets_after_masking(opened: Opened) -> MaskedSecrets:
    """Return what to keep for the unmask trip: the shares held, and no own seed or key."""
    secrets = opened.secrets
    return MaskedSecrets(
        roster=secrets.roster,
        binding=opened.binding,
        quorum=opened.quorum,
        min_survivors=opened.min_survivors,
        floor=opened.floor,
        cohort=opened.request.cohort,
        signers=secrets.signers,
        held=tuple(sorted(opened.held.items())),
        rejected=opened.rejected,
        signed=bytes(32),
        num_packed=secrets.num_packed,
    )
