"""Films rated by 671 people, over masked nodes of 61 people each.

python -m benchmarks.ratings --data-dir ../shared/data/ratings
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence

from benchmarks.ratings_runs import (
    DELTA,
    EPSILON,
    EXACT_ROUNDS,
    FILE_NAME,
    NUM_FOLDS,
    NUM_NODES,
    SCHEMA,
    Fold,
    folds_of,
)
from benchmarks.report import parser_of
from benchmarks.table_rows import Row, Verdict, ours, publish, told
from benchmarks.task_option import task_option
from tasks.records import DataError

RMSE = "RMSE, stars"
RULED = "the same, nodes with a policy"
#: The largest mean RMSE without privacy and at ``EPSILON``.
MOST_EXACT, MOST_PRIVATE = 0.880, 0.925

_EPILOG = f"""\
MovieLens ml-latest-small of 2016: 100,004 ratings of 9,066 films by 671 people, dealt to
{NUM_NODES} nodes of 61 people each, with a file of their own, through both apps. Five folds:
each holds a fifth of all ratings out, at random, and what stands behind +- is the deviation
over the folds. Nobody is trusted: masks, T = {NUM_NODES - 1}, c = 1. Each node sends the sums
of all films, so nobody sees which films its people have rated. What is foreseen of a held-out
rating is worked out as the person's own node would: biases and factors of the person from this
person's other ratings, and the films' from the run.

Nodes with a policy leave out films that fewer than ten of their own people have rated.

Under epsilon a record is a person with all ratings (delta {DELTA:g}, under 1 / 671). One round
asks for the noised biases of films. A person's mean and factors cost nothing: they stay home.

User means: each person's own mean. Pooled ridge: scikit-learn's ridge regression on people and
films as indicators, penalty 3, of all ratings in one place. Rounds, rank and ridges are Tacet's
defaults, which were chosen on the folds of seed 0, so on the same ratings, dealt otherwise.

exit status: 0 if the mean RMSE is at most {MOST_EXACT} without privacy and {MOST_PRIVATE} at
epsilon {EPSILON:g}; 1 if not; 2 if the data or an option is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with task_option(SCHEMA):
        try:
            folds = folds_of(options.data_dir.absolute() / FILE_NAME, options.seed)
            rows = told(_measure(folds[: options.folds]))
        except DataError as error:
            print(error, file=sys.stderr)
            return 2
    return publish("ratings", rows, list(_verdicts(rows)), options.json)


def _measure(folds: Sequence[Fold]) -> Iterator[Row]:
    yield Row("user means", None, None, {RMSE: [fold.user_means() for fold in folds]})
    yield Row("ridge, pooled", None, None, {RMSE: [fold.pooled_ridge() for fold in folds]})
    exact = [fold.federated() for fold in folds]
    yield Row(ours("als", is_private=False), None, EXACT_ROUNDS, {RMSE: exact})
    ruled = [fold.federated(has_policy=True) for fold in folds]
    yield Row(RULED, None, EXACT_ROUNDS, {RMSE: ruled})
    private = [fold.federated(EPSILON) for fold in folds]
    yield Row(ours("als", is_private=True), EPSILON, 1, {RMSE: private})


def _verdicts(rows: Sequence[Row]) -> Iterator[Verdict]:
    for is_private, most in ((False, MOST_EXACT), (True, MOST_PRIVATE)):
        name = ours("als", is_private=is_private)
        (found,) = (row.mean(RMSE) for row in rows if row.system == name)
        yield Verdict(found <= most, f"{name}: RMSE {found:.4f}, at most {most:.3f}")


def _folds(text: str) -> int:
    number = int(text)
    if not 1 <= number <= NUM_FOLDS:
        raise argparse.ArgumentTypeError(f"{number}: must be from 1 to {NUM_FOLDS}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("ratings", __doc__, _EPILOG, data=FILE_NAME)
    parser.add_argument(
        "--folds", type=_folds, default=NUM_FOLDS, help="how many of the folds (5)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of folds and nodes (1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
