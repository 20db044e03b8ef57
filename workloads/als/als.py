"""A recommender: items' factors from masked sums, users' factors on their own node."""

from __future__ import annotations

from math import sqrt
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import BoundedSum, one_term, sum_of_sparse_terms
from privacy.mode import Place
from privacy.unit import Unit
from workloads.als import exact, noised
from workloads.als.config import AlsConfig
from workloads.als.users import Floats, Items, Triples, foreseen, solve_users
from workloads.base import Privacy, Records, Setup, Step, Workload
from workloads.report import Report
from workloads.values import (
    EVAL_PREFIX,
    Aggregate,
    Contribution,
    PrivateContribution,
    Query,
    State,
    Vector,
    require_arrays,
)

_LONGEST = 2**25
_NUM_MADE_UP = 4
_FIRST_FACTOR = 0.2
_ERROR = "absolute_error"


class Als(Workload):
    """Solve for users' factors on the node, and for items' factors from masked sums.

    A rating is foreseen as the mean, the biases of item and user, and the product of their
    factors (Koren, Bell and Volinsky 2009, https://doi.org/10.1109/MC.2009.263). Given the
    items, each node solves for its own users, whose numbers never leave it. It sends, for
    *every* item of the list, the sums over its users who have rated it that a regression on
    users' factors takes: so nobody sees which items a node's users have rated. Each rating's
    entries are coded as whole numbers by themselves, so the masked sum is that of the pooled
    users bit for bit, however they are spread.

    Without privacy the sums of an item that one user alone has rated are that user's factors,
    and so is what the item's row in the model is solved from. A node with a policy leaves the
    ratings out, of sums and of users' factors, of items that few of its users have rated.

    Guarantees
    ----------
    Unit ``example``: one user with all ratings, of whichever node. The term has an L2 norm of
    1 at most, and is a function of the user's ratings alone, whatever the state. Its parts are
    residuals about the user's own mean, and a constant for each item that is rated, both
    divided by their common length and times the root of 1 - 2 m^2; m times the user's mean,
    which is within [-1, 1]; and m. So neither how many ratings there are, nor which, has a say
    in the bound.
    Unit ``client``: one node with all users. Its term is the sum of theirs, cut to 1: one
    user's own, if there is but one. Everything else that a private run publishes follows from
    these sums; users' biases and factors are solved when items are recommended, and stay there.
    Assumes that a user's ratings are on one node; one who has them on k nodes is k units.
    """

    Config = AlsConfig
    serves = frozenset(
        (unit, place) for unit in Unit for place in (Place.DISTRIBUTED, Place.CENTRAL)
    )
    is_integer = True
    needs_clip_norm = False
    takes_samples = False

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if not self.task.recommends:
            raise ValueError(
                "algorithm=als: the task has no users' ratings; take an option of the ratings"
                " task, see conf/task/ratings.yaml"
            )
        self._num_items: int = self.task.input_shape[0]
        self._silent = np.zeros(self._num_items, np.bool_)
        longest = self.longest()
        if longest > _LONGEST:
            raise ValueError(
                f"algorithm.rank={setup.algorithm.rank}: {self._num_items} items make a vector"
                f" of {longest} numbers, but at most {_LONGEST} are summed; lower it"
            )

    @property
    def scores(self) -> bool:
        """Return True: ratings that are held out are foreseen from the others."""
        return True

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Return the absolute error, on [-1, 1]."""
        return (_ERROR,)

    def sum_names(self, *, training: bool) -> tuple[str, ...]:
        """Return the names of the evaluation's sums: a round scores the model as it came."""
        return self.score_names

    def means(self, aggregate: Aggregate) -> dict[str, float]:
        """Return loss and absolute error on [-1, 1], and the RMSE in the unit of ratings."""
        found = super().means(aggregate)
        loss = found.get(EVAL_PREFIX + "loss")
        if loss is None or loss < 0:
            return found
        return {EVAL_PREFIX + "rmse": self._half * sqrt(loss)} | found

    def bound(self) -> float:
        """Return 1: a user's ratings together are one vector of that length at most."""
        return 1.0

    def initial_state(self) -> State:
        """Return biases of 0 and small factors of the public seed, or zeros under privacy."""
        shape = (self._num_items, self.setup.algorithm.rank)
        factors = np.zeros(shape)
        if self.setup.mode is None:
            draws = np.random.default_rng(self.task.seed)
            factors = _FIRST_FACTOR * (2 * draws.random(shape) - 1)
        return _state(Items(0.0, np.zeros(self._num_items), factors))

    def check(self, state: State) -> None:
        """Refuse arrays of other names or shapes, or not finite."""
        factors = np.zeros((self._num_items, self.setup.algorithm.rank))
        due = _state(Items(0.0, np.zeros(self._num_items), factors))
        require_arrays(state.arrays, due.arrays)

    def length(self, state: State) -> int:
        """Return the length of the vector, which every round has."""
        if self.setup.mode is not None:
            return noised.length(self._num_items)
        return exact.length(self._num_items, self.setup.algorithm.rank)

    def longest(self) -> int:
        """Return the same."""
        return self.length(State({}))

    def rehearse(self, records: Records | None = None) -> None:
        """Sum and score made-up users."""
        made_up = self.task.made_up(_NUM_MADE_UP)
        self.terms(self.initial_state(), Query(1), made_up)
        self._errors(self.initial_state(), made_up)
        if records is not None and records.train.inputs.shape[1:] != (self._num_items,):
            raise ValueError("the task's records have not a place for each of its items")

    def silenced(
        self, state: State, query: Query, records: Any, least: float
    ) -> tuple[Self, int]:
        """Return this workload, silent about items that few of the users have rated."""
        rated = np.bincount(Triples.of(records.inputs).items, minlength=self._num_items)
        other = type(self)(self.setup)
        other._silent = rated < least
        return other, int(np.count_nonzero(other._silent & (rated > 0)))

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return the sums for all items, and the scores of the state as it came."""
        self.check(state)
        items = _items(state)
        # Not in the users' factors either: a state can make these tell of one item alone.
        triples = Triples.of(records.train.inputs).without(self._silent)
        found = exact.sums(items, self._users(items, triples), triples)
        return Contribution(found, self._scores(state, records))

    def evaluate(self, state: State, query: Query, records: Records) -> Contribution:
        """Return the scores of a state on the ratings that are held out."""
        self.check(state)
        return Contribution(np.zeros(0, np.float32), self._scores(state, records))

    def terms(self, state: State, query: Query, records: Any) -> Vector:
        """Return each user's term, its norm at most 1."""
        return noised.user_terms(Triples.of(records.inputs), self._num_items)

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Return the sum of all users' terms; under the client unit it is cut to the bound."""
        self.check(state)
        found = super().bounded(state, query, records, rng, privacy)
        if privacy.mode.hides_clients and isinstance(found.update, BoundedSum):
            own = found.update.in_units_of(1.0)
            return PrivateContribution(one_term(own, self.bound()).bounded)
        return found

    def bounded_metrics(self, state: State, records: Records, privacy: Privacy) -> BoundedSum:
        """Return the metric vector: of each user the mean over the ratings that are held out.

        A client counts once: its vector is the mean of its users'.
        """
        squares, errors, numbers = self._errors(state, records.test)
        some = np.maximum(numbers, 1.0)
        loss = np.clip(squares / some / privacy.loss_clip, 0, 1)
        values = np.stack([np.ones_like(loss), loss, np.clip(errors / some, 0, 1)], axis=1)
        values[numbers == 0] = 0.0
        places = np.broadcast_to(np.arange(values.shape[1]), values.shape)
        length, bound = len(self.record_score_names), self.scores_bound
        total = sum_of_sparse_terms(places, values, length, bound)
        if privacy.mode.hides_records:
            return total
        return one_term(total.in_units_of(max(1, len(values))), bound).bounded

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Solve for the items; under privacy, from the noised sums for their biases."""
        chosen = self.setup.algorithm
        if self.setup.mode is not None:
            return _state(noised.items_of(aggregate.total, self.setup.noise))
        ridges = chosen.bias_ridge, chosen.factor_ridge
        return _state(exact.solved(_items(state), aggregate.total, *ridges))

    def predict(self, state: State, columns: Floats) -> Floats:
        """Return what is foreseen of every item, in the unit of ratings, shape (n, items).

        The users' biases and factors are solved here, and are kept nowhere.

        Parameters
        ----------
        state : State
            As published by a run.
        columns : ndarray, shape (n, items)
            Users as of ``Examples.inputs`` of the task.
        """
        items, own = _items(state), Triples.of(columns)
        users, places = np.indices(columns.shape).reshape(2, -1)
        everything = Triples(len(columns), users, places, np.zeros(len(users)))
        found = foreseen(items, self._users(items, own), everything)
        return self.task.to_label_units(found).reshape(columns.shape)

    def as_items(self, state: State) -> tuple[Items, float, float]:
        """Return the items and the two ridges: all that a user's factors are solved from."""
        chosen = self.setup.algorithm
        return _items(state), chosen.bias_ridge, chosen.factor_ridge

    def report(self, state: State) -> Report:
        """Return each item's bias, the best first."""
        items, names = _items(state), self.task.config.item_names()
        order = np.argsort(-items.bias, kind="stable").tolist()
        facts = {
            "items": self._num_items,
            "factors": items.factors.shape[1],
            "mean of the users": float(self.task.to_label_units(np.array([items.mean]))[0]),
        }
        rows = [[names[place], self._half * float(items.bias[place])] for place in order]
        return Report("recommender", facts, ["item", "bias"], rows)

    @property
    def _half(self) -> float:
        """Return half the range of a rating."""
        low, high = self.task.to_label_units(np.array([-1.0, 1.0])).tolist()
        return (high - low) / 2

    def _users(self, items: Items, triples: Triples) -> list[Floats]:
        chosen = self.setup.algorithm
        return solve_users(items, triples, chosen.bias_ridge, chosen.factor_ridge)

    def _scores(self, state: State, records: Records) -> dict[str, float]:
        squares, errors, numbers = self._errors(state, records.test)
        sums = (float(each.sum()) for each in (numbers, squares, errors))
        return dict(zip(self.record_score_names, sums, strict=True))

    def _errors(self, state: State, held_out: Any) -> tuple[Floats, Floats, Floats]:
        """Return each user's squared and absolute errors, and how many, shape (n,) each."""
        items, asked = _items(state), Triples.of(held_out.targets)
        users = self._users(items, Triples.of(held_out.inputs))
        error = foreseen(items, users, asked) - asked.ratings
        sums = (asked.per_user(each) for each in (error**2, np.abs(error), np.ones(len(error))))
        squares, errors, numbers = sums
        return squares, errors, numbers


def _items(state: State) -> Items:
    arrays: dict[str, NDArray[np.float64]] = state.arrays
    return Items(float(arrays["mean"][0]), arrays["bias"], arrays["factors"])


def _state(items: Items) -> State:
    arrays = {"mean": np.array([items.mean]), "bias": items.bias, "factors": items.factors}
    return State(arrays)
