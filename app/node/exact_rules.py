"""The rules by which a node keeps an exact sum from singling out one of its records.

They are those of DataSHIELD (Gaye et al. 2014, https://doi.org/10.1093/ije/dyu188), kept on the
node and not on the server: a sum hides whose records are in it, but not what a server that
chooses the question finds out about one that carries it alone. They lower that risk and bound
nothing; who needs a bound takes a privacy option.
"""

import logging
from dataclasses import replace

import numpy as np

from app.node.policy import Policy, PolicyError
from app.node.session import NodeSession
from strategies.refusals import Reason, RequestRefusedError
from tasks.records import Examples, LocalData
from workloads.base import Workload
from workloads.values import Query, State

log = logging.getLogger("flwr.tacet")


def records_for_exact_sum(
    session: NodeSession, workload: Workload, state: State, query: Query, records: LocalData
) -> tuple[Workload, LocalData, bool]:
    """Return the workload and records of an exact sum, and whether the records are withheld.

    Where few records carry the whole query none is left. Where few are in one part of it, such
    as a node of a tree, the workload is one that says nothing of that part.

    Without a policy, in a simulation, there are no rules.

    Raises
    ------
    RequestRefusedError
        If this node has too few records for what the run asks, in any round.
    """
    policy = _policy(session, workload, state, records)
    if policy is None:
        return workload, records, False
    weights, least = workload.weights(state, query, records.train), policy.min_effective_records
    if _effective(weights) < least:
        log.warning(
            "round %d: %.3g records carry what is asked, under min_effective_records=%g of this"
            " node's policy: it adds zeros",
            query.server_round,
            _effective(weights),
            least,
        )
        return workload, LocalData(_none_of(records.train), _none_of(records.test)), True
    workload, num_parts = workload.silenced(state, query, records.train, least)
    if num_parts:
        log.warning(
            "round %d: in %d parts of what is asked, such as a node of a tree or an item, are"
            " fewer records than min_effective_records=%g of this node's policy: it adds zeros"
            " there",
            query.server_round,
            num_parts,
            least,
        )
    return workload, records, False


def records_for_exact_scores(
    session: NodeSession, workload: Workload, state: State, records: LocalData
) -> tuple[LocalData, bool]:
    """Return records whose held-out part is scored in an exact run, and whether it is withheld.

    The sum of scores counts held-out records by what a state says of them, so few would be
    counted by themselves: then none is left.

    Without a policy, in a simulation, there are no rules.

    Raises
    ------
    RequestRefusedError
        If this node has too few records for what the run asks, in any round.
    """
    policy = _policy(session, workload, state, records)
    if policy is None or not workload.scores:
        return records, False
    if len(records.test) >= policy.min_effective_records:
        return records, False
    log.warning(
        "%d records are held out, under min_effective_records=%g of this node's policy: it"
        " scores none",
        len(records.test),
        policy.min_effective_records,
    )
    return replace(records, test=_none_of(records.test)), True


def _policy(
    session: NodeSession, workload: Workload, state: State, records: LocalData
) -> Policy | None:
    """Return the policy that has rules for this run; None if none has.

    Raises
    ------
    RequestRefusedError
        If its floors refuse the run.
    """
    if session.policy is None or session.exact is None:
        return None
    try:
        _require_enough(session.policy, workload, state, len(records.train))
    except PolicyError as error:
        raise RequestRefusedError(Reason.TOO_FEW_RECORDS) from error
    return session.policy


def _require_enough(policy: Policy, workload: Workload, state: State, num_records: int) -> None:
    if num_records < policy.min_records:
        raise PolicyError(
            f"this node's policy: {num_records} records to sum over, but"
            f" min_records={policy.min_records}"
        )
    number, most = workload.num_parameters(state), policy.max_parameter_share * num_records
    if number > most:
        raise PolicyError(
            f"this node's policy: {number} parameters from {num_records} records, but"
            f" max_parameter_share={policy.max_parameter_share:g}; take fewer columns"
        )
    table = workload.task.table
    for column in table.columns if table is not None else ():
        if len(column.categories) > policy.max_levels:
            raise PolicyError(
                f"this node's policy: column {column.name} has {len(column.categories)}"
                f" categories, but max_levels={policy.max_levels}; take it out"
            )


def _effective(weights: np.ndarray) -> float:
    """Return how many records of equal weight would carry as much: (sum w)^2 / sum w^2."""
    squares = float(np.sum(weights**2))
    return float(np.sum(weights)) ** 2 / squares if squares > 0 else 0.0


def _none_of(records: Examples) -> Examples:
    return records.take(np.zeros(0, np.intp))
