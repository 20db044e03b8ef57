"""Note for a node's owner what the node answers, beside the answer and never instead of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Message

from app.config.load import option_of
from app.node.own_report import Answer
from app.node.session import NodeSession
from strategies.rounds.traffic import content_bytes
from tasks.records import LocalData
from workloads.base import Workload
from workloads.values import (
    EVAL_PREFIX,
    TRAIN_LOSS,
    Aggregate,
    Contribution,
    PrivateContribution,
)

log = logging.getLogger("flwr.tacet")

_LOSS = EVAL_PREFIX + "loss"
_GROUPS = ("task", "algorithm", "aggregation", "privacy")


def note_sums(
    session: NodeSession, workload: Workload, records: LocalData, contribution: Contribution
) -> None:
    """Note what a contribution's sums say of this node's own records; no record is looked at.

    Parameters
    ----------
    session : NodeSession
        Of the message.
    workload : Workload
        What is summed.
    records : LocalData
        What took part.
    contribution : Contribution
        With neither mask nor noise.
    """
    session.noted.given = records, contribution
    _note(session, workload, records, lambda: contribution.sums)


def _note(
    session: NodeSession,
    workload: Workload,
    records: LocalData,
    sums: Callable[[], dict[str, float]],
) -> None:
    """Note the means of sums; whatever fails in that, the contribution goes its way."""
    if session.own_report is None:
        return
    noted = session.noted
    noted.num_train, noted.num_test = len(records.train), len(records.test)
    try:
        found = workload.means(Aggregate(np.zeros(0), dict(sums()), 0.0))
        noted.train_loss = found.get(TRAIN_LOSS)
        noted.metrics = own_metrics(found)
    except Exception:
        log.debug("own scores cannot be read", exc_info=True)


def note_bounded(
    session: NodeSession,
    workload: Workload,
    records: LocalData,
    contribution: PrivateContribution,
    loss_clip: float,
) -> None:
    """Note what a private contribution says, before its noise; nothing where nothing is due.

    Records are scored in the rounds whose metrics are released, and in no others.

    Parameters
    ----------
    session, workload, records
        As in ``note_sums``.
    contribution : PrivateContribution
        As the workload gives it.
    loss_clip : float
        A record's loss counts as this much at most.
    """
    session.noted.given = records, contribution

    def sums() -> dict[str, float]:
        if contribution.metrics is None:
            return {}
        values = contribution.metrics.in_units_of(1.0)
        found = dict(zip(workload.record_score_names, map(float, values), strict=False))
        # A record's loss is a share of the largest one that counts.
        return found | {_LOSS: found.get(_LOSS, 0.0) * loss_clip}

    _note(session, workload, records, sums)
    session.noted.train_loss = contribution.own_train_loss


def own_metrics(means: dict[str, float]) -> dict[str, float]:
    """Return the scores among the means of a node's own sums, by name."""
    return {
        name.removeprefix(EVAL_PREFIX): float(value)
        for name, value in means.items()
        if name.startswith(EVAL_PREFIX)
    }


def note_answer(
    session: NodeSession | None, message: Message, reply: Message, seconds: float
) -> None:
    """Write into the node's own report that a message was answered, or refused.

    Whatever happens to the report, the answer goes its way: a full disk or a file that somebody
    holds is a line in the log. It is written for every message alike, and after all else, so
    that nothing but its time, which depends on no record, is added to an answer.
    """
    if session is None:
        return
    try:
        report = session.own_report
        if report is None:
            return
        kind = message.metadata.message_type
        if reply.has_error():
            report.note_refusal(session.run_id, kind, str(reply.error.reason))
            return
        answer = Answer(
            run_id=session.run_id,
            kind=kind,
            seconds=seconds,
            bytes_in=content_bytes(message, {}),
            bytes_out=content_bytes(reply, {}),
        )
        report.note_answer(answer, _about(session), session.noted)
    except Exception as error:
        log.warning("this node's own report lacks this answer: %s", error)


def _about(session: NodeSession) -> dict[str, Any]:
    config = session.config
    options = {group: option_of(config, group) for group in _GROUPS}
    return {**options, "num_rounds": config.num_rounds, "dataset": session.dataset}
