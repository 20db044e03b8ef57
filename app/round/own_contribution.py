"""What a node's part is worth to itself: the model with it, without it, and the node alone.

Two sums that differ by one participant are that participant; so nobody but the node itself
can be told. It needs no second sum: it has the model before and after the last round, and knows
what it gave. All three models are scored on its own held-out records, and nothing of it leaves.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.builders.privacy import privacy_plan
from app.builders.step import learning_rate
from app.node.noting import own_metrics
from app.node.own_models import KeptModel, OwnModels
from app.node.publishing import Gain
from app.node.session import NodeSession
from privacy.bounding.bounded_sum import BoundedSum
from strategies.aggregation import Request
from strategies.codec.codec import Codec, Encoded
from strategies.codec.exact_codecs import ClearCodec
from strategies.codec.private_codec import PrivateCodec
from strategies.codec.stages import SumContext
from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
from tasks.records import LocalData
from workloads.model_arrays import add_to, parted, prefixed
from workloads.own_part import OwnPart, PartUnknownError, without_in_mean, without_in_sum
from workloads.values import Aggregate, Arrays, Contribution, PrivateContribution, State

log = logging.getLogger("flwr.tacet")

#: Of the randomness of the node's own model.
ALONE_STREAM = 4
_LAST, _ALONE = "last", "alone"
_PART = "part"
_MODEL = "model/"
_PERSONAL = "personal/"


@dataclass(frozen=True)
class Given:
    """What a node gave in this message.

    Attributes
    ----------
    contribution : Contribution or PrivateContribution
        As the workload made it, before mask and noise.
    attempt : int or None
        Of the round; None where a round has only one.
    encoded : tuple of Encoded and SumContext, or None
        What goes into the sum before masks, and the numbers of that sum; None where it leaves
        as it is, and the server encodes it.
    """

    contribution: Contribution | PrivateContribution
    attempt: int | None
    encoded: tuple[Encoded, SumContext] | None


def tell_contribution(
    request: Request,
    session: NodeSession,
    records: LocalData,
    given: Given,
    rng: Callable[[], np.random.Generator],
) -> None:
    """Note what this node's part is worth, and keep what the next round needs for it.

    Whatever fails is a line in the node's log, and the answer goes its way. It is worked out
    after the contribution, so nothing in that depends on it but its time: local training and
    evaluation of the node's own model double what a round takes here.

    Parameters
    ----------
    request : Request
        The request that was answered.
    session : NodeSession
        Of the message.
    records : LocalData
        The node's records.
    given : Given
        The answer.
    rng : callable
        Returns the generator for the node's own training.
    """
    try:
        if why := _objection(request, session):
            session.noted.contribution = {"not_told": why}
            return
        session.noted.contribution = _told(request, session, records, given, rng)
    except Exception:
        log.warning("what this node adds could not be worked out", exc_info=True)


def gain_to_publish(request: Request, session: NodeSession) -> Gain | None:
    """Return what the node gains by the run, in the run's last message; None in any other.

    Whether there is one depends on the policy, the configuration and the message only. Where it
    could not be worked out it is not a number, which is published as 0 with its noise.
    """
    policy = session.policy
    if policy is None or policy.publish_gain_epsilon is None:
        return None
    if not _is_last(request, session) or _objection(request, session):
        return None
    metric = "accuracy" if "accuracy" in request.workload.metric_names else "loss"
    told = session.noted.contribution
    scores = [told.get(which, {}).get(metric) for which in ("with", "alone")]
    if any(not isinstance(score, float) for score in scores):
        return Gain(metric, math.nan)
    gained = scores[0] - scores[1]
    return Gain(metric, gained if metric == "accuracy" else -gained)


def _is_last(request: Request, session: NodeSession) -> bool:
    """Return whether a run sends no message after this one that a node contributes to."""
    if not request.training:
        return True
    plan = request.codec.plan if isinstance(request.codec, PrivateCodec) else None
    scores_last = plan is None or bool(plan.terms.metrics_every)
    return not scores_last and request.query.server_round == session.config.num_rounds


def _objection(request: Request, session: NodeSession) -> str:
    """Return why a run tells nothing of its parts; empty if it does."""
    config = session.config
    if not request.workload.averages_updates:
        return "only model updates that are averaged have parts: fedavg or fedprox"
    if not getattr(config.algorithm, "steps_by_mean", False):
        return "the server's optimiser keeps what earlier rounds gave; take fedavg or fedprox"
    mode = config.privacy.mode
    if mode is not None and not mode.hides_clients:
        return f"under privacy={mode} a node does not know what the sum is divided by"
    aggregation = config.aggregation
    if aggregation.codec.is_compressed and getattr(aggregation, "through_codec", False):
        return "the server rounds and leaves out by its own coins; take aggregation=secagg"
    return ""


def _told(
    request: Request,
    session: NodeSession,
    records: LocalData,
    given: Given,
    rng: Callable[[], np.random.Generator],
) -> dict[str, Any]:
    models = OwnModels(session.own_models_file, session.run_id)
    found: dict[str, Any] = {"with": _with(request, session, records)}
    last = models.get(_LAST)
    try:
        state = State(_without(request, session, last), request.state.header)
        found["without"] = _scores(request, records, state)
    except PartUnknownError as error:
        found["not_told"] = str(error)
    alone = models.get(_ALONE)
    found["alone"], trained = _alone(request, records, alone, rng)
    kept = {_ALONE: trained} if trained is not None else {}
    if request.training:
        kept[_LAST] = _keep(request, session, given)
    models.put(kept)
    return found


def _with(request: Request, session: NodeSession, records: LocalData) -> dict[str, float]:
    """Return the scores of the model that came; those that the answer has, where it has any."""
    if session.config.privacy.mode is None and session.noted.metrics:
        return session.noted.metrics
    return _scores(request, records, request.state)


def _scores(request: Request, records: LocalData, state: State) -> dict[str, float]:
    scored = request.workload.evaluate(state, request.query, records)
    return _metrics_of(request, scored)


def _metrics_of(request: Request, scored: Contribution) -> dict[str, float]:
    return own_metrics(request.workload.means(Aggregate(np.zeros(0), dict(scored.sums), 0.0)))


def _keep(request: Request, session: NodeSession, given: Given) -> KeptModel:
    """Return this round's model and this node's part of the sum, for the next round."""
    part = _part(request, session, given)
    told = {"weight": part.weight, "attempt": given.attempt}
    arrays = {**prefixed(_MODEL, request.state.arrays), _PART: part.total}
    return KeptModel(round=request.query.server_round, arrays=arrays, told=told)


def _part(request: Request, session: NodeSession, given: Given) -> OwnPart:
    """Return what is in the sum of this node, in the sum's units: as the codec adds it."""
    contribution = given.contribution
    if isinstance(contribution, PrivateContribution):
        bounded = contribution.update
        if not isinstance(bounded, BoundedSum):
            raise PartUnknownError("there is no bounded update")
        update, codec = bounded.in_units_of(1.0), request.codec
        if given.encoded is not None and isinstance(codec, PrivateCodec):
            # As much of it as was kept, multiplied as the sum is.
            update = codec.part_of(update, given.encoded[1])
        return OwnPart(update, 1.0)
    if given.encoded is not None:
        # As it was encoded, once: with its coins, and with what earlier rounds left out.
        encoded, told = given.encoded
        found = request.codec.decode(*encoded, replace(told, num_survivors=1), has_metrics=True)
        return OwnPart(np.asarray(found.total, np.float64), found.weight)
    codec: Codec = request.codec
    # Where the server adds floats there is no grid, and no cap on a weight.
    if not getattr(session.config.aggregation, "through_codec", False):
        codec = ClearCodec(sum_names=request.workload.sum_names(training=True))
    context = SumContext(seed=bytes(32), num_contributions=1, num_survivors=1)
    found = codec.decode(*codec.encode(contribution, context), context, has_metrics=True)
    return OwnPart(np.asarray(found.total, np.float64), found.weight)


