"""Rounds over a real SuperLink with TLS: the rows of ``benchmarks.round_trip --deployment``.

Flower starts a process for every message, and both sides look for work every few seconds; so a
trip costs seconds whatever is in it, and what counts is how many trips a round takes.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import flower_fedavg
from deploy.trial import Trial, TrialError

#: What each row adds to the run config; None for Flower's own app.
SYSTEMS: dict[str, str | None] = {
    "flower": None,
    "plain": "aggregation=plain",
    "secagg": "aggregation.identities=true",
    "secagg, example_distributed": (
        "aggregation.identities=true privacy=example_distributed privacy.epsilon=3"
        " privacy.delta=1e-3 privacy.clip_norm=1 privacy.population=3"
        " privacy.sampling_rate=0.5 privacy.expected_batch_size=700"
        " aggregation.min_survivors=3 task.training.learning_rate=1"
    ),
}
HEADERS = ("system", "first s", "round s", "x flower", "trips a round")
_TRIPS = {"flower": 2, "plain": 1}


@dataclass(frozen=True)
class Row:
    """One line: the seconds of each round, and Flower's median beside."""

    system: str
    seconds: list[float]
    flower: float

    @property
    def median(self) -> float:
        """The median round, without the first."""
        return statistics.median(self.seconds[1:])

    def figures(self) -> dict[str, object]:
        """Return what was measured and what follows from it."""
        ratio = self.median / self.flower
        return {**asdict(self), "median_round": self.median, "times_flower": ratio}

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        times = f"{self.median / self.flower:.2f}"
        trips = str(_TRIPS.get(self.system, 2))
        return [self.system, f"{self.seconds[0]:.1f}", f"{self.median:.1f}", times, trips]


def measure(home: Path, num_nodes: int, num_rounds: int) -> list[Row]:
    """Run every system over one federation of this machine, one after the other.

    Raises
    ------
    TrialError
        If a run did not end with all nodes in every round.
    """
    home.mkdir(parents=True, exist_ok=True)
    flowers = home / "flowers-app"
    flowers.mkdir()
    flower_fedavg.write_app(flowers)
    seconds: dict[str, list[float]] = {}
    with Trial(home / "trial", num_nodes, max_epsilon=100, others=(flowers,)) as trial:
        for system, overrides in SYSTEMS.items():
            if overrides is None:
                seconds[system] = _flower(trial, flowers, num_rounds)
            else:
                folder = home / f"run-{len(seconds)}"
                seconds[system] = _tacet(trial, overrides, num_rounds, folder)
    flower = statistics.median(seconds["flower"][1:])
    return [Row(system, took, flower) for system, took in seconds.items()]


def _flower(trial: Trial, app: Path, num_rounds: int) -> list[float]:
    output = app.parent / "flower-rounds.json"
    config = f"num-rounds={num_rounds} output-file={json.dumps(str(output))}"
    log = trial.run(config, 1800, app)
    if not output.exists():
        raise TrialError(log)
    return _answered(json.loads(output.read_text(encoding="utf-8")), trial.num_nodes, log)


def _tacet(trial: Trial, overrides: str, num_rounds: int, folder: Path) -> list[float]:
    least = f"rounds.min_clients={trial.num_nodes} rounds.min_replies={trial.num_nodes}"
    log = trial.run(
        f'task="digits" num-rounds={num_rounds} output-dir="{folder}"'
        f' overrides="{overrides} {least}"',
        1800,
    )
    file = folder / "metrics.jsonl"
    if not file.exists():
        raise TrialError(log)
    reports = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if len(reports) < num_rounds:
        raise TrialError(log)
    return _answered(reports, trial.num_nodes, log)


def _answered(rounds: list[dict[str, float]], num_nodes: int, log: str) -> list[float]:
    if any(one["num_replies"] != num_nodes for one in rounds):
        raise TrialError(f"not all {num_nodes} nodes answered in every round:\n{log}")
    return [one["seconds"] for one in rounds]
