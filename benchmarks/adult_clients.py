"""Income of 48,842 people, dealt to thousands of clients whose presence is hidden.

python -m benchmarks.adult_clients --data-dir ../shared/data/adult
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from app.builders.privacy import privacy_plan
from app.builders.workload import build_workload
from app.config.load import load_config
from benchmarks.adult_runs import Adult
from benchmarks.report import positive
from benchmarks.table_rows import AUC, Row, ours, private_verdicts, publish, told
from benchmarks.table_runs import DELTA, PRIVATE_ROUNDS
from tasks.records import DataError, LocalData
from workloads.base import Privacy
from workloads.values import Aggregate

OPTION = "client_distributed"
#: T, as a share of the clients; c is 1.
SURVIVORS = 0.8
#: AUC that each has to reach with clients of mixed records, by epsilon: where they are so many.
ENOUGH = 2000
REQUIRED = {"ebm": {1.0: 0.885, 4.0: 0.902}, "gbdt": {1.0: 0.885, 4.0: 0.902}}

_EPILOG = f"""\
The records are dealt at random to clients of about as many each. A round is computed directly:
each client's term by the workload, their sum, and normal noise of the plan's deviation, as all
clients answer: {OPTION}, delta {DELTA:g}, T of {SURVIVORS:.0%} of the clients, c = 1. Messages,
masks and the grid are left out, which a run of thousands of simulated nodes would spend hours
on. The AUC is that of the official test set.

exit status: 0 if each has at least the AUC required, where {ENOUGH} clients of mixed records or
more were asked for; 1 if not; 2 if the data or an option is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        rows = told(_measure(Adult.load(options.data_dir), options))
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    is_judged = options.clients >= ENOUGH and not options.by_label
    verdicts = private_verdicts(rows, REQUIRED) if is_judged else ()
    return publish("adult_clients", rows, list(verdicts), options.json)


def _measure(data: Adult, options: argparse.Namespace) -> Iterator[Row]:
    for epsilon in options.epsilons:
        for algorithm in options.algorithms:
            aucs = [
                direct(data, algorithm, options.clients, epsilon, seed, options.by_label)
                for seed in range(options.seeds)
            ]
            system = ours(algorithm, is_private=True)
            rounds = PRIVATE_ROUNDS[algorithm]
            yield Row(system, epsilon, rounds, {AUC: aucs})


def direct(
    data: Adult, algorithm: str, num_clients: int, epsilon: float, seed: int, by_label: bool
) -> float:
    """Return the AUC of a model of clients' terms, summed and noised here.

    Parameters
    ----------
    data : Adult
        The records.
    algorithm : str
        ``ebm`` or ``gbdt``.
    num_clients : int
        Clients; each has about as many records.
    epsilon : float
        For every client, at ``DELTA``.
    seed : int
        Deals the records, and draws the noise.
    by_label : bool
        Whether each client has records of one class alone.
    """
    least = round(SURVIVORS * num_clients)
    config = load_config(
        {
            "task": "adult",
            "algorithm": algorithm,
            "num-rounds": PRIVATE_ROUNDS[algorithm],
            "privacy": OPTION,
            "overrides": f"privacy.epsilon={epsilon} privacy.delta={DELTA}"
            f" privacy.population={num_clients} aggregation.min_survivors={least}",
        }
    )
    workload = build_workload(config)
    plan = privacy_plan(config, workload, workload.longest())
    workload = workload.with_noise(plan.sum_deviation * workload.bound())
    privacy = Privacy(plan=plan, clip_norm=workload.bound(), loss_clip=1.0)
    draws = np.random.default_rng(seed)
    nobody = data.train.take(np.zeros(0, np.intp))
    order = draws.permutation(len(data.train))
    if by_label:
        order = order[np.argsort(data.train.targets[order], kind="stable")]
    dealt = np.array_split(order, num_clients)
    clients = [LocalData(data.train.take(own), nobody) for own in dealt]
    noise = plan.share_deviation * num_clients**0.5 * workload.bound()
    state = workload.initial_state()
    for server_round in range(1, config.num_rounds + 1):
        query = workload.query(state, server_round)
        total = draws.normal(scale=noise, size=workload.length(state))
        for records in clients:
            term = workload.bounded(state, query, records, draws, privacy).update
            total += term.in_units_of(1.0)  # pyright: ignore
        aggregate = Aggregate(total, {}, float(num_clients), noise)
        state = workload.apply(state, aggregate, server_round, _no_step)
    assert data.test.columns is not None
    return data.auc(workload.predict(workload.published(state), data.test.columns)[:, 1])


def _no_step(*_: object, **__: object) -> dict[str, np.ndarray]:
    raise TypeError("histograms are no step of an optimiser")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adult_clients",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with adult.data and adult.test"
    )
    parser.add_argument(
        "--algorithms",
        nargs="+",
        choices=tuple(PRIVATE_ROUNDS),
        default=tuple(PRIVATE_ROUNDS),
        help="which (both)",
    )
    parser.add_argument("--clients", type=positive, default=2000, help="clients (2000)")
    parser.add_argument(
        "--by-label", action="store_true", help="deal each client records of one class"
    )
    parser.add_argument("--epsilons", type=float, nargs="+", default=(1.0, 4.0))
    parser.add_argument("--seeds", type=positive, default=2, help="runs of each row (2)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures into this file"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
