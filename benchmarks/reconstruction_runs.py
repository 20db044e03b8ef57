"""Runs of ``python -m benchmarks.reconstruction``: real ones, and what the server hears."""

import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from flwr.app import Message, MessageType
from numpy.typing import NDArray

from app.builders.run import build_codec
from app.builders.workload import build_task, build_workload
from app.config.load import Scalar, load_config
from app.simulation.in_process import Client, make_clients, simulate
from benchmarks.table_runs import Privacy
from strategies.rounds.observer import ClosedRound, Observer
from strategies.rounds.records import read_encoded, read_request
from tasks.base import DataSource
from tasks.records import Examples, LocalData, joined
from tasks.table import Table
from workloads.base import Workload
from workloads.values import State

_SCORED = 2  # records that each node holds out: the attack looks at none of their scores


@dataclass(frozen=True)
class Deal:
    """Who holds which records; the first node is the victim.

    Attributes
    ----------
    task : str
    table : Table
    folder : Path or None
        Where the task's records lie, if it has files.
    nodes : tuple of Examples
        The records that each sums.
    """

    task: str
    table: Table
    folder: Path | None
    nodes: tuple[Examples, ...]

    @classmethod
    def of(cls, task: str, folder: Path | None, num_nodes: int, each: int, seed: int) -> Self:
        """Deal some records of a task, drawn by the seed.

        Raises
        ------
        DataError
            If a file is missing or wrong.
        """
        made = build_task(load_config({"task": task}))
        made.keeps_missing = True
        loaded = made.load(DataSource(data_path=folder))
        assert made.table is not None
        records = joined([loaded.train, loaded.test])
        order = np.random.default_rng(seed).permutation(len(records))[: num_nodes * each]
        nodes = tuple(records.take(part) for part in np.split(order, num_nodes))
        return cls(task, made.table, folder, nodes)

    @property
    def victim(self) -> Examples:
        """Return the records that are looked for."""
        return self.nodes[0]

    @property
    def others(self) -> Examples:
        """Return the records of all nodes but the victim."""
        return joined(self.nodes[1:])

    @property
    def pool(self) -> Examples:
        """Return all nodes' records."""
        return joined(self.nodes)


@dataclass
class Heard(Observer):
    """What a curious server hears in a run.

    Attributes
    ----------
    workload : Workload
        With what it works out.
    states : dict of int to State
        What each round asked about.
    sums : dict of int to ndarray
        The vector that each round brought: the victim's, or the sum of all.
    state : State or None
        The last one.
    """

    workload: Workload
    states: dict[int, State] = field(default_factory=dict[int, State])
    sums: dict[int, NDArray[Any]] = field(default_factory=dict[int, NDArray[Any]])
    state: State | None = None
    is_plain: bool = False

    def round_closed(self, closed: ClosedRound) -> None:
        """Take the sum that was opened, and the new state."""
        self.state = closed.state
        if not self.is_plain:
            self.sums[closed.report.round] = closed.aggregate.total


def listen(
    deal: Deal,
    algorithm: str,
    aggregation: str,
    num_rounds: int,
    seed: int,
    epsilon: float | None = None,
) -> Heard:
    """Train through both apps and return what the server has heard.

    Parameters
    ----------
    deal : Deal
        The nodes' records.
    algorithm, aggregation : str
        Of the run. With ``plain`` the reply of the victim is what counts, as it came.
    num_rounds, seed : int
        Of the run.
    epsilon : float, optional
        For every record, under ``example_distributed``.
    """
    num_nodes = len(deal.nodes)
    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        given: dict[str, Scalar] = {
            "task": deal.task,
            "algorithm": algorithm,
            "aggregation": aggregation,
            "num-rounds": num_rounds,
            "seed": seed,
            "output-dir": folder,
            "data-dir": "" if deal.folder is None else str(deal.folder),
        }
        if epsilon is not None:
            terms = (num_nodes - 1, 1)
            privacy = Privacy(epsilon, num_nodes, len(deal.pool), *terms)
            given["privacy"] = "example_distributed"
            given["overrides"] = " ".join(f"{k}={v}" for k, v in privacy.overrides().items())
        config = load_config(given)
        heard = Heard(build_workload(config), is_plain=aggregation == "plain")
        held = [LocalData(own, own.take(np.arange(_SCORED))) for own in deal.nodes]
        clients = make_clients(given, num_nodes, held)
        victim = min(clients)
        codec = build_codec(config, heard.workload, 1) if heard.is_plain else None
        clients[victim] = partial(_note, heard, codec, clients[victim])
        simulate(given, num_nodes, clients, (heard,), task_has_records=False)
    return heard


def _note(heard: Heard, codec: Any, real: Client, message: Message) -> Message | None:
    """Let the victim answer; note what it was asked and, in the clear, what it said."""
    reply = real(message)
    if message.metadata.message_type == MessageType.TRAIN:
        state, query = read_request(message.content)
        heard.states[query.server_round] = state
        if codec is not None and reply is not None:
            length = heard.workload.length(state)
            vector, _ = read_encoded(reply.content, codec, length)
            heard.sums[query.server_round] = vector.view(np.int64)
    return reply
