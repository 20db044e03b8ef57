"""The data and the runs of ``python -m benchmarks.ratings``: folds, and the nodes' files."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge  # pyright: ignore[reportMissingTypeStubs]

from app.config.load import Scalar
from app.results.model_file import TableModel, load_model
from app.simulation.in_process import simulate
from tasks.ratings.raters import NOT_RATED, scaled
from tasks.ratings.task import Ratings
from tasks.records import DataError

FILE_NAME = "ratings.csv"
SCHEMA = Path(__file__).with_name("films.yaml")
NUM_FOLDS, NUM_NODES = 5, 11
EXACT_ROUNDS = 8
EPSILON, DELTA = 10.0, 1e-5

_COLUMNS = ("userId", "movieId", "rating")
_RIDGE = 3.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fold:
    """All ratings, of which some are held out.

    Attributes
    ----------
    users, items : ndarray of int, shape (n,)
        Whose rating it is, and of what, each from 0.
    ratings : ndarray, float64, shape (n,)
    is_held_out : ndarray of bool, shape (n,)
    node : ndarray of int, shape (users,)
        Which node each user is with.
    """

    users: NDArray[np.intp]
    items: NDArray[np.intp]
    ratings: Floats
    is_held_out: NDArray[np.bool_]
    node: NDArray[np.intp]

    def rmse(self, foreseen: Floats) -> float:
        """Return the error of what is foreseen of the held-out ratings, in their order."""
        error = foreseen - self.ratings[self.is_held_out]
        return float(np.sqrt(np.mean(error**2)))

    def user_means(self) -> float:
        """Return the error of each user's mean; of the mean over all for one without."""
        users, ratings = self.users[~self.is_held_out], self.ratings[~self.is_held_out]
        number = np.bincount(users, minlength=len(self.node))
        sums = np.bincount(users, ratings, len(self.node))
        means = np.where(number > 0, sums / np.maximum(number, 1), ratings.mean())
        return self.rmse(means[self.users[self.is_held_out]])

    def pooled_ridge(self) -> float:
        """Return the error of biases of users and items, fitted in one place."""
        kept = ~self.is_held_out
        num_users, rows = len(self.node), np.arange(len(self.ratings))
        columns = np.concatenate([self.users, num_users + self.items])
        ones = np.ones(len(columns))
        inputs: Any = csr_matrix((ones, (np.tile(rows, 2), columns)))
        model: Any = Ridge(alpha=_RIDGE, solver="lsqr", tol=1e-8)
        model.fit(inputs[kept], self.ratings[kept])
        return self.rmse(np.clip(model.predict(inputs[self.is_held_out]), 0.5, 5.0))

    def federated(self, epsilon: float | None = None, *, has_policy: bool = False) -> float:
        """Train through both apps, and foresee what is held out as the users' nodes do.

        Parameters
        ----------
        epsilon : float, optional
            Without privacy if it is not given.
        has_policy : bool
            Whether nodes have a policy, by which they say nothing of items that under ten of
            their users have rated.
        """
        with TemporaryDirectory(prefix="tacet-") as name:
            folder = Path(name)
            given: dict[str, Scalar] = {
                "task": "films",
                "algorithm": "als",
                "simulation-nodes": str(self._write(folder, has_policy)),
                "output-dir": str(folder / "run"),
                "num-rounds": EXACT_ROUNDS,
            }
            if epsilon is not None:
                given |= {"num-rounds": 1, "privacy": "example_distributed"}
                given["overrides"] = self._private_words(epsilon)
            elif has_policy:
                given["overrides"] = f"aggregation.min_survivors={self._num_nodes - 1}"
            simulate(given, self._num_nodes)
            task, model = load_model(folder / "run" / "model.safetensors")
        assert isinstance(task, Ratings)
        assert isinstance(model, TableModel)
        return self.rmse(self._foreseen(task, model))

    @property
    def _num_nodes(self) -> int:
        return int(self.node.max()) + 1

    def _private_words(self, epsilon: float) -> str:
        keys = {
            "privacy.epsilon": epsilon,
            "privacy.delta": DELTA,
            "privacy.population": self._num_nodes,
            "privacy.sampling_rate": 1,
            "privacy.expected_batch_size": len(self.node),
            "aggregation.min_survivors": self._num_nodes - 1,
        }
        return " ".join(f"{key}={value}" for key, value in keys.items())

    def _write(self, folder: Path, has_policy: bool) -> Path:
        """Write a file for each node, without what is held out; return the list of nodes."""
        paths: list[dict[str, str]] = []
        for number in range(self._num_nodes):
            own = np.flatnonzero(~self.is_held_out & (self.node[self.users] == number))
            columns = (self.users[own], self.items[own] + 1, self.ratings[own])
            rows = (f"{user},{item},{rating:g}" for user, item, rating in zip(*columns))  # noqa: B905
            path = folder / f"node-{number + 1}.csv"
            path.write_text("\n".join(["user,item,rating", *rows]) + "\n")
            paths.append({"data-path": str(path)})
            if has_policy:
                paths[-1]["policy-file"] = str(self._write_policy(folder))
                paths[-1]["state-path"] = str(folder / f"node-{number + 1}.sqlite")
        nodes = folder / "nodes.json"
        nodes.write_text(json.dumps(paths))
        return nodes

    def _write_policy(self, folder: Path) -> Path:
        policy = {
            "dataset": "films",
            "privacy": ["none"],
            "min_survivors": self._num_nodes - 1,
            "min_colluding": 1,
            "require_identities": False,
            "exact": ["als"],
        }
        file = folder / "policy.yaml"
        file.write_text(yaml.safe_dump(policy))
        file.chmod(0o600)
        return file

    def _foreseen(self, task: Ratings, model: TableModel) -> Floats:
        records = np.full((len(self.node), *task.input_shape), NOT_RATED, np.float32)
        kept = ~self.is_held_out
        values = scaled(self.ratings[kept], task.config)
        records[self.users[kept], self.items[kept]] = values
        found = model.predict(records)  # pyright: ignore[reportArgumentType]
        return found[self.users[self.is_held_out], self.items[self.is_held_out]]


def folds_of(file: Path, seed: int) -> list[Fold]:
    """Read the ratings, and hold out a fifth after the other.

    Raises
    ------
    DataError
        If the file is not there or another one.
    """
    try:
        table = np.genfromtxt(file, delimiter=",", names=True, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {str(error).splitlines()[0]}") from None
    if not set(_COLUMNS) <= set(table.dtype.names or ()):
        raise DataError(f"{file}: the header must have {', '.join(_COLUMNS)}")
    users, items = (np.unique(table[name], return_inverse=True)[1] for name in _COLUMNS[:2])
    ratings = table["rating"].astype(np.float64)
    draws = np.random.default_rng(seed)
    fold = draws.permutation(len(ratings)) % NUM_FOLDS
    num_users = int(users.max()) + 1
    node = draws.permutation(num_users) % min(NUM_NODES, num_users)
    return [Fold(users, items, ratings, fold == one, node) for one in range(NUM_FOLDS)]
