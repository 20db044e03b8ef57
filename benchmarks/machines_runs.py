"""The data and the runs of ``python -m benchmarks.machines``: six factories' files."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from app.builders.workload import build_task
from app.config.load import Scalar, load_config
from benchmarks.table_runs import (
    Privacy,
    Records,
    Scores,
    boosted_scores,
    held_out_scores,
)
from tasks.base import DataSource
from tasks.partition import partition
from tasks.schema import PartitionConfig, Scheme

FILE_NAME = "ai4i2020.csv"
LABEL = "MachineFailure"
NUM_FACTORIES = 6
#: The share of each class that a factory has is drawn with this concentration.
SKEW = 0.5
#: A factory has as many records at least.
LEAST_RECORDS = 50
#: T and c.
MIN_SURVIVORS, MAX_COLLUDING = 5, 1
#: The share of held-out records that a warning is given for.
ALARMS = 0.05

SCHEMA = Path(__file__).with_name("machines.yaml")


@dataclass(frozen=True)
class Machines(Records):
    """The records of all factories, as one seed deals them out.

    Attributes
    ----------
    seed : int
        Of the factories and of what each holds out.
    nodes : Path
        The file that says which factory has which file.
    factories : tuple of Records
        Each with its own training records and what all have held out.
    """

    seed: int
    nodes: Path
    factories: tuple[Records, ...]

    @classmethod
    def deal(cls, file: Path, seed: int, folder: Path) -> Self:
        """Write a file for each factory and read them as the nodes do, under ``task_option``.

        Parameters
        ----------
        file : Path
            All records, an absolute path.
        seed : int
            Of the label skew.
        folder : Path
            For the factories' files, an absolute path.

        Raises
        ------
        DataError
            If the file is missing or wrong, or has too few records.
        """
        task = build_task(load_config({"task": "machines", "seed": seed}))
        task.keeps_missing = True
        # Reads it all, so that what does not fit is told of this file.
        whole = task.load(DataSource(data_path=file))
        assert task.table is not None
        sources = _write_parts(file, seed, folder)
        own = [task.load(source).train for source in sources]
        # A record is held out by its own content: the factories hold out what all together do.
        factories = tuple(Records(task.table, train, whole.test) for train in own)
        nodes = folder / "nodes.json"
        paths = [{"data-path": str(source.data_path)} for source in sources]
        nodes.write_text(json.dumps(paths), encoding="utf-8")
        return cls(task.table, whole.train, whole.test, seed, nodes, factories)

    def failures(self) -> list[int]:
        """Return how many failures each factory has to train on."""
        return [int(factory.train.targets.sum()) for factory in self.factories]

    def federated(
        self, algorithm: str, num_rounds: int, epsilon: float | None = None
    ) -> Scores:
        """Train through both apps, each factory a node; return the held-out scores."""
        run_config: dict[str, Scalar] = {
            "task": "machines",
            "algorithm": algorithm,
            "simulation-nodes": str(self.nodes),
            "num-rounds": num_rounds,
            "seed": self.seed,
        }
        privacy, more = None, dict[str, Scalar]()
        if algorithm == "gbdt":
            more["algorithm.structure"] = "greedy" if epsilon is None else "random"
        if epsilon is not None:
            terms = (MIN_SURVIVORS, MAX_COLLUDING)
            privacy = Privacy(epsilon, NUM_FACTORIES, len(self.train), *terms)
        return held_out_scores(self, run_config, NUM_FACTORIES, more, privacy)

    def alone(self) -> list[Scores]:
        """Return the scores of each factory's own boosted trees for all held-out records."""
        return [boosted_scores(factory, self.seed) for factory in self.factories]

    def recall(self, scores: Scores) -> float:
        """Return the share of the failures that are among the alarms.

        Alarms are the ``ALARMS`` of all held-out records with the highest score, rounded to
        whole records. Of records with the score of the last alarm, as many count as there is
        room for, on average over their orders.
        """
        targets = self.test.targets
        num_alarms = max(1, round(ALARMS * len(targets)))
        last = np.sort(scores)[-num_alarms]
        above, tied = scores > last, scores == last
        room = (num_alarms - above.sum()) / tied.sum()
        return float((targets[above].sum() + room * targets[tied].sum()) / targets.sum())


def _write_parts(file: Path, seed: int, folder: Path) -> list[DataSource]:
    """Write each factory's rows, header included, into a file of its own."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        header, *rows = [row for row in csv.reader(stream) if row]
    label = [name.strip() for name in header].index(LABEL)
    targets = np.array([row[label].strip() == "1" for row in rows]).astype(np.int64)
    skewed = PartitionConfig(scheme=Scheme.dirichlet, alpha=SKEW, min_examples=LEAST_RECORDS)
    sources: list[DataSource] = []
    for number, own in enumerate(partition(targets, NUM_FACTORIES, skewed, seed)):
        path = folder / f"factory-{number + 1}.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *(rows[index] for index in own)])
        sources.append(DataSource(number, NUM_FACTORIES, path))
    return sources
