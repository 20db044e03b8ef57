"""Runs that are killed between two rounds and resumed."""

from pathlib import Path

import pytest

from app.simulation.in_process import make_clients, simulate


def plain_run(folder: Path) -> dict:
    """Return the run config of four short rounds without masks."""
    return {
        "task": "breast_cancer",
        "algorithm": "fedavgm",
        "aggregation": "plain",
        "num-rounds": 4,
        "deterministic": True,
        "output-dir": str(folder / "run"),
        "overrides": "task.training.num_steps=3",
    }


class KilledError(Exception):
    """Stands for a process that ends in the middle of a round."""


def run_until(run_config, num_rounds, num_nodes=3):
    """Run until the first client is asked for the round after ``num_rounds``."""
    clients = make_clients(run_config, num_nodes)
    first = clients[1000]

    def killer(message):
        if message.content["config"]["server-round"] > num_rounds:
            raise KilledError
        return first(message)

    with pytest.raises(KilledError):
        simulate(run_config, num_nodes, clients | {1000: killer})


def resumed(run_config, **changes):
    return {**run_config, "output-dir": "", "resume-from": run_config["output-dir"], **changes}
