"""Networks of hazards beside a pooled Cox regression, on rows that nobody was trained on.

python -m benchmarks.hazard          # after: pip install lifelines
"""

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray

from app.config.load import Scalar
from app.prediction.saved_model import SavedModel
from app.simulation.in_process import simulate
from benchmarks.report import parser_of
from benchmarks.survival import HOW_TO_INSTALL, Data, read
from benchmarks.table_rows import Row, Verdict, publish, told
from benchmarks.task_option import task_option
from workloads.survival.efron import concordance

NUM_NODES, NUM_ROUNDS, NUM_PRIVATE_ROUNDS = 5, 15, 20
EPSILONS, DELTA = (8.0, 2.0), 1e-3
SHARE_HELD_OUT = 0.3
CONCORDANCE = "concordance"
COX = "Cox regression, pooled (lifelines)"
LOGISTIC, MLP = "Tacet, logistic hazards", "Tacet, mlp of hazards"
#: How much less than Cox a network may have, and what it must have at least under epsilon.
MOST_LESS = {LOGISTIC: 0.01, MLP: 0.03}
LEAST_PRIVATE = {8.0: 0.66}

# Round numbers from common knowledge: years, mm, nodes, fmol; codes of yes and no, and grades.
_BOUNDS = {
    "horTh": (0, 1),
    "age": (20, 80),
    "menostat": (0, 1),
    "tsize": (0, 80),
    "tgrade": (0, 2),
    "pnodes": (0, 20),
    "progrec": (0, 300),
    "estrec": (0, 300),
}
_SAMPLING_RATE = 0.5
_OPTION = "hazard"

_EPILOG = f"""\
The data are lifelines' gbsg2: 686 women with breast cancer, 299 of whom had a recurrence. A
seed holds {SHARE_HELD_OUT:.0%} of the rows out, and deals the others to {NUM_NODES} nodes of
different sizes. Rows of Tacet are runs through both apps, masked, and the last model predicts
the held-out rows: {NUM_ROUNDS} rounds, under epsilon {NUM_PRIVATE_ROUNDS} steps of
privacy=example_distributed with delta {DELTA:g}. Harrell's concordance is over pairs of
held-out rows: by the expected time of a network, and the hazard of the Cox regression on all
others. Both sides have the same values, cut to bounds from common knowledge.

exit status: 0 if the mean concordance of logistic hazards is at most {MOST_LESS[LOGISTIC]}, and
that of the mlp at most {MOST_LESS[MLP]}, under that of the Cox regression, and that of logistic
hazards at epsilon 8 at least {LEAST_PRIVATE[8.0]}; 1 if not; 2 if lifelines is missing or an
option is wrong."""


