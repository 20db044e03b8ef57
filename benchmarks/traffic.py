"""The traffic of a motorway an hour and a day ahead, over six masked nodes with months of it.

python -m benchmarks.traffic --data-dir ../shared/data/traffic
"""

import csv
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import yaml

from app.config.load import Scalar, load_config
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from benchmarks.averaged_model import averaged_model
from benchmarks.report import parser_of
from benchmarks.table_rows import Row, Verdict, publish, told
from benchmarks.task_option import task_option
from tasks.base import DataSource
from tasks.records import DataError, joined
from tasks.series.task import Series
from tasks.training.local import outputs_of

NUM_NODES = 6
NUM_ROUNDS = 40
MAE = "MAE, vehicles an hour"
#: Hours ahead -> hours that a model sees, and what its error may be at most.
HORIZONS = {1: (24, 160.0), 24: (48, 250.0)}

_SCHEMA = Path(__file__).with_name("traffic.yaml")
_FILE = "Metro_Interstate_Traffic_Volume.csv"
_FIRST_TESTED = datetime(2017, 10, 1)
_WEEK = 7 * 24

_EPILOG = f"""\
UCI 492: hours of traffic on one motorway from 2012 on, with temperature and holidays. What is
foretold from {_FIRST_TESTED:%Y-%m} on is the test; the months before it are dealt in turn to
{NUM_NODES} nodes, each with a file of its own, and a window does not reach over the end of a
month. The federated rows are runs through both apps, masked, {NUM_ROUNDS} rounds of an epoch;
the model is the mean of those of the last half of the rounds, and none is picked. The pooled
GRU has as many epochs over all records, and the same mean. The seasonal mean is that of the
training hours of the same weekday and hour. A seed draws the initial model and the batches.

exit status: 0 if the federated GRU has a mean absolute error of at most
{", ".join(f"{most:g} {hours} h ahead" for hours, (_, most) in HORIZONS.items())}, as means over
the seeds; 1 if not; 2 if the data or an option is wrong."""


@dataclass(frozen=True)
class Hour:
    """One hour of the file."""

    time: datetime
    traffic: float
    temperature: float
    is_holiday: bool


