"""Ten silos with noise in shares, beside central DP-SGD on the pooled images by Opacus.

python -m benchmarks.mnist --privacy --data-dir ../shared/data/mnist

Compared are, at the same epsilon with the same model, clip norm, rate and steps:
``example_distributed`` over ten silos for several T (survivors that a round must have) and c
(colluders that know their own noise), which trusts nobody; and central DP-SGD on all images in
one place, by Opacus alone: its sampling, clipping, noise and accountant. Beside them stands
FedAvg of the same silos without privacy.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

from app.config.load import ConfigError
from benchmarks import mnist_peer, mnist_silos
from benchmarks.mnist_rows import CENTRAL, FEDAVG, HEADERS, SHARES, Row, losses
from benchmarks.mnist_settings import Result, Settings, add_data_dir, pooled
from benchmarks.report import machine_line, table, write_json
from strategies.rounds.attempt import RunStoppedError
from tasks.records import DataError

#: T and c of the rows; the first is where nothing is added in advance.
SURVIVORS = ((10, 0), (10, 1), (8, 1))

HOW_CHOSEN = (
    "Clip norm, rate, steps and averaging were chosen on 5,000 of the training images, trained"
    " on the other 55,000,\nwith another seed and the noise of T=10, c=1, and given to all"
    " private rows alike, Opacus' too. The test images\nhad no part in it. The noise is the"
    " operating system's (Opacus': the seed's); a seed fixes the first model and\nthe silos'"
    " parts. s/round: median, with as many trainings beside each other as there are workers."
)
_QUICK = {"num_rounds": 3, "batch_size": 60, "average_from": 2}

_EPILOG = """\
The accuracy is that of the final model on MNIST's 10,000 test images, mean +- sample standard
deviation over the seeds. noise: standard deviation over clip norm of what is promised; a sum of
all ten silos holds more where T is under 10 or c above 0.

exit status: 0 if with T=10, c=0 and with T=10, c=1 the mean is at most 0.5 points under that of
Opacus; 1 if it is not (not looked at with --quick); 2 if the data or an option is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    settings, started = Settings(), time.monotonic()
    data_dir = options.data_dir.expanduser().resolve()
    try:
        # In the runs the reason would stay in the silos' own logs.
        _, data = pooled(data_dir, 0)
        if options.quick:
            settings = replace(settings, num_records=len(data.train), **_QUICK)
        rows = measure(data_dir, settings, options)
    except (ConfigError, DataError, RunStoppedError) as error:
        print(f"{Path(__file__).stem}: {error}", file=sys.stderr)
        return 2
    verdicts = losses(rows)
    print(table(HEADERS, [row.cells() for row in rows]))
    print(
        f"\nseeds {', '.join(map(str, options.seeds))}; FedAvg: {options.fedavg_rounds} rounds"
    )
    if options.privacy:
        print(f"private rows: {settings}\n{HOW_CHOSEN}")
    for (survivors, colluding), lost, holds in verdicts:
        word = "PASS" if holds else "FAIL"
        if options.quick or holds is None:
            word = "INFO"
        print(f"{word}  T={survivors}, c={colluding}: {lost:+.2f} points under Opacus")
    print(f"{time.monotonic() - started:.0f} seconds; {machine_line()}")
    if options.json:
        figures: dict[str, object] = {"seeds": options.seeds, "settings": asdict(settings)}
        figures |= {"how_chosen": HOW_CHOSEN, "quick": options.quick}
        figures |= {"rows": [row.figures() for row in rows]}
        figures["points_lost"] = [
            {"min_survivors": t, "max_colluding": c, "points": lost, "holds": holds}
            for (t, c), lost, holds in verdicts
        ]
        write_json(options.json, "mnist", figures)
    failed = any(holds is False for _, _, holds in verdicts)
    return 1 if failed and not options.quick else 0


def measure(data_dir: Path, settings: Settings, options: argparse.Namespace) -> list[Row]:
    """Train every row for every seed, some beside each other in processes of their own.

    Raises
    ------
    DataError, ConfigError, RunStoppedError
        If a training cannot be.
    """
    with ProcessPoolExecutor(options.workers, get_context("spawn"), _set_up_worker) as pool:

        def start(run: Callable[..., Result], *given: object) -> list[Future[Result]]:
            return [pool.submit(run, data_dir, *given, seed) for seed in options.seeds]

        def finish(jobs: list[Future[Result]]) -> list[Result]:
            return [job.result() for job in jobs]

        fedavg = start(mnist_silos.run_fedavg, options.fedavg_rounds)
        if not options.privacy:
            return [Row(system=FEDAVG, results=finish(fedavg))]
        central = start(mnist_peer.run, settings)
        shares = [start(mnist_silos.run_private, settings, t, c) for t, c in SURVIVORS]
        rows = [Row(system=FEDAVG, results=finish(fedavg))]
        rows.append(Row(system=CENTRAL, results=finish(central)))
        for (t, c), jobs in zip(SURVIVORS, shares, strict=True):
            results = finish(jobs)
            rows.append(Row(system=SHARES, min_survivors=t, max_colluding=c, results=results))
    return rows


def _set_up_worker() -> None:
    """Set up a worker: one thread each, and no line a round."""
    import torch

    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.WARNING)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mnist",
        description="Train on MNIST over ten silos, through the real apps in one process, and"
        " compare with central training.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_dir(parser)
    parser.add_argument(
        "--privacy",
        action="store_true",
        help="differential privacy too; without it FedAvg alone is measured",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[42, 43], help="one training each (%(default)s)"
    )
    parser.add_argument(
        "--fedavg-rounds", type=int, default=3, help="rounds of one epoch (%(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="trainings beside each other (%(default)s)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="three rounds of 60 images: figures mean nothing"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
