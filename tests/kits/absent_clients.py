"""Private runs in which clients are silent for a while, and the ledgers of their nodes."""

import json
from collections import Counter
from pathlib import Path

import pytest

from strategies.rounds.attempt import RunStoppedError
from tests.kits.private_kit import Nodes, run_config_of
from tests.kits.traced import Traced, kind_of

SPARE = "privacy.spare_attempts=1"
#: All four must answer, or the attempt fails.
STRICT = "rounds.min_replies=4"


class Absent:
    """Lets clients be silent: they answer no message of these kinds for some times.

    Parameters
    ----------
    times : dict
        Node id to how often it is silent.
    kind : str
        To which messages.
    number : int
        Only in this round, if above 0.
    """

    def __init__(self, times: dict[int, int], kind: str = "train", number: int = 0) -> None:
        self.times, self.kind, self.number = Counter(times), kind, number

    def __call__(self, message, real):
        node = message.metadata.dst_node_id
        if kind_of(message) != self.kind or not self.times[node]:
            return real(message)
        if self.number and message.content["config"]["server-round"] != self.number:
            return real(message)
        self.times[node] -= 1
        return None


def summary_of(run_config) -> dict:
    """Return ``summary.json`` of a run, new or resumed."""
    folder = Path(run_config["output-dir"] or run_config["resume-from"])
    return json.loads((folder / "summary.json").read_text())


def with_nodes(tmp_path, option, aggregation, free, **keys):
    """Return a run config with nodes whose ledgers can be read, and the nodes."""
    nodes = Nodes(tmp_path, keys.get("population", 4))
    keys["simulation_nodes"] = str(nodes.file)
    return run_config_of(tmp_path, option, aggregation, free, **keys), nodes


def stopped(run_config, fault, number=4) -> str:
    """Return what the run says that stops."""
    with pytest.raises(RunStoppedError) as info:
        Traced(run_config, number, fault)
    return str(info.value)
