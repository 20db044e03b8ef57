"""The bytes of the protocol's messages, from the messages themselves."""

from dataclasses import replace

from strategies.secagg.crypto.keys import NONCE_BYTES, TAG_BYTES
from strategies.secagg.crypto.packed import Packing
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import (
    FIELD_BYTES,
    HEAD_BYTES,
    INPUT_PROOF_BYTES,
    KEM_KEY_BYTES,
    KEM_TEXT_BYTES,
    KEPT_HEADS,
    NO_LOG_HEAD,
    PAIR_PART_BYTES,
    PUBLIC_KEY_BYTES,
    SEALED_BYTES,
    SIGNATURE_BYTES,
    X25519_BYTES,
    Advert,
    AdvertReply,
    EncryptedInput,
    KeyReply,
    KeyRoster,
    KeyRow,
    MaskedInput,
    Roster,
    ShareRequest,
    ShareRow,
    SharesUpload,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from strategies.secagg.packing import packed_bytes
from strategies.secagg.wire import Wire


def steady_round(
    num_members: int,
    parameters: ProtocolParameters,
    *,
    signed: bool,
    num_parameters: int = 0,
    modulus_bits: int = 32,
    num_scalars: int = 0,
) -> tuple[TrainRequest, MaskedInput, UnmaskRequest, UnmaskReply]:
    """Return the four messages of the middle client in a steady round where nobody is missing.

    They are train and unmask, each down and up; keys and shares of the next round ride along.
    """
    this, after, word = AttemptId(1, 1, 0), AttemptId(1, 2, 1), bytes(32)
    shape = parameters.shape(num_members)
    nodes = tuple(range(num_members))
    near = tuple(range(shape.num_neighbors))
    signature = bytes(SIGNATURE_BYTES if signed else 0)
    key = bytes(PUBLIC_KEY_BYTES if parameters.is_hybrid else X25519_BYTES)
    kem_key = bytes(KEM_KEY_BYTES * parameters.is_hybrid)
    advert = Advert(after, 1, word, word, word, key, key, word, signature).encode()
    reply = AdvertReply(after, advert, kem_key, kem_key).encode()

    def rows(first: int) -> tuple[tuple[int, bytes], ...]:
        """Return a row for each peer; every second one brings the secret of a pair."""
        text = bytes(KEM_TEXT_BYTES * parameters.is_hybrid)
        parts = (bytes(PAIR_PART_BYTES * parameters.is_hybrid), b"")
        return tuple(
            (
                node,
                ShareRow(
                    bytes(SEALED_BYTES), word, word, text, parts[(node + first) % 2]
                ).encode(),
            )
            for node in near
        )

    proofs = tuple(
        (node, bytes(INPUT_PROOF_BYTES)) for node in nodes[: parameters.quorum(shape)]
    )
    shares = tuple((node, bytes(FIELD_BYTES)) for node in (*near, len(near)))
    roster = Roster(after, 2, 2, (advert,) * num_members).encode()
    kem_keys = tuple((node, kem_key * (1 + node % 2)) for node in near)
    request = ShareRequest(after, roster, kem_keys).encode()
    upload = SharesUpload(after, rows(1), bytes(64), signature).encode()
    update = bytes(packed_bytes(num_parameters, modulus_bits))
    scalars = bytes(8 * num_scalars)
    return (
        TrainRequest(this, nodes, rows(0), word, NO_LOG_HEAD, after),
        MaskedInput(this, modulus_bits, num_parameters, update, scalars, (), reply, signature),
        UnmaskRequest(this, nodes, (), proofs if signed else (), (), request),
        UnmaskReply(this, shares, (), upload, signature),
    )


def keyed_round(
    num_members: int, parameters: ProtocolParameters, *, signed: bool, key_length: int
) -> tuple[Wire, ...]:
    """Return the same four messages where keys are dealt, with a ciphertext of no bytes."""
    after, shape = AttemptId(1, 2, 1), parameters.key_shape(num_members)
    train, masked, unmask, reply = steady_round(
        num_members, replace(parameters, is_sparse=False), signed=signed
    )
    packing = Packing(key_length, shape.num_packed, shape.threshold, shape.num_members)
    share, heads = packing.share_bytes, KEPT_HEADS * HEAD_BYTES
    text = bytes(KEM_TEXT_BYTES * parameters.is_hybrid)
    row = KeyRow(bytes(NONCE_BYTES + share + heads + TAG_BYTES), text).encode()
    rows = tuple((node, row) for node in range(shape.num_neighbors))
    signature = bytes(SIGNATURE_BYTES if signed else 0)
    upload = SharesUpload(after, rows, bytes(64), signature).encode()
    request = ShareRequest.decode(unmask.next_request or b"")
    roster = KeyRoster(**vars(Roster.decode(request.roster)), num_packed=shape.num_packed)
    # No row brings a secret, and nobody needs a mask key.
    kem_keys = tuple((node, key[:KEM_KEY_BYTES]) for node, key in request.kem_keys)
    request = replace(request, roster=roster.encode(), kem_keys=kem_keys)
    return (
        replace(train, rows=rows),
        EncryptedInput(masked.attempt, b"", (), masked.next_advert, signature),
        replace(unmask, next_request=request.encode()),
        KeyReply(reply.attempt, bytes(share), upload, signature),
    )


def key_bytes(
    num_members: int, parameters: ProtocolParameters, *, signed: bool, key_length: int = 0
) -> int:
    """Return what one client sends and receives in a steady round beside model and update.

    With a `key_length` its peers get shares of a key, and none of seeds.
    """
    if key_length:
        messages = keyed_round(num_members, parameters, signed=signed, key_length=key_length)
    else:
        messages = steady_round(num_members, parameters, signed=signed)
    return sum(len(message.encode()) for message in messages)