def _without(request: Request, session: NodeSession, last: KeptModel | None) -> Arrays:
    """Return the present model as it would be without this node's part of the last round.

    Raises
    ------
    PartUnknownError
        Saying why it cannot be told.
    """
    number = request.query.server_round
    if last is None or last.round != number - 1:
        raise PartUnknownError(f"this node gave nothing in round {number - 1}")
    if not request.training and session.config.average_from:
        raise PartUnknownError("the last model is a mean over rounds (algorithm.average_from)")
    if not _is_in_sum(session, last):
        raise PartUnknownError(f"what this node gave in round {number - 1} is in no sum")
    model, rest = parted(_MODEL, last.arrays)
    before = {name: model[name] for name in request.state.arrays if name in model}
    if session.config.privacy.mode is not None:
        return without_in_sum(request.state.arrays, rest[_PART], _rate(request, session))
    if request.total_weight is None:
        raise PartUnknownError("the server did not say the weight of the last sum")
    own = OwnPart(rest[_PART], float(last.told["weight"]))
    return without_in_mean(before, request.state.arrays, own, request.total_weight)


def _is_in_sum(session: NodeSession, last: KeptModel) -> bool:
    """Return whether this node has helped to open the sum with its part in it."""
    attempt = last.told["attempt"]
    if attempt is None:
        # Its own answer is all that a node knows of a sum in the clear.
        return True
    named = AttemptId(session.run_id, last.round, attempt)
    record = session.store.records(session.run_id, [named]).get(named)
    return record is not None and record.stage is Stage.REVEALED


def _rate(request: Request, session: NodeSession) -> float:
    """Return what the server multiplies a noisy sum by, from public numbers."""
    config, workload = session.config, request.workload
    plan = privacy_plan(config, workload, workload.length(request.state))
    rate = learning_rate(config, plan)
    if rate is None:
        raise PartUnknownError("the server's step is not known")
    return rate / (workload.setup.population * workload.setup.cohort_fraction)


def _alone(
    request: Request,
    records: LocalData,
    kept: KeptModel | None,
    rng: Callable[[], np.random.Generator],
) -> tuple[dict[str, float], KeptModel | None]:
    """Return the scores of the node's own model, and that model after one more local round.

    An attempt that is repeated trains it no further.
    """
    number = request.query.server_round
    if kept is not None and kept.round == number:
        return dict(kept.told["scores"]), None
    state = _own_state(request, kept)
    if initial := request.workload.initial_personal():
        own = None if kept is None else parted(_PERSONAL, kept.arrays)[0]
        records = replace(records, personal=own or initial)
    if not request.training:
        return _scores(request, records, state), None
    made = request.workload.contribute(state, request.query, records, rng())
    scores = _metrics_of(request, made)
    trained = add_to(state.arrays, made.update.astype(np.float32, copy=False))
    trained |= prefixed(_PERSONAL, made.personal or {})
    return scores, KeptModel(round=number, arrays=trained, told={"scores": scores})


def _own_state(request: Request, kept: KeptModel | None) -> State:
    """Return the node's own model; before its first round the one that the run begins with."""
    state = request.state
    if kept is not None:
        arrays = {name: kept.arrays[name] for name in state.arrays}
        return State(arrays, state.header)
    return state if request.query.server_round == 1 else request.workload.initial_state()
