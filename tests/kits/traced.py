"""Whole runs in one process, with every message that went to a client and came back."""

import json
from collections import Counter
from pathlib import Path

from flwr.app import Message

import app.node.settings
from app.config.load import load_config
from app.preflight.run_plan import RunPlan, plan_run
from app.server import run
from app.simulation.in_process import InProcessGrid, make_clients
from strategies.rounds.transport import PollingGrid


def kind_of(message: Message) -> str:
    """Return the type of a message."""
    return message.metadata.message_type


def with_faults(run_config, num_nodes, fault):
    """Return real clients behind ``fault(message, real) -> reply or None``."""
    clients = make_clients(run_config, num_nodes)
    return {n: lambda m, real=real: fault(m, real) for n, real in clients.items()}


class Traced:
    """Runs over a grid that remembers every message both ways.

    Parameters
    ----------
    run_config : dict
        As for ``flwr run``.
    number : int
        How many nodes.
    fault : callable
        From a message and the real client to a reply, or None for silence.
    """

    def __init__(
        self, run_config: dict, number: int, fault=lambda message, real: real(message)
    ) -> None:
        app.node.settings.simulate_in_this_process()
        self.run_config, self.config = run_config, load_config(run_config)
        self.messages: list[tuple[Message, Message | None]] = []

        def note(message, real):
            reply = fault(message, real)
            self.messages.append((message, reply))
            return reply

        clients = with_faults(run_config, number, note)
        self.grid = PollingGrid(InProcessGrid(clients), settle_seconds=0)
        self.outcome = run(self.grid, self.config, run_id=1, simulated=True)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run_config["output-dir"])

    def reports(self) -> list[dict]:
        """Return the lines of ``metrics.jsonl``."""
        return reports_of(self.folder)

    def summary(self) -> dict:
        """Return ``summary.json``."""
        return json.loads((self.folder / "summary.json").read_text())

    def plan(self) -> RunPlan:
        """Return what ``tacet plan`` says of the run."""
        return plan_run(self.config)

    def kinds(self) -> Counter[str]:
        """Return how many messages there were of each type."""
        return Counter(kind_of(message) for message, _ in self.messages)


def reports_of(folder: Path | str) -> list[dict]:
    """Return the lines of a run folder's ``metrics.jsonl``."""
    text = (Path(folder) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
