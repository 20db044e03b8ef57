"""The client's half of ``secagg``: protocol messages in and out, training in between."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Message

from strategies.aggregation import ClientSide
from strategies.codec.codec import mask_binding, public_seed
from strategies.codec.stages import SumContext
from strategies.masked.config import SecAggConfig
from strategies.masked.messages import (
    ADVERT,
    CONFIRM,
    SHARE,
    UNMASK,
    BadContentError,
    refuse,
    unwrap,
    wrap,
)
from strategies.refusals import Reason, RequestRefusedError
from strategies.secagg.client.checks import TrustPolicy
from strategies.secagg.client.memory import Memory, NoMemory
from strategies.secagg.client.role import ClientRole
from strategies.secagg.messages import Refusal
from strategies.secagg.wire import Wire


def answer(message: Message, side: ClientSide) -> Message:
    """Answer one message of the protocol.

    Raises
    ------
    RequestRefusedError, DataError, ConfigError
        If the node cannot take part; ``forget`` deletes the attempt's secrets then.
    """
    identity = side.identity if side.config.identities else None
    role = _role(side, TrustPolicy(identity, side.approved_bundles()), side.memory)
    kind = message.metadata.message_type
    try:
        data = unwrap(message.content)
    except BadContentError:
        raise RequestRefusedError(Reason.MALFORMED_REQUEST) from None
    simple: dict[str, Callable[[bytes | memoryview], Wire]] = {
        ADVERT: role.advertise,
        SHARE: role.share,
        CONFIRM: role.confirm,
        UNMASK: role.unmask,
    }
    take = simple.get(kind)
    reply = take(data) if take else _masked(role, data, message, side)
    if isinstance(reply, Refusal):
        return refuse(reply, message)
    return Message(wrap(reply), reply_to=message)


def forget(message: Message, side: ClientSide) -> None:
    """Delete the secrets of the attempt that a refused message names."""
    try:
        data = unwrap(message.content)
    except BadContentError:
        return
    _role(side, TrustPolicy(None, None), NoMemory()).forget(data)


def _masked(
    role: ClientRole, data: bytes | memoryview, message: Message, side: ClientSide
) -> Wire:
    """Check the request, then charge, then train, then mask: a refusal costs no training."""
    request = side.read(message)
    codec = request.codec
    opened = role.open_train(data, mask_binding(codec, request.hash(), side.config_hash))
    if isinstance(opened, Refusal):
        return opened
    attempt = opened.request.attempt
    if request.query.server_round != attempt.round:
        raise RequestRefusedError(Reason.MALFORMED_REQUEST)
    num_members = len(opened.request.cohort)
    side.check_fits(num_members)
    shared = SumContext(seed=public_seed(attempt), num_contributions=num_members)
    update, sums = side.contribute(attempt.attempt, shared)
    return role.mask(opened, update, sums, codec.modulus_bits)


def _role(side: ClientSide, trust: TrustPolicy, memory: Memory) -> ClientRole:
    config: SecAggConfig = side.config
    return ClientRole(
        node_id=side.node_id,
        run_id=side.run_id,
        parameters=config.parameters(side.num_simulated),
        store=side.store,
        bundle=side.bundle,
        memory=memory,
        trust=trust,
        lifetime_seconds=config.secrets_seconds,
    )
