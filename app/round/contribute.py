"""From a request to a contribution that may leave: the steps that all aggregations share."""

import logging
from dataclasses import replace

import numpy as np

from app.config.load import ConfigError
from app.config.run import AppConfig
from app.node.session import NodeSession
from app.node.spending import charge
from privacy.noise.randomness import secure_generator
from strategies.aggregation import Request
from strategies.codec.private_codec import PrivateCodec
from strategies.refusals import Reason, RequestRefusedError
from tasks.base import DataError, LocalData, ModelRefusedError
from workloads.base import Privacy
from workloads.values import Contribution, PrivateContribution, StateRefusedError

log = logging.getLogger("flwr.tacet")

_TRAINING_STREAM = 3
# Raised because of the configuration, a file or the model, never because of a record.
_NOT_OF_A_RECORD = (ConfigError, DataError, ModelRefusedError, RequestRefusedError)


def contribute(
    request: Request, session: NodeSession, attempt: int | None
) -> Contribution | PrivateContribution:
    """Train or evaluate, as the request asks; loads torch. What it reveals is charged first.

    Raises
    ------
    RequestRefusedError
        If the state does not fit, or the node's owner does not allow what it would reveal.
    DataError
        If this node's records do not fit the task.
    """
    codec = request.codec
    if not isinstance(codec, PrivateCodec):
        return _exact(request, session)
    # Before a record is looked at: whether there is an answer may depend on the records too.
    _pay(request, codec, session, attempt)
    try:
        return _private(request, codec, session)
    except _NOT_OF_A_RECORD:
        raise
    except Exception:
        # A record may be the reason, and a refusal would reveal it: answer with noise alone.
        log.exception("this node's contribution is noise alone")
        return codec.nothing(request.query.server_round, training=request.training)


def _pay(
    request: Request, codec: PrivateCodec, session: NodeSession, attempt: int | None
) -> None:
    server_round = request.query.server_round
    releases = codec.plan.releases(server_round, training=request.training)
    charge(session, codec.plan, releases, (server_round, attempt))


def _exact(request: Request, session: NodeSession) -> Contribution:
    workload, state, query = request.workload, request.state, request.query
    records = workload.task.load(session.source)
    try:
        if not request.training:
            return workload.evaluate(state, query, records)
        rng = rng_of(
            session.config, session.source.partition_id, query.server_round, secure=False
        )
        return workload.contribute(state, query, records, rng)
    except StateRefusedError as error:
        raise RequestRefusedError(Reason.MODEL_REFUSED) from error


def _private(
    request: Request, codec: PrivateCodec, session: NodeSession
) -> PrivateContribution:
    """Return this node's bounded sums, with no noise yet unless it is local."""
    workload, state, query = request.workload, request.state, request.query
    plan = codec.plan
    records: LocalData = workload.task.load(session.source)
    privacy = Privacy(plan=plan, clip_norm=codec.clip_norm, loss_clip=codec.loss_clip)
    try:
        metrics = None
        if request.training:
            _warn_of_delta(plan.terms.delta, len(records.train))
        if plan.has_metrics(query.server_round, request.training):
            metrics = workload.bounded_metrics(state, records, privacy)
        if not request.training:
            return PrivateContribution(None, metrics)
        rng = rng_of(
            session.config,
            session.source.partition_id,
            query.server_round,
            secure=privacy.mode.hides_records,
        )
        contribution = workload.bounded(state, query, records, rng, privacy)
    except StateRefusedError as error:
        raise RequestRefusedError(Reason.MODEL_REFUSED) from error
    return replace(contribution, metrics=metrics)


def rng_of(
    config: AppConfig, partition_id: int, server_round: int, *, secure: bool
) -> np.random.Generator:
    """Return what draws batches or samples: the operating system unless asked otherwise.

    ``secure`` for what an adversary must not foretell.
    """
    if config.deterministic:
        key = [config.seed, _TRAINING_STREAM, server_round, partition_id]
        return np.random.default_rng(key)
    return secure_generator() if secure else np.random.default_rng()


def _warn_of_delta(delta: float, num_records: int) -> None:
    """Say in the node's own log that delta allows a record to be given away whole."""
    if num_records and delta >= 1 / num_records:
        log.warning(
            "privacy.delta=%g is not below 1 over this node's %d training records",
            delta,
            num_records,
        )
