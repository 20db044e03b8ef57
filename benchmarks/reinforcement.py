"""A policy for eight silos with other physics, over masked rounds, beside each silo alone.

python -m benchmarks.reinforcement --json reinforcement.json
"""

import argparse
import logging
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.builders.workload import build_task
from app.config.load import Scalar, load_config
from app.simulation.in_process import simulate
from benchmarks.report import parser_of
from benchmarks.table_rows import Row, Verdict, publish, told
from strategies.rounds.observer import ClosedRound, Observer
from tasks.base import DataSource
from tasks.records import DataError, LocalData
from tasks.reinforcement.task import PolicyTask
from tasks.training.local import evaluate, initial_model, set_parameters, train

NUM_SILOS = 8
MEAN, WORST = "mean return", "in the worst silo"

Returns = NDArray[np.float64]


@dataclass(frozen=True)
class Aim:
    """What is to be reached in one environment.

    Attributes
    ----------
    num_rounds : int
        Of a run.
    least : float
        The mean return of an episode that counts as learnt.
    everywhere : bool
        Whether the federated policy must have it in each silo, or on average over them.
    """

    num_rounds: int
    least: float
    everywhere: bool


AIMS = {"cartpole": Aim(15, 475.0, True), "acrobot": Aim(15, -100.0, False)}

_EPILOG = f"""\
gymnasium's CartPole-v1 and Acrobot-v1, {NUM_SILOS} silos, each with a physics that the seed
draws from the task's public range. The federated row is a run through both apps with the task's
own settings: fedavg, masked. A silo alone has as many rounds of the same training, in its own
environment only; "at home" scores each of the {NUM_SILOS} policies there, "in all silos" each
in all of them (the worst silo of a policy, on average over the policies). The last round's
policy is scored, none is picked: by the episodes that each silo holds out, always by the
likeliest action. Rounds count until the mean return is as required; who never gets there counts
as one round more than there are.

exit status: 0 if the federated policy has a mean return of at least
{AIMS["cartpole"].least:g} on cartpole in every silo and of at least {AIMS["acrobot"].least:g}
on acrobot over all silos, for every seed; 1 if not; 2 if an option is wrong or gymnasium is
not there."""


@dataclass(frozen=True)
class Silos:
    """The environments of one seed, and what policies return in them.

    Attributes
    ----------
    name : str
        The task's.
    seed : int
    task : PolicyTask
    data : list of LocalData
        The episodes of each silo.
    """

    name: str
    seed: int
    task: PolicyTask
    data: list[LocalData]

    @classmethod
    def of(cls, name: str, seed: int) -> Self:
        """Return the silos that a seed draws."""
        task = build_task(load_config({"task": name, "seed": seed}))
        assert isinstance(task, PolicyTask)
        sources = [DataSource(silo, NUM_SILOS) for silo in range(NUM_SILOS)]
        return cls(name, seed, task, [task.load(source) for source in sources])

    @property
    def aim(self) -> Aim:
        """Return what is to be reached."""
        return AIMS[self.name]

    def returns(self, model: nn.Module, silos: Sequence[int] | None = None) -> Returns:
        """Return the mean return of a policy in each of these silos, or in all."""
        least, most = self.task.returns
        shares: list[float] = []
        for silo in range(NUM_SILOS) if silos is None else silos:
            found = evaluate(self.task, model, self.data[silo].test)
            shares.append(found["episode_return"] / found["num_examples"])
        return least + (most - least) * np.array(shares)

    @cached_property
    def federated(self) -> list[Returns]:
        """Return what the policy of each round returns in each silo, over masked rounds."""
        seen = _Policies(self)
        with TemporaryDirectory(prefix="tacet-") as folder:
            run_config: dict[str, Scalar] = {
                "task": self.name,
                "num-rounds": self.aim.num_rounds,
                "seed": self.seed,
                "deterministic": True,
                "output-dir": str(Path(folder) / "run"),
                # Scored here in every round, and there once.
                "overrides": "task.num_test_episodes=1"
                f" rounds.min_clients={NUM_SILOS} rounds.min_replies={NUM_SILOS}",
            }
            simulate(run_config, NUM_SILOS, observers=[seen])
        return seen.returns

    @cached_property
    def _alone(self) -> tuple[list[Returns], Returns]:
        """Train each silo alone; return what each round returns at home, and the last away."""
        models = [initial_model(self.task) for _ in range(NUM_SILOS)]
        rngs = [np.random.default_rng([self.seed, silo]) for silo in range(NUM_SILOS)]
        home: list[Returns] = []
        for _ in range(self.aim.num_rounds):
            for silo, model in enumerate(models):
                train(self.task, model, self.data[silo].train, rngs[silo], 0.0)
            found = [self.returns(model, [silo])[0] for silo, model in enumerate(models)]
            home.append(np.array(found))
        return home, np.stack([self.returns(model) for model in models])

    @property
    def at_home(self) -> list[Returns]:
        """Return what each silo's own policy returns there after each round, alone."""
        return self._alone[0]

    @property
    def away(self) -> Returns:
        """Return what each silo's last policy returns in each, shape (policies, silos)."""
        return self._alone[1]

    def judged(self, returns: Returns) -> float:
        """Return the figure that is held against what is required."""
        return float(returns.min() if self.aim.everywhere else returns.mean())

    def rounds_to(self, figures: Sequence[float]) -> int:
        """Return how many rounds it took; one more than there are if that was not enough."""
        reached = [place for place, one in enumerate(figures, 1) if one >= self.aim.least]
        return reached[0] if reached else self.aim.num_rounds + 1


