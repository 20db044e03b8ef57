"""From a request to a contribution that may leave: the steps that all aggregations share."""

import logging
from importlib import import_module
from math import isfinite

from flwr.app import ArrayRecord, Message, RecordDict

from app.builders.run import build_codec
from app.config.load import ConfigError
from app.config.privacy import ClientPrivacyConfig
from app.config.run import AppConfig
from app.node.session import NodeSession
from app.node.spending import charge
from strategies.codec.fixed_point_codec import Codec
from strategies.codec.private_codec import PrivateCodec
from strategies.codec.run_state import CLIP_NORM
from strategies.contribution import ARRAYS, CONFIG, ROUND, Contribution, num_parameters
from strategies.refusals import Reason, Refusal
from tasks.base import DataError, ModelRefusedError

log = logging.getLogger("flwr.tacet")

_TRAIN = "train"


def codec_for(content: RecordDict, session: NodeSession) -> Codec:
    """Return the codec of a request: with the model's size and this round's clip norm.

    Raises
    ------
    Refusal
        If the request has no model or no usable clip norm.
    ConfigError
        If the numbers of a private run do not go together.
    """
    arrays = content.get(ARRAYS)
    if not isinstance(arrays, ArrayRecord):
        raise Refusal(Reason.MALFORMED_REQUEST)
    try:
        size = num_parameters(arrays)
    except Exception as error:
        raise Refusal(Reason.MALFORMED_REQUEST) from error
    try:
        clip_norm = _clip_norm(content, session.config)
        return build_codec(session.config, size, clip_norm, session.calibrations)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def contribute(message: Message, session: NodeSession, codec: Codec) -> Contribution:
    """Train or evaluate, as the message asks; loads torch.

    Raises
    ------
    Refusal
        If the message asks for neither, or the model does not fit.
    """
    kind = message.metadata.message_type
    if kind not in (_TRAIN, "evaluate"):
        raise Refusal(Reason.MALFORMED_REQUEST)
    if isinstance(codec, PrivateCodec):
        private = getattr(import_module("app.round.train_private"), kind)
        try:
            return private(message.content, session.config, session.source, codec.plan)
        except (ConfigError, DataError, ModelRefusedError, Refusal):
            # Of the configuration, the file or the model; no record is the reason.
            raise
        except Exception:
            # A record might be. That there is no answer would tell of it: noise alone, then.
            log.exception("this node's contribution is noise alone")
            number = request_round(message.content)
            return codec.nothing(number, training=kind == _TRAIN)
    handler = getattr(import_module("app.round.train"), kind)
    return handler(message.content, session.config, session.source)


def pay(codec: Codec, message: Message, session: NodeSession, attempt: int | None) -> None:
    """Charge what an encoded contribution reveals to the node's ledger, before it leaves.

    Raises
    ------
    Refusal
        If the owner does not allow it; it must not leave then.
    """
    if not isinstance(codec, PrivateCodec):
        return
    server_round = request_round(message.content)
    training = message.metadata.message_type == _TRAIN
    releases = codec.plan.releases(server_round, training=training)
    charge(session, codec.plan, releases, (server_round, attempt))


def request_round(content: RecordDict) -> int:
    """Return the round that a request says it is of.

    Raises
    ------
    Refusal
        If it says none.
    """
    try:
        number = content.config_records[CONFIG][ROUND]
    except KeyError as error:
        raise Refusal(Reason.MALFORMED_REQUEST) from error
    if type(number) is not int or number < 0:
        raise Refusal(Reason.MALFORMED_REQUEST)
    return number


def _clip_norm(content: RecordDict, config: AppConfig) -> float | None:
    """Return the clip norm that came with the request, where it is adaptive."""
    privacy = config.privacy
    if not (isinstance(privacy, ClientPrivacyConfig) and privacy.adaptive_clip.bit_noise):
        return None
    told = content.config_records.get(CONFIG, {}).get(CLIP_NORM)
    if type(told) is not float or not (isfinite(told) and told > 0):
        raise Refusal(Reason.MALFORMED_REQUEST)
    return told
