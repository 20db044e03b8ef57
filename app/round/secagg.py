"""The client's half of ``secagg``: protocol messages in and out, training in between."""

from collections.abc import Callable

from flwr.app import Message

from app.builders.run import build_terms, config_hash, secagg_config
from app.config.load import ConfigError
from app.node.admission import admit
from app.node.session import NodeSession
from app.round.contribute import contribute, pay
from app.round.request import read
from strategies.codec.codec import plan_of, public_seed
from strategies.codec.stages import SumContext
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
from strategies.secagg.client.checks import TrustPolicy
from strategies.secagg.client.role import ClientRole
from strategies.secagg.messages import Refusal as ProtocolRefusal
from strategies.secagg.wire import Wire


def answer(message: Message, session: NodeSession) -> Message:
    """Answer one message of the protocol.

    Raises
    ------
    Refusal, DataError, ConfigError
        If the node cannot take part; the attempt's secrets are gone then.
    """
    admit(session)
    role = _role(session)
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
        reply = take(data) if take else _masked(role, data, message, session)
    except BaseException:
        role.forget(data)
        raise
    if isinstance(reply, ProtocolRefusal):
        return refuse(reply, message)
    return Message(wrap(reply), reply_to=message)


def _masked(
    role: ClientRole, data: bytes | memoryview, message: Message, session: NodeSession
) -> Wire:
    """Check the request, then charge, then train, then mask: a refusal costs no training."""
    request = read(message, session)
    codec = request.codec
    opened = role.open_train(data, plan_of(codec, request.hash(), config_hash(session.config)))
    if isinstance(opened, ProtocolRefusal):
        return opened
    attempt = opened.request.attempt
    if request.query.server_round != attempt.round:
        raise Refusal(Reason.MALFORMED_REQUEST)
    num_members = len(opened.request.cohort)
    try:
        codec.check_fits(num_members)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    # Before a record is looked at: whether there is an answer may depend on the records too.
    pay(request, session, attempt.attempt)
    contribution = contribute(request, session)
    shared = SumContext(seed=public_seed(attempt), num_contributions=num_members)
    update, sums = codec.encode(contribution, shared)
    return role.mask(opened, update, sums, codec.modulus_bits)


def _role(session: NodeSession) -> ClientRole:
    config = secagg_config(session.config)
    identity = session.identity if config.identities else None
    return ClientRole(
        node_id=session.node_id,
        run_id=session.run_id,
        terms=build_terms(session.config, session.settings.num_simulated),
        store=session.store,
        bundle=session.bundle,
        trust=TrustPolicy(identity, session.approved_bundles()),
        consistency_check=config.consistency_check,
        lifetime_seconds=config.secrets_seconds,
    )