class _Policies(Observer):
    """Score the policy of every round in every silo."""

    def __init__(self, silos: Silos) -> None:
        self._silos = silos
        self._model = initial_model(silos.task)
        self.returns: list[Returns] = []

    def round_closed(self, closed: ClosedRound) -> None:
        set_parameters(self._model, dict(closed.state.arrays))
        found = self._silos.returns(self._model)
        self.returns.append(found)
        # A run takes minutes.
        what = f"{self._silos.name}, seed {self._silos.seed}, round {len(self.returns)}"
        print(f"{what}: mean {found.mean():.1f}, worst {found.min():.1f}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        chosen = [
            [Silos.of(name, seed) for seed in range(options.seeds)] for name in options.tasks
        ]
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    rows = told(row for silos in chosen for row in _measure(silos))
    verdicts = [verdict for silos in chosen for verdict in _verdicts(silos)]
    return publish("reinforcement", rows, verdicts, options.json, [*_notes(chosen)])


def _measure(seeds: Sequence[Silos]) -> Iterator[Row]:
    name, num_rounds = seeds[0].name, seeds[0].aim.num_rounds
    last = [one.federated[-1] for one in seeds]
    yield Row(f"{name}: Tacet, fedavg, masked", None, num_rounds, _scores(last))
    home = [one.at_home[-1] for one in seeds]
    yield Row(f"{name}: a silo alone, at home", None, num_rounds, _scores(home))
    away = {
        MEAN: [float(one.away.mean()) for one in seeds],
        WORST: [float(one.away.min(axis=1).mean()) for one in seeds],
    }
    yield Row(f"{name}: a silo alone, in all silos", None, num_rounds, away)


def _scores(returns: Sequence[Returns]) -> dict[str, list[float]]:
    return {
        MEAN: [float(one.mean()) for one in returns],
        WORST: [float(one.min()) for one in returns],
    }


def _verdicts(seeds: Sequence[Silos]) -> Iterator[Verdict]:
    name, aim = seeds[0].name, seeds[0].aim
    found = [one.judged(one.federated[-1]) for one in seeds]
    where = "worst silo" if aim.everywhere else "mean of the silos"
    told_of = ", ".join(f"{one:.1f}" for one in found)
    what = f"{name}: federated, {where}, by seed {told_of}, at least {aim.least:g}"
    yield Verdict(min(found) >= aim.least, what)


def _notes(chosen: Sequence[Sequence[Silos]]) -> Iterator[str]:
    """Yield how many rounds it took, and for the first seed what is in each silo."""
    for seeds in chosen:
        name, aim = seeds[0].name, seeds[0].aim
        where = "in every silo" if aim.everywhere else "over all silos"
        together = [one.rounds_to([one.judged(r) for r in one.federated]) for one in seeds]
        alone = [
            one.rounds_to(lane) for one in seeds for lane in np.array(one.at_home).T.tolist()
        ]
        yield (
            f"{name}, rounds of {aim.num_rounds} until {aim.least:g} or more: federated {where}"
            f" {', '.join(map(str, together))} by seed; a silo alone in its own"
            f" {statistics.mean(alone):.1f} on average, {max(alone)} at most"
        )
        yield from _each(seeds[0])


def _each(one: Silos) -> Iterator[str]:
    for silo, data in enumerate(one.data):
        assert data.test.columns is not None
        pairs = zip(one.task.usual, data.test.columns[0], strict=False)
        physics = ", ".join(f"{name} {value:.3g}" for name, value in pairs)
        others = np.delete(one.away[:, silo], silo)
        yield (
            f"{one.name}, seed {one.seed}, silo {silo} ({physics}): federated"
            f" {one.federated[-1][silo]:.1f}, alone {one.away[silo, silo]:.1f}, the policies of"
            f" the others alone {others.mean():.1f}, the worst of them {others.min():.1f}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("reinforcement", __doc__, _EPILOG, seeds=3)
    parser.add_argument(
        "--tasks", nargs="+", choices=AIMS, default=[*AIMS], help="which environments (both)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
