"""Grids whose time passes only where somebody waits, and whose nodes can be started again."""

from collections.abc import Iterable

from flwr.proto.node_pb2 import NodeInfo

import app.node.settings
from app.config.load import load_config
from app.server import run
from app.simulation.in_process import Client, InProcessGrid
from strategies.rounds.observer import Outcome
from strategies.rounds.transport import PollingGrid


class FakeTime:
    """A clock that sleeping moves, and nothing else."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.waits.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        """Return the time."""
        return self.now


class RestartableGrid(InProcessGrid):
    """Nodes that came online at ``activated[node]``, as a SuperLink would say."""

    def __init__(self, clients: dict[int, Client]) -> None:
        super().__init__(clients)
        self.activated: dict[int, str] = dict.fromkeys(clients, "at first")

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return all nodes with the time at which they came online."""
        nodes = list(super().get_nodes())
        for node in nodes:
            node.last_activated_at = self.activated[node.node_id]
        return nodes


def run_timed(run_config: dict, grid: InProcessGrid, time: FakeTime) -> Outcome:
    """Run over a grid in a time that only waiting moves."""
    app.node.settings.simulate_in_this_process()
    polling = PollingGrid(grid, sleep=time.sleep, clock=time.clock, settle_seconds=0)
    return run(polling, load_config(run_config), run_id=1, simulated=True)
