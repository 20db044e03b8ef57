"""Both apps in one process, with no SuperLink: for tests, benchmarks and debuggers.

The code under it is the real one; only the transport is missing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from app.client import make_app
from app.config.load import Scalar, load_config
from app.node.settings import simulate_in_this_process
from app.server import run
from strategies.rounds.observer import Observer, Outcome
from strategies.rounds.transport import PollingGrid
from tasks.records import LocalData

Client = Callable[[Message], Message | None]


class InProcessGrid(Grid):
    """A grid whose nodes are functions. A node that returns None does not answer.

    Parameters
    ----------
    clients : mapping
        Node id to the function that answers its messages, in the order of registration.
    keeps_sent : bool
        Whether ``sent`` holds all messages: those of a long run with many nodes are large.
    """

    def __init__(self, clients: Mapping[int, Client], *, keeps_sent: bool = True) -> None:
        # Flower's messages take their sender from here.
        TaskIdentity.run_id, TaskIdentity.task_id = 1, 1
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        self._clients = dict(clients)
        self._waiting: dict[str, Message] = {}
        self._num_sent, self._keeps_sent = 0, keeps_sent
        self.sent: list[Message] = []

    def get_node_ids(self) -> Iterable[int]:
        """Return all nodes."""
        return list(self._clients)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return all nodes, registered one after the other."""
        return [
            NodeInfo(node_id=node, registered_at=f"{position:09d}")
            for position, node in enumerate(self._clients)
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; ``pull_messages`` lets the nodes answer them."""
        ids: list[str] = []
        for message in messages:
            self._num_sent += 1
            message.metadata.__dict__["_message_id"] = f"m{self._num_sent}"
            self._waiting[message.metadata.message_id] = message
            if self._keeps_sent:
                self.sent.append(message)
            ids.append(message.metadata.message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Let the nodes answer the queued messages; return the replies."""
        replies: list[Message] = []
        for message_id in message_ids:
            message = self._waiting.pop(message_id, None)
            if message is not None:
                reply = self._clients[message.metadata.dst_node_id](message)
                replies.extend([] if reply is None else [reply])
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push and pull once."""
        return self.pull_messages(self.push_messages(messages))

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Refuse: deprecated by Flower."""
        raise RuntimeError("use Message(...)")

    def set_run(self, run: Run) -> None:
        """Do nothing: there is no SuperLink."""

    @property
    def run(self) -> Run:
        """Refuse: there is no SuperLink."""
        raise RuntimeError("there is no run in process")


def make_clients(
    run_config: Mapping[str, Scalar],
    num_nodes: int,
    held: Sequence[LocalData] | None = None,
    run_id: int = 1,
) -> dict[int, Client]:
    """Return clients that answer with the real ClientApp, each with its own context.

    Parameters
    ----------
    run_config : mapping
        Keys and values, as of ``flwr run --run-config``.
    num_nodes : int
        How many simulated nodes.
    held : sequence of LocalData, optional
        Records of nobody for each node, in place of those that the task would load.
    run_id : int
        Flower's id of the run: one that is resumed has another than before.
    """

    def make(partition_id: int, node_id: int) -> Client:
        context = Context(
            run_id=run_id,
            node_id=node_id,
            node_config={"partition-id": partition_id, "num-partitions": num_nodes},
            state=RecordDict(),
            run_config=dict(run_config),
        )
        client_app = make_app(None if held is None else held[partition_id])
        return lambda message: client_app(message, context)

    return {1000 + i: make(i, 1000 + i) for i in range(num_nodes)}


def simulate(
    run_config: Mapping[str, Scalar],
    num_nodes: int,
    clients: Mapping[int, Client] | None = None,
    observers: Sequence[Observer] = (),
    *,
    task_has_records: bool = True,
    draws_page: bool = False,
    run_id: int = 1,
) -> Outcome:
    """Run one federated training in this process.

    Parameters
    ----------
    run_config : mapping
        Keys and values, as of ``flwr run --run-config``.
    num_nodes : int
        How many simulated nodes.
    clients : mapping, optional
        Instead of the real clients.
    observers : sequence of Observer
        Told of the rounds as well.
    task_has_records : bool
        Whether the clients hold the task's records, or others in their place.
    draws_page : bool
        Whether the folder gets a ``report.html``, as that of ``flwr run`` does.
    run_id : int
        Flower's id of the run.
    """
    simulate_in_this_process()
    if clients is None:
        clients = make_clients(run_config, num_nodes, run_id=run_id)
    grid = InProcessGrid(clients, keeps_sent=False)
    # All nodes of this grid are there from the start.
    polling = PollingGrid(grid, settle_seconds=0)
    config = load_config(run_config)
    return run(
        polling,
        config,
        run_id=run_id,
        simulated=True,
        observers=observers,
        task_has_records=task_has_records,
        draws_page=draws_page,
    )
