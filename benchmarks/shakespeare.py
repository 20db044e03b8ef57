"""The next character of Shakespeare's plays, over ten masked nodes with speakers of their own.

python -m benchmarks.shakespeare --data-dir ../shared/data/shakespeare
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from app.config.load import ConfigError
from benchmarks.report import parser_of
from benchmarks.shakespeare_adapters import Adaptation
from benchmarks.shakespeare_runs import NUM_NODES, PRIVATE_EPSILON, Plays, Run
from benchmarks.table_rows import Row, Verdict, publish, told
from tasks.records import DataError

ACCURACY, BYTES = "accuracy", "bytes a node and round"
BIGRAMS, POOLED = "likeliest character after the last one", "GRU(192), pooled"
FEDERATED, PRIVATE = "Tacet, GRU(192), fedavg", "Tacet, convolutions, fedadam"
WHOLE, ADAPTERS = "Tacet, the base goes on as a whole", "Tacet, adapters on the base"
BASE = "the base, of the public part"
#: What is asked for: of the pooled model, and how far the federated may be below it.
LEAST_POOLED, MOST_BELOW = 0.54, 0.03
#: How far adapters may be below the whole model, with which share of its bytes. A base that
#: leaves little to learn would do for that: which part of its gain they have at least.
MOST_BELOW_WHOLE, MOST_SHARE, LEAST_GAIN = 0.02, 0.05, 1 / 3

_EPILOG = f"""\
The last tenth of the plays is the test, and accuracy is the share of its characters that the
model foresees. Federated rows are runs through both apps over {NUM_NODES} masked nodes, each
with the lines of speakers of its own. The pooled GRU(192) has a learning rate that falls to 0.
The private row protects each window of 32 characters. Adapters: the first two thirds of nine
tenths of the text are public, and a GRU trained on them is the base. The last tenth of the rest
is the test of these rows; what is before it is dealt to the nodes, which go on with the whole
model (initial-model) or with low-rank adapters on the frozen base. Bytes are what a node sends
and receives in a round of training, keys and masks with them.

exit status: 0 if all rows that were asked for are as required; 1 if not; 2 if the data or an
option is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        with TemporaryDirectory(prefix="tacet-") as folder:
            plays = Plays(options.data_dir.absolute(), Path(folder), options.seed)
            rows = told(row for name in options.rows for row in _ROWS[name](plays))
    except (ConfigError, DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return publish("shakespeare", rows, list(_verdicts(rows)), options.json)


def _bigrams(plays: Plays) -> Iterator[Row]:
    yield _alone(BIGRAMS, plays.bigrams())


def _pooled(plays: Plays) -> Iterator[Row]:
    yield _alone(POOLED, plays.pooled())


def _federated(plays: Plays) -> Iterator[Row]:
    yield _of_run(FEDERATED, None, plays.federated())


def _private(plays: Plays) -> Iterator[Row]:
    yield _of_run(PRIVATE, PRIVATE_EPSILON, plays.private())


def _adapters(plays: Plays) -> Iterator[Row]:
    adaptation = Adaptation.prepare(plays)
    yield _alone(BASE, adaptation.base_accuracy)
    yield _of_run(WHOLE, None, adaptation.whole())
    yield _of_run(ADAPTERS, None, adaptation.adapters())


_ROWS: dict[str, Callable[[Plays], Iterator[Row]]] = {
    "bigrams": _bigrams,
    "pooled": _pooled,
    "federated": _federated,
    "private": _private,
    "adapters": _adapters,
}


def _of_run(system: str, epsilon: float | None, run: Run) -> Row:
    scores = {ACCURACY: [run.accuracy], BYTES: [run.num_bytes]}
    return Row(system, epsilon, run.num_rounds, scores)


def _alone(system: str, accuracy: float) -> Row:
    return Row(system, None, None, {ACCURACY: [accuracy], BYTES: [0.0]})


def _verdicts(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Yield whether the rows that were measured are as required."""
    found = {row.system: row.mean(ACCURACY) for row in rows}
    sent = {row.system: row.mean(BYTES) for row in rows}
    if POOLED in found:
        accuracy = found[POOLED]
        what = f"pooled {accuracy:.4f}, at least {LEAST_POOLED}"
        yield Verdict(accuracy >= LEAST_POOLED, what)
    if {POOLED, FEDERATED} <= found.keys():
        below = found[POOLED] - found[FEDERATED]
        what = f"federated {below:.4f} below it, at most {MOST_BELOW}"
        yield Verdict(below <= MOST_BELOW, what)
    if {BIGRAMS, PRIVATE} <= found.keys():
        what = f"epsilon {PRIVATE_EPSILON:g}: {found[PRIVATE]:.4f}, above {found[BIGRAMS]:.4f}"
        yield Verdict(found[PRIVATE] > found[BIGRAMS], what)
    if ADAPTERS in found:
        below, share = found[WHOLE] - found[ADAPTERS], sent[ADAPTERS] / sent[WHOLE]
        gains = [found[system] - found[BASE] for system in (ADAPTERS, WHOLE)]
        what = f"adapters {below:.4f} below the whole, at most {MOST_BELOW_WHOLE}"
        yield Verdict(below <= MOST_BELOW_WHOLE, what)
        what = "adapters gain {:.4f} on their base, the whole {:.4f}; at least {:.0%} of it"
        is_part = gains[0] >= LEAST_GAIN * gains[1]
        yield Verdict(gains[0] > 0 and is_part, what.format(*gains, LEAST_GAIN))
        what = f"{share:.1%} of its bytes, at most {MOST_SHARE:.0%}"
        yield Verdict(share <= MOST_SHARE, what)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("shakespeare", __doc__, _EPILOG, data="input.txt, the plays")
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=sorted(_ROWS),
        default=list(_ROWS),
        help="which rows to measure (all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of model and batches (0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
