"""The remaining life of turbofan engines, over ten masked operators with ten engines each.

python -m benchmarks.engines --data-dir ../shared/data/engines
"""

import argparse
import logging
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from sklearn.linear_model import Ridge  # pyright: ignore[reportMissingTypeStubs]

from app.config.load import Scalar, load_config
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from benchmarks.averaged_model import averaged_model
from benchmarks.report import parser_of
from benchmarks.table_rows import Row, Verdict, publish, told
from benchmarks.task_option import task_option
from tasks.base import DataSource
from tasks.records import DataError, Examples, joined
from tasks.series.reading import read_rows
from tasks.series.task import Series
from tasks.series.windows import last_windows
from tasks.training.local import initial_model, outputs_of, train

NUM_OPERATORS = 10
NUM_ROUNDS = 15
RMSE = "RMSE, cycles"
POOLED, FEDERATED = "GRU, pooled", "Tacet, fedavg without privacy"
#: What the pooled model may have at most, and the federated one as a multiple of that.
MOST_POOLED, MOST_RATIO = 15.5, 1.05
POOLED_RATE = 0.001

_SCHEMA = Path(__file__).with_name("engines.yaml")
_COLUMNS = (
    "engine",
    "cycle",
    *(f"setting{n}" for n in (1, 2, 3)),
    *(f"s{n}" for n in range(1, 22)),
)

_EPILOG = f"""\
NASA C-MAPSS FD001: 100 engines that ran until they failed, dealt to {NUM_OPERATORS} operators,
and 100 more that were cut off before it, which all rows are scored on: by the last window of
each, life capped at 125 cycles. The federated row is runs through both apps, each operator a
node with a file of its own, masked, {NUM_ROUNDS} rounds of two epochs; the last round's model
is scored, none is picked. The pooled GRU has as many epochs over all records, at a rate of
{POOLED_RATE:g} and with the mean of the models of the last half of them, for it overfits: both
chosen in its favour by the test engines. An operator alone has the GRU and epochs of a
federated one on its own ten engines: the mean over the operators, and the worst. The linear
model is a ridge regression of the same windows, pooled. A seed draws the initial model, the
batches and who has which engines.

exit status: 0 if, of the rows that were asked for, the pooled GRU has an RMSE of at most
{MOST_POOLED} and the federated one at most {MOST_RATIO} times that, as means over the seeds; 1
if not; 2 if the data or an option is wrong."""