@dataclass(frozen=True)
class Trial:
    """The rows, as one seed deals them out.

    Attributes
    ----------
    data : Data
    seed : int
    nodes : Path
        The file that says which node has which file.
    held_out : Path
        The file of the rows that nobody was trained on.
    trained : ndarray of int
        The places of all others.
    """

    data: Data
    seed: int
    nodes: Path
    held_out: Path
    trained: NDArray[np.intp]

    @classmethod
    def deal(cls, data: Data, seed: int, folder: Path) -> Self:
        """Write each node's rows, and those held out, into files of their own."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(data.frame))
        held_out, trained = np.split(order, [round(SHARE_HELD_OUT * len(order))])
        shares = np.arange(1, NUM_NODES + 1) / (NUM_NODES * (NUM_NODES + 1) / 2)
        own = rng.choice(NUM_NODES, size=len(trained), p=shares)
        files = [
            _write(data, trained[own == node], folder / f"node{node}.csv")
            for node in range(NUM_NODES)
        ]
        nodes = folder / "nodes.yaml"
        nodes.write_text(yaml.safe_dump([{"data-path": str(file)} for file in files]))
        return cls(data, seed, nodes, _write(data, held_out, folder / "new.csv"), trained)

    def federated(self, model: str, epsilon: float | None = None) -> float:
        """Train through both apps, masked; return the concordance on the held-out rows."""
        with TemporaryDirectory(prefix="tacet-") as folder:
            run_config: dict[str, Scalar] = {
                "task": _OPTION,
                "simulation-nodes": str(self.nodes),
                "num-rounds": NUM_ROUNDS if epsilon is None else NUM_PRIVATE_ROUNDS,
                "seed": self.seed,
                "output-dir": str(Path(folder) / "run"),
                "overrides": f"task.model={model}",
            }
            if epsilon is not None:
                run_config["privacy"] = "example_distributed"
                run_config["overrides"] = f"task.model={model} {self._private(epsilon)}"
            simulate(run_config, NUM_NODES)
            found = SavedModel.load(Path(folder) / "run").predict(self.held_out)
        return found.figures[CONCORDANCE]

    def cox(self) -> float:
        """Return the concordance of a Cox regression on all rows that are not held out."""
        from lifelines import CoxPHFitter  # pyright: ignore[reportMissingImports]

        frame = self.data.frame[[*self.data.features, "time", "event"]]
        new = frame.drop(index=frame.index[self.trained])
        fitted = CoxPHFitter().fit(frame.iloc[self.trained], "time", "event")
        risk: Any = fitted.predict_partial_hazard(new)
        times, events = new["time"].to_numpy(), new["event"].to_numpy() == 1
        pairs, twice = concordance(times, events, np.asarray(risk, np.float64))
        return twice / 2 / pairs

    def _private(self, epsilon: float) -> str:
        batch = round(_SAMPLING_RATE * len(self.trained))
        return (
            f"privacy.epsilon={epsilon:g} privacy.delta={DELTA:g}"
            f" privacy.population={NUM_NODES} privacy.sampling_rate={_SAMPLING_RATE}"
            f" privacy.expected_batch_size={batch} privacy.clip_norm=1"
            f" privacy.learning_rate=2 privacy.metrics.every=0"
            f" aggregation.min_survivors={NUM_NODES - 1}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = parser_of("hazard", __doc__, _EPILOG, seeds=5).parse_args(arguments)
    if find_spec("lifelines") is None:
        print(f"lifelines is missing: {HOW_TO_INSTALL}", file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    data = _data()
    with TemporaryDirectory(prefix="tacet-") as folder:
        schema = Path(folder) / f"{_OPTION}.yaml"
        schema.write_text(yaml.safe_dump(_schema(data)))
        with task_option(schema):
            trials: list[Trial] = []
            for seed in range(options.seeds):
                own = Path(folder) / str(seed)
                own.mkdir()
                trials.append(Trial.deal(data, seed, own))
            rows = told(_measure(trials))
    return publish("hazard", rows, list(_verdicts(rows)), options.json)


def _measure(trials: Sequence[Trial]) -> Iterator[Row]:
    yield Row(COX, None, None, {CONCORDANCE: [one.cox() for one in trials]})
    for system, model in ((LOGISTIC, "logistic"), (MLP, "mlp")):
        found = [one.federated(model) for one in trials]
        yield Row(system, None, NUM_ROUNDS, {CONCORDANCE: found})
    for epsilon in EPSILONS:
        found = [one.federated("logistic", epsilon) for one in trials]
        yield Row(LOGISTIC, epsilon, NUM_PRIVATE_ROUNDS, {CONCORDANCE: found})


def _verdicts(rows: Sequence[Row]) -> Iterator[Verdict]:
    found = {(row.system, row.epsilon): row.mean(CONCORDANCE) for row in rows}
    least = found[COX, None]
    for system, less in MOST_LESS.items():
        mean = found[system, None]
        what = f"{system}: {mean:.4f}, at least {least:.4f} - {less}"
        yield Verdict(mean >= least - less, what)
    for epsilon, private in LEAST_PRIVATE.items():
        mean = found[LOGISTIC, epsilon]
        what = f"{LOGISTIC}, epsilon {epsilon:g}: {mean:.4f}, at least {private}"
        yield Verdict(mean >= private, what)


def _data() -> Data:
    """Return the rows, values cut to their bounds for both sides."""
    data = read("gbsg2")
    for name, (low, high) in _BOUNDS.items():
        data.frame[name] = data.frame[name].clip(low, high)
    return data


def _schema(data: Data) -> Mapping[str, Any]:
    return {
        "defaults": ["csv_schema", "_self_"],
        "label": {"time": {"column": "time", "max": data.table.label.high}, "event": "event"},
        "numeric": {name: {"min": low, "max": high} for name, (low, high) in _BOUNDS.items()},
        "test_fraction": 0.0,
        "hidden": 16,
        "training": {"learning_rate": 0.1, "momentum": 0.9, "batch_size": 16, "num_epochs": 2},
    }


def _write(data: Data, places: NDArray[np.intp], file: Path) -> Path:
    own = data.frame[[*data.features, "time", "event"]].iloc[np.sort(places)]
    own.to_csv(file, index=False)
    return file


if __name__ == "__main__":
    sys.exit(main())
