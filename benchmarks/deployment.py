"""Rounds over a real SuperLink with TLS: the rows of ``benchmarks.round_trip --deployment``.

Both sides look for work every few seconds, so a trip costs seconds whatever is in it, and what
counts is how many trips a round takes. Flower's SuperNodes also start a new Python for every
message, where ours fork. Flower's apps run on its own; one row has its FedAvg on ours, so that
what our nodes spare is not taken for the app's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import flower_fedavg
from benchmarks.report import median_round
from deploy.trial import Trial
from deploy.trial_home import TrialError

#: Flower's app on our nodes: what is due to them, and what to ours.
GUARDED = "flower, our nodes"
#: Flower's own apps: the module that each row runs.
FLOWERS = {
    "flower": "flower_fedavg",
    "flower SecAgg+": "flower_secaggplus",
    GUARDED: "flower_fedavg",
}
_SIGNED = "aggregation.identities=true aggregation.peers_file={peers}"
#: What each of our rows adds to the run config; ``peers`` is the trial's peers file.
SYSTEMS = {
    "plain": "aggregation=plain",
    "secagg": f"{_SIGNED} aggregation.min_survivors=3",
    "secagg, example_distributed": (
        f"{_SIGNED} privacy=example_distributed privacy.epsilon=3"
        " privacy.delta=1e-3 privacy.clip_norm=1 privacy.population=3"
        " privacy.sampling_rate=0.5 privacy.expected_batch_size=700"
        " aggregation.min_survivors=3 privacy.learning_rate=1"
    ),
}
#: Of every node's policy; `plain` shows the server each contribution, which they have to allow.
MAX_EPSILON, MIN_SURVIVORS = 100.0, 1
HEADERS = ("system", "first s", "round s", "x flower", "messages")


@dataclass(frozen=True)
class Row:
    """A row of the table: the seconds of each round, and Flower's median.

    ``messages`` is what one node received in the whole run.
    """

    system: str
    seconds: list[float]
    messages: int
    flower: float

    @property
    def median(self) -> float:
        """The median round, without the first."""
        return median_round(self.seconds)

    def figures(self) -> dict[str, object]:
        """Return what was measured and what follows from it."""
        ratio = self.median / self.flower
        return {**asdict(self), "median_round": self.median, "times_flower": ratio}

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        times = f"{self.median / self.flower:.2f}"
        seconds = [f"{value:.1f}" for value in (self.seconds[0], self.median)]
        return [self.system, *seconds, times, str(self.messages)]


def measure(home: Path, num_nodes: int, num_rounds: int) -> list[Row]:
    """Run every system on this machine, one after the other: Flower's on nodes of its own.

    Raises
    ------
    TrialError
        If a run did not end with all nodes in every round.
    """
    apps = _write_apps(home)
    took: dict[str, tuple[list[float], int]] = {}

    def run(trial: Trial, system: str) -> None:
        before = _num_received(trial)
        if system in SYSTEMS:
            folder = home / f"run-{len(took)}"
            more = SYSTEMS[system].format(peers=trial.home / "peers")
            seconds = _tacet(trial, more, num_rounds, folder)
        else:
            seconds = _flower(trial, apps[system], num_rounds)
        took[system] = seconds, _num_received(trial) - before
        print(f"{system}: {', '.join(f'{one:.1f}' for one in seconds)} s", flush=True)

    with Trial(home / "flower", num_nodes, guarded=False) as trial:
        run(trial, "flower")
        try:
            run(trial, "flower SecAgg+")
        except TrialError as error:
            # Flower no longer maintains it.
            print(f"flower SecAgg+ does not run here: {error}", flush=True)
    with Trial(
        home / "tacet",
        num_nodes,
        max_epsilon=MAX_EPSILON,
        min_survivors=MIN_SURVIVORS,
        others=(apps[GUARDED],),
    ) as trial:
        for system in (GUARDED, *SYSTEMS):
            run(trial, system)
    flower = median_round(took["flower"][0])
    return [Row(system, *took[system], flower) for system in took]


def _write_apps(home: Path) -> dict[str, Path]:
    apps = {system: home / module for system, module in FLOWERS.items()}
    for app in {*apps.values()}:
        app.mkdir(parents=True)
        flower_fedavg.write_app(app, app.name)
    return apps


def _num_received(trial: Trial) -> int:
    return trial.log("node-0").count("Receiving: ")


def _flower(trial: Trial, app: Path, num_rounds: int) -> list[float]:
    output = app.parent / f"{app.name}.json"
    output.unlink(missing_ok=True)
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