@dataclass(frozen=True)
class Fleet:
    """The engines, as one seed deals them out.

    Attributes
    ----------
    task : Series
    seed : int
    nodes : Path
        The file that says which operator has which file.
    operators : list of Examples
        The windows of each.
    asked : Examples
        The last window of each engine that was cut off.
    lives : ndarray, float64, shape (100,)
        Their remaining cycles, capped.
    """

    task: Series
    seed: int
    nodes: Path
    operators: list[Examples]
    asked: Examples
    lives: NDArray[np.float64]

    @classmethod
    def deal(cls, source: Path, seed: int, folder: Path) -> Self:
        """Write each operator's engines into a file of its own, and read them."""
        rows = _read(source / "train_FD001.txt")
        order = np.random.default_rng(seed).permutation(np.unique(rows[:, 0]))
        files: list[Path] = []
        for place, own in enumerate(np.array_split(order, NUM_OPERATORS)):
            files.append(
                _write(folder / f"operator{place}.csv", rows[np.isin(rows[:, 0], own)])
            )
        nodes = folder / "nodes.yaml"
        nodes.write_text(yaml.safe_dump([{"data-path": str(file)} for file in files]))
        config: Any = load_config({"task": "engines", "simulation-nodes": str(nodes)}).task
        task = Series(config, seed)
        test = _write(folder / "test.csv", _read(source / "test_FD001.txt"))
        units, asked = last_windows(read_rows(test, config, is_private=False), config)
        lives = np.minimum(np.loadtxt(source / "RUL_FD001.txt"), config.cap)
        in_order = lives[[int(float(unit)) - 1 for unit in units]]
        own = [task.load(DataSource(data_path=file)).train for file in files]
        return cls(task, seed, nodes, own, asked, in_order)

    def rmse(self, foretold: NDArray[np.floating]) -> float:
        """Return the error of what a model foretells of the engines that were cut off."""
        found = self.task.to_label_units(foretold).reshape(-1)
        return float(np.sqrt(np.mean((found - self.lives) ** 2)))

    def federated(self) -> float:
        """Train through both apps, each operator a node; return the error."""
        with TemporaryDirectory(prefix="tacet-") as folder:
            run_config: dict[str, Scalar] = {
                "task": "engines",
                "simulation-nodes": str(self.nodes),
                "num-rounds": NUM_ROUNDS,
                "seed": self.seed,
                "output-dir": str(Path(folder) / "run"),
            }
            simulate(run_config, NUM_OPERATORS)
            _, model = load_model(Path(folder) / "run" / "model.safetensors")
        return self.rmse(outputs_of(model, self.asked.inputs))

    def trained_on(self, records: Examples) -> float:
        """Return the error of the same model trained on these records alone."""
        model = initial_model(self.task)
        rng = np.random.default_rng(self.seed)
        # The optimiser begins afresh after two epochs, as it does in a round.
        for _ in range(NUM_ROUNDS):
            train(self.task, model, records, rng, 0.0)
        return self.rmse(outputs_of(model, self.asked.inputs))

    def pooled(self) -> float:
        """Return the error of the GRU trained on all records in one place."""
        training = replace(self.task.config.training, learning_rate=POOLED_RATE)
        task = Series(replace(self.task.config, training=training), self.seed)
        model = averaged_model(task, joined(self.operators), self.seed, NUM_ROUNDS)
        return self.rmse(outputs_of(model, self.asked.inputs))

    def linear(self) -> float:
        """Return the error of a ridge regression on all records."""
        records = joined(self.operators)
        model = Ridge().fit(records.inputs.reshape(len(records), -1), records.targets)
        return self.rmse(model.predict(self.asked.inputs.reshape(len(self.asked), -1)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with task_option(_SCHEMA), TemporaryDirectory(prefix="tacet-") as folder:
        try:
            fleets: list[Fleet] = []
            for seed in range(options.seeds):
                own = Path(folder) / str(seed)
                own.mkdir()
                fleets.append(Fleet.deal(options.data_dir.absolute(), seed, own))
            rows = told(row for name in options.rows for row in _ROWS[name](fleets))
        except (DataError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
    return publish("engines", rows, list(_verdicts(rows)), options.json)


def _federated(fleets: Sequence[Fleet]) -> Iterator[Row]:
    yield Row(FEDERATED, None, NUM_ROUNDS, {RMSE: [one.federated() for one in fleets]})


def _pooled(fleets: Sequence[Fleet]) -> Iterator[Row]:
    yield Row(POOLED, None, None, {RMSE: [one.pooled() for one in fleets]})


def _linear(fleets: Sequence[Fleet]) -> Iterator[Row]:
    yield Row("ridge regression, pooled", None, None, {RMSE: [one.linear() for one in fleets]})


def _alone(fleets: Sequence[Fleet]) -> Iterator[Row]:
    alone = [[one.trained_on(own) for own in one.operators] for one in fleets]
    means = [statistics.mean(errors) for errors in alone]
    yield Row("GRU, an operator alone, mean", None, None, {RMSE: means})
    worst = [max(errors) for errors in alone]
    yield Row("GRU, an operator alone, worst", None, None, {RMSE: worst})


_ROWS: dict[str, Callable[[Sequence[Fleet]], Iterator[Row]]] = {
    "federated": _federated,
    "pooled": _pooled,
    "linear": _linear,
    "alone": _alone,
}


def _verdicts(rows: Sequence[Row]) -> Iterator[Verdict]:
    found = {row.system: row.mean(RMSE) for row in rows}
    if POOLED not in found:
        return
    pooled = found[POOLED]
    yield Verdict(pooled <= MOST_POOLED, f"pooled {pooled:.2f}, at most {MOST_POOLED}")
    if FEDERATED in found:
        federated = found[FEDERATED]
        ratio = federated / pooled
        what = f"federated {federated:.2f}, {ratio:.2f} of it, at most {MOST_RATIO}"
        yield Verdict(ratio <= MOST_RATIO, what)


def _read(file: Path) -> NDArray[np.float64]:
    rows = np.loadtxt(file)
    if rows.ndim != 2 or rows.shape[1] != len(_COLUMNS):
        raise DataError(f"{file}: {rows.shape[1:]} columns, expected {len(_COLUMNS)}")
    return rows


def _write(file: Path, rows: NDArray[np.float64]) -> Path:
    np.savetxt(file, rows, delimiter=",", header=",".join(_COLUMNS), comments="", fmt="%.10g")
    return file


def _parser() -> argparse.ArgumentParser:
    files = "train_FD001.txt, test_FD001.txt and RUL_FD001.txt"
    parser = parser_of("engines", __doc__, _EPILOG, data=files, seeds=5)
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=sorted(_ROWS),
        default=list(_ROWS),
        help="which rows to measure (all)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
