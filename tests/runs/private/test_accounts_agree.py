"""What a plan says, what the server reports and what the ledgers hold: one figure, always.

A run may go well, have an attempt fail, be killed after nodes have charged, and be resumed. In
every history no ledger holds more than the server's report, which is the fullest ledger's, and
the report no more than the plan's worst case.
"""

from contextlib import suppress
from dataclasses import dataclass, field

import pytest

import app.simulation.in_process
from app.config.load import load_config
from app.node.settings import simulate_in_this_process
from app.preflight.run_plan import plan_run
from app.server import run
from app.simulation.in_process import InProcessGrid
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.transport import PollingGrid
from tests.kits.absent_clients import SPARE, STRICT, Absent, summary_of, with_nodes
from tests.kits.killed_runs import KilledError, resumed
from tests.kits.private_kit import planned_epsilon
from tests.kits.traced import kind_of, with_faults

METRICS = "privacy.metrics.every=1 privacy.metrics.noise_multiplier=0.5"
OPTIONS = [
    ("example_distributed", "secagg", METRICS),
    ("client_distributed", "secagg", ""),
    ("client_local", "plain", METRICS),
]


@dataclass
class Killed:
    """Kills the server when a node has charged for a round and answered."""

    number: int
    node: int = 1001

    def __call__(self, message, real):
        reply = real(message)
        if kind_of(message) == "train" and message.metadata.dst_node_id == self.node:
            reached = message.content["config"]["server-round"] == self.number
            if reached:
                raise KilledError
        return reply


def silent(number: int) -> Absent:
    """Return the fault of a client that is silent once, in a round that all must answer."""
    return Absent({1003: 1}, number=number)


@dataclass
class History:
    """Runs one after the other, each with its fault, the later ones resumed."""

    faults: list = field(default_factory=list)
    free: str = ""


HISTORIES = {
    "clean": History([None]),
    "a spare attempt is not used": History([None], SPARE),
    "a spare attempt is used": History([silent(2)], SPARE),
    "an attempt fails and nothing is spare": History([silent(2)]),
    "and is resumed": History([silent(2), None]),
    "an attempt of the first round fails, and is resumed": History([silent(1), None]),
    "two attempts fail and one is spare, and is resumed": History(
        [silent(1), silent(2), None], SPARE
    ),
    "killed after nodes have charged": History([Killed(2)]),
    "killed, and resumed": History([Killed(2), None]),
    "killed, and resumed with a spare attempt": History([Killed(2), None], SPARE),
    "killed in the first round, twice, and resumed": History(
        [Killed(1), Killed(1), None], SPARE
    ),
    "resumed when it is over": History([None, None]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("option", "aggregation", "free"), OPTIONS)
@pytest.mark.parametrize("name", HISTORIES)
def test_plan_report_and_ledgers_agree(tmp_path, option, aggregation, free, name):
    history = HISTORIES[name]
    words = f"{STRICT} {history.free} {free}"
    run_config, nodes = with_nodes(tmp_path, option, aggregation, words)
    worst = planned_epsilon(plan_run(load_config(run_config)))
    for number, fault in enumerate(history.faults, start=1):
        once(run_config if number == 1 else resumed(run_config), number, fault)
        told = summary_of(run_config)["privacy"]
        spent = [nodes.spent(node).epsilon for node in range(4) if nodes.state(node).exists()]
        assert told["epsilon"] == pytest.approx(max(spent), rel=0, abs=1e-9)
        assert max(spent) <= worst + 1e-9


def once(run_config: dict, run_id: int, fault) -> None:
    """Run once, to its end or until it stops; each has an id of its own, as in a deployment."""
    simulate_in_this_process()
    fault = fault or (lambda message, real: real(message))
    with pytest.MonkeyPatch.context() as patched:
        context = app.simulation.in_process.Context
        patched.setattr(
            app.simulation.in_process,
            "Context",
            lambda **keys: context(**keys | {"run_id": run_id}),
        )
        grid = PollingGrid(InProcessGrid(with_faults(run_config, 4, fault)), settle_seconds=0)
    with suppress(KilledError, RunStoppedError):
        run(grid, load_config(run_config), run_id=run_id, simulated=True)
