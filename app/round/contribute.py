"""From a request to a contribution that may leave: the steps that all aggregations share."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from app.config.load import ConfigError
from app.config.run import AppConfig
from app.node.exact_rules import records_for_exact_scores, records_for_exact_sum
from app.node.followed_state import require_followed
from app.node.left_out import encode_with_left_out
from app.node.noting import note_bounded, note_sums
from app.node.personal import keep_own_part, with_own_part
from app.node.session import NodeSession
from app.node.spending import charge
from privacy.noise.randomness import secure_generator
from privacy.plan.plan import PrivacyPlan
from privacy.unit import Unit
from strategies.aggregation import Request
from strategies.codec.codec import Encoded
from strategies.codec.private_codec import PrivateCodec
from strategies.codec.stages import NUM_WITHHELD, SumContext
from strategies.refusals import Reason, RequestRefusedError
from tasks.base import ModelRefusedError
from tasks.records import DataError, LocalData, joined
from workloads.base import Privacy, Workload
from workloads.scoring.spread import own_sums
from workloads.values import Contribution, PrivateContribution, StateRefusedError

log = logging.getLogger("flwr.tacet")

_TRAINING_STREAM = 3
# Raised because of the configuration, a file or the model, never because of a record.
_NOT_OF_A_RECORD = (ConfigError, DataError, ModelRefusedError, RequestRefusedError)


def contribute(
    request: Request, session: NodeSession, attempt: int | None, context: SumContext
) -> Encoded:
    """Train or evaluate and encode, as the request asks. What it reveals is charged first.

    Raises
    ------
    RequestRefusedError
        If the state does not fit, or the node's owner does not allow what it would reveal.
    DataError
        If this node's records do not fit the task.
    """
    codec = request.codec
    session.noted.round = request.query.server_round
    if session.config.privacy.mode is None:
        return encode_with_left_out(session, request, _exact(request, session), context)
    if not isinstance(codec, PrivateCodec):
        raise TypeError(f"a private run with {type(codec).__name__}")
    # Refused before it is charged, for it depends on nothing of this node's records.
    with _refusing_states():
        request.workload.check(request.state)
    # What does not fit is in this node's own log, or refused for no record's sake, uncharged.
    records = _private_records(request, session)
    request.workload.rehearse(records)
    if records is not None:
        records = with_own_part(session, request, records)
    # Before a record has a say: whether there is an answer may depend on the records too.
    _pay(request, codec, session, attempt)
    if records is not None:
        try:
            return codec.encode(_private(request, codec, session, records), context)
        except Exception:
            _log_noise_alone()
    return codec.encode(_noise_alone(request, codec, session), context)


def contribute_in_clear(request: Request, session: NodeSession) -> Contribution:
    """Train or evaluate, as a request of a run without privacy asks.

    Raises
    ------
    RequestRefusedError
        If the state does not fit.
    DataError
        If this node's records do not fit the task.
    """
    if request.node_encodes or session.config.privacy.mode is not None:
        raise TypeError("in this run a contribution leaves encoded")
    session.noted.round = request.query.server_round
    return _exact(request, session)


@contextmanager
def _refusing_states() -> Iterator[None]:
    """Turn the refusal of a state into that of its request."""
    try:
        yield
    except StateRefusedError as error:
        raise RequestRefusedError(Reason.MODEL_REFUSED) from error


def _pay(
    request: Request, codec: PrivateCodec, session: NodeSession, attempt: int | None
) -> None:
    server_round = request.query.server_round
    releases = codec.plan.releases(server_round, training=request.training)
    charge(session, codec.plan, releases, (server_round, attempt))


def _records(request: Request, session: NodeSession) -> LocalData:
    """Return this node's records, all of them to be summed over where none is held out."""
    records = session.records(request.workload.task)
    if request.workload.holds_out:
        return records
    everyone = joined([records.train, records.test])
    return LocalData(everyone, everyone.take(np.zeros(0, np.intp)))


def _private_records(request: Request, session: NodeSession) -> LocalData | None:
    """Return this node's records, or None if they cannot be read, which only its log tells."""
    try:
        return _records(request, session)
    except _NOT_OF_A_RECORD:
        raise
    except Exception:
        _log_noise_alone()
        return None


