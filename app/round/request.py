"""What a train or evaluate message asks, read with no trust in it."""

from dataclasses import dataclass
from math import isfinite

from flwr.app import Message

from app.builders.run import build_codec
from app.builders.workload import build_workload
from app.config.load import ConfigError
from app.config.privacy import ClientPrivacyConfig
from app.config.run import AppConfig
from app.node.session import NodeSession
from strategies.codec.codec import Codec
from strategies.codec.run_state import CLIP_NORM
from strategies.refusals import Reason, Refusal
from strategies.rounds.records import CONFIG, MalformedRequestError, read_request
from workloads.base import Query, State, Workload
from workloads.model_arrays import hash_state

_TRAIN, _EVALUATE = "train", "evaluate"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A message that asks for a contribution.

    Attributes
    ----------
    training : bool
        Whether it asks for training, or for the last evaluation.
    state, query : State, Query
        What it asks about.
    workload : Workload
        What is summed in this run.
    codec : Codec
        For a vector of this length, with this round's clip norm.
    """

    training: bool
    state: State
    query: Query
    workload: Workload
    codec: Codec

    def hash(self) -> bytes:
        """Return SHA-256 of what is asked about (32 bytes)."""
        return hash_state(self.state, self.query.values)


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
    Refusal
        If it asks for neither training nor evaluation, or has no state, round or clip norm
        that can be used.
    ConfigError
        If the numbers of a private run do not go together.
    """
    kind = message.metadata.message_type
    if kind not in (_TRAIN, _EVALUATE):
        raise Refusal(Reason.MALFORMED_REQUEST)
    try:
        state, query = read_request(message.content)
    except MalformedRequestError as error:
        raise Refusal(Reason.MALFORMED_REQUEST) from error
    config = session.config
    workload = build_workload(config)
    clip_norm = _clip_norm(message, config)
    length = workload.length(state)
    try:
        codec = build_codec(config, workload, length, clip_norm, session.calibrations)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return Request(
        training=kind == _TRAIN, state=state, query=query, workload=workload, codec=codec
    )


def _clip_norm(message: Message, config: AppConfig) -> float | None:
    """Return the clip norm that came with the request, where it is adaptive."""
    privacy = config.privacy
    if not (isinstance(privacy, ClientPrivacyConfig) and privacy.adaptive_clip.bit_noise):
        return None
    told = message.content.config_records.get(CONFIG, {}).get(CLIP_NORM)
    if type(told) is not float or not (isfinite(told) and told > 0):
        raise Refusal(Reason.MALFORMED_REQUEST)
    return told
