"""The client's half of ``secagg``: protocol messages in and out, training in between."""

from collections.abc import Callable

from flwr.app import ArrayRecord, Context, Message

from app.builders.run import build_terms, config_hash, secagg_config
from app.config.load import ConfigError
from app.config.run import AppConfig
from app.node.identity import load_identity
from app.node.protocol_store import ContextStore, SqliteStore
from app.node.running_code import running_bundle
from app.node.spending import calibrations, check_policy, peers_bundles, state_file
from app.round.contribute import codec_for, contribute, pay, request_round
from strategies.codec.fixed_point_codec import plan_of, public_seed
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
from strategies.refusals import Reason, Refusal
from strategies.rounds.records import ARRAYS, hash_parameters
from strategies.secagg.client.checks import TrustPolicy
from strategies.secagg.client.role import ClientRole
from strategies.secagg.messages import Refusal as ProtocolRefusal
from strategies.secagg.wire import Wire
from tasks.base import Node


def answer(message: Message, context: Context, config: AppConfig, node: Node) -> Message:
    """Answer one message of the protocol.

    Raises
    ------
    Refusal, DataError, ConfigError
        If the node cannot take part; the attempt's secrets are gone then.
    """
    check_policy(config, node)
    role = _role(context, config, node)
    kind = message.metadata.message_type
    try:
        data = unwrap(message.content)
    except BadContentError:
        raise Refusal(Reason.MALFORMED_REQUEST) from None
    simple: dict[str, Callable[[bytes | memoryview], Wire]] = {
        ADVERT: role.advertise,
        SHARE: role.share,
        CONFIRM: role.confirm,
        UNMASK: role.unmask,
    }
    try:
        take = simple.get(kind)
        reply = take(data) if take else _masked(role, data, message, context, config, node)
    except BaseException:
        role.forget(data)
        raise
    if isinstance(reply, ProtocolRefusal):
        return refuse(reply, message)
    return Message(wrap(reply), reply_to=message)


def _masked(
    role: ClientRole,
    data: bytes | memoryview,
    message: Message,
    context: Context,
    config: AppConfig,
    node: Node,
) -> Wire:
    """Check the request, then train, then charge, then mask: a refusal costs no training."""
    codec = codec_for(message.content, config, calibrations(context, node))
    plan = plan_of(codec, _model_hash(message), config_hash(config))
    opened = role.open_train(data, plan)
    if isinstance(opened, ProtocolRefusal):
        return opened
    attempt = opened.request.attempt
    if request_round(message.content) != attempt.round:
        raise Refusal(Reason.MALFORMED_REQUEST)
    num_members = len(opened.request.cohort)
    try:
        codec.check_fits(num_members)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    # Before a record is looked at: whether there is an answer may depend on the records too.
    pay(codec, message, context, config, node, attempt.attempt)
    contribution = contribute(message, config, node, codec)
    update, sums = codec.encode(contribution, num_members, public_seed(attempt))
    return role.mask(opened, update, sums, codec.modulus_bits)


def _model_hash(message: Message) -> bytes:
    arrays = message.content.get(ARRAYS)
    if not isinstance(arrays, ArrayRecord):
        raise Refusal(Reason.MALFORMED_REQUEST)
    try:
        return hash_parameters(arrays)
    except Exception as error:
        raise Refusal(Reason.MALFORMED_REQUEST) from error


def _role(context: Context, config: AppConfig, node: Node) -> ClientRole:
    settings = secagg_config(config)
    identity = load_identity(node) if settings.identities else None
    file = state_file(context, node)
    store = ContextStore(context.state) if node.simulated else SqliteStore(file)
    return ClientRole(
        node_id=context.node_id,
        run_id=context.run_id,
        terms=build_terms(config, node.num_partitions if node.simulated else None),
        store=store,
        bundle=running_bundle(node.simulated),
        trust=TrustPolicy(identity, peers_bundles(config, node)),
        consistency_check=settings.consistency_check,
        lifetime_seconds=settings.secrets_seconds,
    )
