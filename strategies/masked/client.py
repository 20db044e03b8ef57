"""The client's half of ``secagg``: protocol messages in and out, training in between."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Message

from strategies.aggregation import ClientSide
from strategies.codec.codec import form_of, public_seed
from strategies.codec.stages import SumContext
from strategies.masked.config import SecAggConfig
from strategies.masked.encryption import Encryption, Form, bind
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
from strategies.secagg.binding import MaskBinding
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
    _require(lambda: side.config.check_place(side.num_simulated))
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
    request, config = side.read(message), side.config
    codec = request.codec
    size = request.workload.length(request.state) if request.training else 0
    _require(lambda: config.check_update(codec.bits(1), codec.length(size)))
    asked = request.hash()

    def encryption_of(num_members: int) -> Encryption:
        return _encryption(config, form_of(codec, size, num_members), num_members)

    def binding(num_members: int, is_key: bool) -> MaskBinding:
        encryption = encryption_of(num_members) if is_key else None
        return bind(codec, asked, side.config_hash, encryption)

    opened = role.open_train(data, binding)
    if isinstance(opened, Refusal):
        return opened
    attempt = opened.request.attempt
    if request.query.server_round != attempt.round:
        raise RequestRefusedError(Reason.MALFORMED_REQUEST)
    num_members = len(opened.request.cohort)
    side.check_fits(num_members)
    shared = SumContext(seed=public_seed(attempt), num_contributions=num_members)
    update, sums = side.contribute(attempt.attempt, shared)
    if opened.key is None:
        return role.mask(opened, update, sums, codec.bits(num_members))
    encryption = encryption_of(num_members)
    # It leaves if the stage moves, and is dropped if the attempt has been answered already.
    ciphertext = encryption.encrypt(opened.key, (update, sums), opened.binding)
    return role.encrypted(opened, ciphertext)


def _encryption(config: SecAggConfig, form: Form, num_members: int) -> Encryption:
    """Return the encryption of contributions of a form, or refuse."""
    if config.encryption is None:
        # No key is dealt without one.
        raise RequestRefusedError(Reason.MALFORMED_REQUEST)
    try:
        return config.encryption.scheme(form, num_members)
    except ValueError as error:
        raise RequestRefusedError(Reason.CONFIG_REFUSED) from error


def _require(check: Callable[[], None]) -> None:
    """Refuse what a configuration finds wrong."""
    try:
        check()
    except ValueError as error:
        raise RequestRefusedError(Reason.CONFIG_REFUSED) from error


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
        draw_key=config.encryption.draw_key if config.encryption else None,
        lifetime_seconds=config.secrets_seconds,
    )