@dataclass(frozen=True)
class Road:
    """The hours, as they are dealt out.

    Attributes
    ----------
    horizon, window : int
        Hours ahead that are foretold, and that a model sees.
    nodes : Path
        The file that says which node has which file.
    own : list of Path
        The files.
    test : Path
        The file of the hours from the end of the training months on.
    """

    horizon: int
    window: int
    nodes: Path
    own: list[Path]
    test: Path

    @classmethod
    def deal(cls, hours: Sequence[Hour], horizon: int, folder: Path) -> Self:
        """Write each node's months into a file of its own."""
        window, _ = HORIZONS[horizon]
        trained = [hour for hour in hours if hour.time < _FIRST_TESTED]
        months = sorted({(hour.time.year, hour.time.month) for hour in trained})
        owners = {month: place % NUM_NODES for place, month in enumerate(months)}
        files = [folder / f"node{node}.csv" for node in range(NUM_NODES)]
        for node, file in enumerate(files):
            _write(file, [h for h in trained if owners[h.time.year, h.time.month] == node])
        nodes = folder / "nodes.yaml"
        nodes.write_text(yaml.safe_dump([{"data-path": str(file)} for file in files]))
        test = folder / "test.csv"
        _write(test, hours[len(trained) - window - horizon :])
        return cls(horizon, window, nodes, files, test)

    def run_config(self, seed: int) -> dict[str, Scalar]:
        """Return the configuration of a run."""
        words = f"task.horizon={self.horizon} task.window={self.window}"
        average = f"algorithm.average_from={NUM_ROUNDS // 2 + 1}"
        return {
            "task": "traffic",
            "simulation-nodes": str(self.nodes),
            "num-rounds": NUM_ROUNDS,
            "seed": seed,
            "overrides": f"{words} {average}",
        }

    def task(self, seed: int) -> Series:
        """Return the task."""
        config: Any = load_config(self.run_config(seed)).task
        return Series(config, seed)

    def error(self, task: Series, model: Any) -> float:
        """Return the mean absolute error on the hours that are tested."""
        asked = task.load(DataSource(data_path=self.test)).test
        foretold = task.to_label_units(outputs_of(model, asked.inputs)).reshape(-1)
        return float(np.mean(np.abs(foretold - task.to_label_units(asked.targets))))

    def federated(self, seed: int) -> float:
        """Train through both apps; return the error."""
        with TemporaryDirectory(prefix="tacet-") as folder:
            run = Path(folder) / "run"
            simulate({**self.run_config(seed), "output-dir": str(run)}, NUM_NODES)
            _, model = load_model(run / "model.safetensors")
        return self.error(self.task(seed), model)

    def trained_on(self, seed: int, files: Sequence[Path]) -> float:
        """Return the error of the same model trained on the records of these files."""
        task = self.task(seed)
        records = joined([task.load(DataSource(data_path=file)).train for file in files])
        return self.error(task, averaged_model(task, records, seed, NUM_ROUNDS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = parser_of("traffic", __doc__, _EPILOG, data=_FILE, seeds=3).parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with task_option(_SCHEMA), TemporaryDirectory(prefix="tacet-") as folder:
        try:
            hours = _read(options.data_dir / _FILE)
            rows = told(_measure(hours, options.seeds, Path(folder)))
        except (DataError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
    return publish("traffic", rows, list(_verdicts(rows)), options.json)


def _measure(hours: Sequence[Hour], num_seeds: int, folder: Path) -> Iterator[Row]:
    for horizon in HORIZONS:
        own = folder / str(horizon)
        own.mkdir()
        road = Road.deal(hours, horizon, own)
        found = [road.federated(seed) for seed in range(num_seeds)]
        yield Row(_federated(horizon), None, NUM_ROUNDS, {MAE: found})
        pooled = [road.trained_on(seed, road.own) for seed in range(num_seeds)]
        yield Row(f"GRU, pooled, {horizon} h ahead", None, None, {MAE: pooled})
        alone = [road.trained_on(seed, road.own[:1]) for seed in range(num_seeds)]
        yield Row(f"GRU, the first node alone, {horizon} h ahead", None, None, {MAE: alone})
    seasonal = _seasonal_error(hours)
    yield Row("mean of the weekday and hour", None, None, {MAE: [seasonal]})


def _seasonal_error(hours: Sequence[Hour]) -> float:
    """Return the error of the mean of the same hour of the week."""
    sums = np.zeros((2, _WEEK))
    for hour in hours:
        if hour.time < _FIRST_TESTED:
            sums[:, _hour_of_week(hour.time)] += hour.traffic, 1
    means = sums[0] / sums[1]
    tested = [hour for hour in hours if hour.time >= _FIRST_TESTED]
    return float(np.mean([abs(means[_hour_of_week(h.time)] - h.traffic) for h in tested]))


def _verdicts(rows: Sequence[Row]) -> Iterator[Verdict]:
    found = {row.system: row.mean(MAE) for row in rows}
    for horizon, (_, most) in HORIZONS.items():
        error = found[_federated(horizon)]
        what = f"federated, {horizon} h ahead: {error:.1f}, at most {most:g}"
        yield Verdict(error <= most, what)


def _federated(horizon: int) -> str:
    return f"Tacet, fedavg without privacy, {horizon} h ahead"


def _hour_of_week(time: datetime) -> int:
    return time.weekday() * 24 + time.hour


def _read(file: Path) -> list[Hour]:
    """Return the hours in order, the first of several rows of one hour."""
    found: dict[datetime, tuple[float, float]] = {}
    holidays: set[date] = set()
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            time = datetime.strptime(row["date_time"], "%m/%d/%y %H:%M")
            # The file names a holiday in the first hour of the day alone.
            if row["holiday"] != "None":
                holidays.add(time.date())
            found.setdefault(time, (float(row["traffic_volume"]), float(row["temp"])))
    return [Hour(t, *found[t], t.date() in holidays) for t in sorted(found)]


def _write(file: Path, hours: Sequence[Hour]) -> None:
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("date_time", "traffic", "temperature", "holiday"))
        for hour in hours:
            time = hour.time.isoformat(sep=" ")
            writer.writerow((time, hour.traffic, hour.temperature, int(hour.is_holiday)))


if __name__ == "__main__":
    sys.exit(main())