def _noise_alone(
    request: Request, codec: PrivateCodec, session: NodeSession
) -> PrivateContribution:
    """Return the contribution of a node that has no record."""
    if request.training and not codec.plan.terms.is_summed:
        # Its noise comes with the steps, so they are taken.
        nobody = request.workload.task.made_up(0)
        return _private(request, codec, session, LocalData(nobody, nobody))
    return codec.nothing(request.query.server_round, training=request.training)


def _log_noise_alone() -> None:
    """Log the present exception: a record may be its reason, and a refusal would reveal it."""
    log.exception("this node's contribution is noise alone")


def _exact(request: Request, session: NodeSession) -> Contribution:
    workload, state, query = request.workload, request.state, request.query
    with _refusing_states():
        require_followed(session, request)
    records = with_own_part(session, request, _records(request, session))
    with _refusing_states():
        records, is_unscored = records_for_exact_scores(session, workload, state, records)
        if not request.training:
            scored = workload.evaluate(state, query, records)
            note_sums(session, workload, records, scored)
            return _withheld(_counted(scored, workload), is_unscored)
        rng = rng_of(
            session.config, session.source.partition_id, query.server_round, secure=False
        )
        workload, records, is_withheld = records_for_exact_sum(
            session, workload, state, query, records
        )
        found = workload.contribute(state, query, records, rng)
    keep_own_part(session, request, records, found.personal)
    found = replace(found, personal=None)
    note_sums(session, workload, records, found)
    return _withheld(_counted(found, workload), is_withheld)


def _withheld(contribution: Contribution, is_withheld: bool) -> Contribution:
    """Add, where that is so, that it holds zeros in place of this node's records."""
    if not is_withheld:
        return contribution
    return replace(contribution, sums={**contribution.sums, NUM_WITHHELD: 1.0})


def _counted(contribution: Contribution, workload: Workload) -> Contribution:
    """Add in which bin this node's own accuracy is, where participants are counted."""
    if not workload.setup.counts_participants:
        return contribution
    own = own_sums(contribution.sums)
    return replace(contribution, sums={**contribution.sums, **own})


def _private(
    request: Request, codec: PrivateCodec, session: NodeSession, records: LocalData
) -> PrivateContribution:
    """Return this node's bounded sums, with no noise yet unless it is local."""
    workload, state, query = request.workload, request.state, request.query
    plan = codec.plan
    privacy = Privacy(plan=plan, clip_norm=codec.clip_norm, loss_clip=codec.loss_clip)
    with _refusing_states():
        metrics = None
        if request.training:
            _warn_of_delta(plan.terms.delta, len(records.train))
            _warn_of_batch(plan, len(records.train))
        if plan.has_metrics(query.server_round, request.training):
            metrics = workload.bounded_metrics(state, records, privacy)
        if not request.training:
            return _noted(
                request, session, records, PrivateContribution(None, metrics), privacy
            )
        rng = rng_of(
            session.config,
            session.source.partition_id,
            query.server_round,
            secure=privacy.mode.hides_records,
        )
        contribution = workload.bounded(state, query, records, rng, privacy)
    keep_own_part(session, request, records, contribution.personal)
    contribution = replace(contribution, metrics=metrics, personal=None)
    return _noted(request, session, records, contribution, privacy)


def _noted(
    request: Request,
    session: NodeSession,
    records: LocalData,
    contribution: PrivateContribution,
    privacy: Privacy,
) -> PrivateContribution:
    """Return the contribution after the node has noted for itself what it says."""
    note_bounded(session, request.workload, records, contribution, privacy.loss_clip)
    return contribution


def rng_of(
    config: AppConfig,
    partition_id: int,
    server_round: int,
    *,
    secure: bool,
    stream: int = _TRAINING_STREAM,
) -> np.random.Generator:
    """Return what draws batches or samples: the operating system unless asked otherwise.

    ``secure`` for what an adversary must not foretell; a ``stream`` for each use.
    """
    if config.deterministic:
        key = [config.seed, stream, server_round, partition_id]
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


def _warn_of_batch(plan: PrivacyPlan, num_records: int) -> None:
    """Say in the node's own log that it has more records than all were expected to have."""
    terms = plan.terms
    expected = terms.sampling_rate * num_records
    if terms.unit is Unit.EXAMPLE and terms.is_summed and expected > plan.signal_norm:
        log.warning(
            "privacy.expected_batch_size=%g, but a step draws %g of this node's %d training"
            " records: their sum is cut down; raise it, or lower privacy.sampling_rate=%g",
            terms.batch_size,
            expected,
            num_records,
            terms.sampling_rate,
        )
