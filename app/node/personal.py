"""The node's own part of a model: what it keeps, and which of it goes with which state.

Each kept part goes with a state, which its hash names: the state that the part was trained on
in a round has the part as it was before, and the next one has it as it is after. So an attempt
that is repeated, or a round that a resumed run asks again, trains from where the first one did;
a run that begins with another one's model goes on with what belongs to that model, whichever
runs the node has seen in between; and a model file finds the part that it was scored with.

A part was trained on the records of one data set, in the sense of the policy, and goes with no
other: no ledger of that one has what it would show of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from app.config.load import option_of
from app.node.own_models import SUFFIX, KeptModel, OwnModels
from app.node.session import NodeSession
from privacy.database import DatabaseError
from strategies.aggregation import Request
from tasks.records import LocalData
from workloads.model_arrays import hash_arrays, parted, prefixed
from workloads.values import Arrays, State

log = logging.getLogger("flwr.tacet")

_NAME = "personal"
_BEFORE, _AFTER = "before", "after"
#: Parts are small, and a run may be gone on with long after others.
_KEPT_RUNS = 50


class NoPartError(ValueError):
    """A node keeps no part of its own for a model. One line."""


def with_own_part(session: NodeSession, request: Request, records: LocalData) -> LocalData:
    """Return the records with the node's own part of the model, where the model has one.

    Raises
    ------
    DatabaseError
        If the node's file cannot be used.
    """
    initial = request.workload.initial_personal()
    if not initial:
        return records
    part = _part_for(session, request, initial)
    if not request.training:
        _note_seen(session, request.hash_of_arrays.hex())
    return replace(records, personal=part)


def keep_own_part(
    session: NodeSession, request: Request, records: LocalData, after: Arrays | None
) -> None:
    """Keep the node's own part as a round found it and leaves it; nothing where there is none.

    A part that is not finite is dropped: training diverged, and no later round would mend it.

    Raises
    ------
    DatabaseError
        If the node's file cannot be used.
    """
    if after is None or records.personal is None:
        return
    before = dict(records.personal)
    if not all(np.isfinite(values).all() for values in after.values()):
        log.warning("training diverged here: this node keeps its own part as it was")
        after = before
    told = {**_told(session, request), _BEFORE: request.hash_of_arrays.hex(), _AFTER: ""}
    arrays = {**prefixed(f"{_BEFORE}/", before), **prefixed(f"{_AFTER}/", after)}
    kept = KeptModel(round=request.query.server_round, arrays=arrays, told=told)
    session.own_models().put({_NAME: kept}, _KEPT_RUNS)


def kept_part(
    node_file: Path, task: str, state: State, num_rounds: int, initial: Arrays
) -> Arrays:
    """Return a node's own part for the model of a run that has ended.

    Parameters
    ----------
    node_file : Path
        The node's own file, its ``state-path``.
    task : str
        The option of ``task``.
    state : State
        The model.
    num_rounds : int
        Rounds that it is of.
    initial : dict of ndarray
        The untrained part, for names and shapes.

    Raises
    ------
    NoPartError
        If the node keeps none that goes with it, or its file cannot be used.
    """
    file = node_file.with_name(node_file.name + SUFFIX)
    if not file.exists():
        raise NoPartError(
            f"{file} is not there; give the state-path of a node that took part in the run, as"
            " its --node-config has it"
        )
    try:
        kept = OwnModels(file, 0).of_all_runs(_NAME)
    except DatabaseError as error:
        raise NoPartError(str(error)) from None
    due = {"task": task, "shared": _shapes(state)}
    kept = [one for one in kept if _fits(one, due, initial)]
    asked = hash_arrays(state).hex()
    # As above: the run has not shown its last model to the node.
    open_ones = [one for one in kept if _is_open(one) and one.round == num_rounds]
    found = _going_with(kept, asked) or _only(open_ones)
    if found is None:
        raise NoPartError(
            f"{file}: the node keeps no part of its own that goes with this model; give the"
            " state-path of a node that took part in the run, and the run's last model"
        )
    return _part(found, asked)


def _part_for(session: NodeSession, request: Request, initial: Arrays) -> Arrays:
    config = session.config
    goes_on = bool(config.initial_model or config.resume_from)
    if request.query.server_round == 1 and not goes_on:
        return initial
    models, asked = session.own_models(), request.hash_of_arrays.hex()
    due, own = _told(session, request), models.get(_NAME)
    if own is not None and _fits(own, due, initial):
        return _part(own, asked)
    if not goes_on:
        return initial
    kept = [one for one in models.of_all_runs(_NAME) if _fits(one, due, initial)]
    found = _going_with(kept, asked) or _left_open(
        kept, request, resumed=not config.initial_model
    )
    if found is not None:
        return _part(found, asked)
    log.warning("this node keeps no part of its own for this model, and begins it afresh")
    return initial


def _left_open(
    kept: Sequence[KeptModel], request: Request, *, resumed: bool
) -> KeptModel | None:
    """Return the only part that may go with a state which the node sees for the first time.

    A run that did not ask for the scores of its last model has never shown that to the nodes.
    There may be several such runs, and of another run's model a part is not one.
    """
    found = [one for one in kept if _is_open(one)]
    if resumed:
        found = [one for one in found if one.round < request.query.server_round]
        last = max((one.round for one in found), default=0)
        found = [one for one in found if one.round == last]
    return _only(found)


def _note_seen(session: NodeSession, seen: str) -> None:
    """Note which state the part goes with that the node's last round left."""
    models = session.own_models()
    own = models.get(_NAME)
    if own is not None and _is_open(own) and own.told[_BEFORE] != seen:
        models.put({_NAME: replace(own, told={**own.told, _AFTER: seen})}, _KEPT_RUNS)


def _told(session: NodeSession, request: Request) -> dict[str, Any]:
    """Return what a part belongs to, beside the states that it goes with; JSON values."""
    return {
        "task": option_of(session.config, "task"),
        "dataset": session.dataset,
        "shared": _shapes(request.state),
    }


def _shapes(state: State) -> list[list[Any]]:
    return [[name, list(array.shape)] for name, array in sorted(state.arrays.items())]


def _fits(kept: KeptModel, due: Mapping[str, Any], initial: Arrays) -> bool:
    after, _ = parted(f"{_AFTER}/", kept.arrays)
    own = {name: values.shape for name, values in after.items()}
    shapes = {name: values.shape for name, values in initial.items()}
    return all(kept.told.get(key) == value for key, value in due.items()) and own == shapes


def _is_open(kept: KeptModel) -> bool:
    return not kept.told[_AFTER]


def _going_with(kept: Iterable[KeptModel], asked: str) -> KeptModel | None:
    """Return the first whose part, before or after its round, goes with a state."""
    return next((one for one in kept if asked in (one.told[_BEFORE], one.told[_AFTER])), None)


def _only(found: Sequence[KeptModel]) -> KeptModel | None:
    return found[0] if len(found) == 1 else None


def _part(kept: KeptModel, asked: str) -> Arrays:
    which = _BEFORE if kept.told[_BEFORE] == asked else _AFTER
    return parted(f"{which}/", kept.arrays)[0]
