"""Runs with secure aggregation in one process, beside the same runs in clear."""

from collections import Counter
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Message

import app.node
from app.config import load_config
from app.in_process import InProcessGrid, make_clients
from app.server import run
from strategies.grid import PollingGrid

FAST = "rounds.deadline_seconds=0.3 task.training.num_steps=3"


def secure_run(folder: Path) -> dict:
    """Return the run config of three short rounds."""
    return {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": 3,
        "deterministic": True,
        "output-dir": str(folder / "run"),
        "overrides": FAST,
    }


def other(run_config, name, **changes):
    return {**run_config, "output-dir": run_config["output-dir"] + name, **changes}


def in_clear(run_config, name="-clear", free=""):
    overrides = f"{run_config['overrides']} {free}"
    return other(run_config, name, aggregation="plain", overrides=overrides)


def through_codec(run_config, name="-codec"):
    return in_clear(run_config, name, "aggregation.through_codec=true")


def assert_same(first: ArrayRecord, second: ArrayRecord):
    for name in first:
        np.testing.assert_array_equal(first[name].numpy(), second[name].numpy())


def with_faults(run_config, num_nodes, fault):
    """Return real clients behind ``fault(message, real) -> reply or None``."""
    clients = make_clients(run_config, num_nodes)
    return {n: lambda m, real=real: fault(m, real) for n, real in clients.items()}


def kind_of(message: Message) -> str:
    return message.metadata.message_type


class Traced:
    """Runs over a grid that remembers the trips and every message both ways."""

    def __init__(self, run_config, num_nodes, fault=lambda message, real: real(message)):
        app.node.simulate_in_this_process()
        self.messages: list[tuple[Message, Message | None]] = []

        def note(message, real):
            reply = fault(message, real)
            self.messages.append((message, reply))
            return reply

        clients = with_faults(run_config, num_nodes, note)
        self.grid = PollingGrid(InProcessGrid(clients), settle_seconds=0)
        self.outcome = run(self.grid, load_config(run_config), run_id=1, simulated=True)

    def kinds(self) -> Counter[str]:
        return Counter(kind_of(message) for message, _ in self.messages)
