"""What a train or evaluate message asks, read with no trust in it."""

from typing import cast

from flwr.app import Message

from app.builders.run import build_codec, node_encodes
from app.builders.workload import build_workload
from app.config.load import ConfigError
from app.config.privacy import LARGEST_NORM, SMALLEST_NORM
from app.config.run import AppConfig
from app.node.held_state import hold, whole_request
from app.node.model_origin import require_known_origin
from app.node.session import NodeSession
from strategies.aggregation import Request
from strategies.codec.run_state import CLIP_NORM, RANGES, TOTAL_WEIGHT
from strategies.refusals import Reason, RequestRefusedError
from strategies.rounds.records import (
    CONFIG,
    MalformedRequestError,
    read_last_sum,
    read_model_entry,
    read_request,
)
from workloads.values import StateRefusedError

_TRAIN, _EVALUATE = "train", "evaluate"
_LARGEST_WEIGHT = 1e15


def read(message: Message, session: NodeSession) -> Request:
    """Read a request.

    Parameters
    ----------
    message : Message
        As received.
    session : NodeSession
        Of this message.

    Raises
    ------
    RequestRefusedError
        If it asks for neither training nor evaluation, or has no state, round or clip norm
        that can be used.
    ConfigError
        If the numbers of a private run do not go together.
    """
    kind = message.metadata.message_type
    if kind not in (_TRAIN, _EVALUATE):
        raise RequestRefusedError(Reason.MALFORMED_REQUEST)
    try:
        content = whole_request(session, message.content)
        state, query = read_request(content)
        last_sum = read_last_sum(content)
        model_entry = read_model_entry(content)
    except MalformedRequestError as error:
        raise RequestRefusedError(Reason.MALFORMED_REQUEST) from error
    config = session.config
    # The last evaluation counts as a round more.
    if not 1 <= query.server_round <= config.num_rounds + (kind == _EVALUATE):
        raise RequestRefusedError(Reason.MALFORMED_REQUEST)
    clip_norm = _clip_norm(message, config)
    try:
        workload = build_workload(config)
        session.take_base(workload.task)
        require_known_origin(session, workload, state, query.server_round, model_entry)
        length = workload.length(state)
        if config.rounds.is_incremental:
            # Whatever is kept lies in the node's file: only what is a state of this workload.
            workload.check(state)
            hold(session, state, query.server_round)
        ranges = _ranges(message, config)
        codec = build_codec(config, workload, length, clip_norm, session.calibrations, ranges)
    except StateRefusedError as error:
        raise RequestRefusedError(Reason.MODEL_REFUSED) from error
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return Request(
        training=kind == _TRAIN,
        state=state,
        query=query,
        workload=workload,
        codec=codec,
        node_encodes=node_encodes(session.config, workload),
        last_sum=last_sum,
        total_weight=_total_weight(message),
    )


def _total_weight(message: Message) -> float | None:
    """Return the weight of the last sum, if one came that can be one; it decides nothing."""
    told = message.content.config_records.get(CONFIG, {}).get(TOTAL_WEIGHT)
    return told if type(told) is float and 0 < told < _LARGEST_WEIGHT else None


def _ranges(message: Message, config: AppConfig) -> tuple[float, ...]:
    """Return the ranges that came with the request, where values are rounded at random."""
    told = message.content.config_records.get(CONFIG, {}).get(RANGES)
    if told is None:
        return ()
    is_list = isinstance(told, list) and all(type(one) is float for one in told)
    if not is_list or not config.aggregation.codec.value_bits:
        raise RequestRefusedError(Reason.MALFORMED_REQUEST)
    return tuple(cast(list[float], told))


def _clip_norm(message: Message, config: AppConfig) -> float | None:
    """Return the clip norm that came with the request, where it is adaptive."""
    if config.privacy.adaptive is None:
        return None
    told = message.content.config_records.get(CONFIG, {}).get(CLIP_NORM)
    if type(told) is not float or not SMALLEST_NORM <= told <= LARGEST_NORM:
        raise RequestRefusedError(Reason.MALFORMED_REQUEST)
    return told
