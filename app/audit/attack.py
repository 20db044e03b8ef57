"""The attack of an audit: play one run with canaries, and guess from its sums who was in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.audit.canaries import Canaries, Terms
from app.config.load import Scalar
from app.simulation.in_process import make_clients, simulate
from strategies.rounds.observer import ClosedRound, Observer
from workloads.values import State

Array = NDArray[np.float64]


class Attack:
    """Play runs of one configuration, each with fresh coins, and score the canaries.

    The auditor knows all canaries and sees what everybody may see: the state that opens each
    round and the noisy sum that closes it.

    Parameters
    ----------
    run_config : mapping
        As of ``flwr run``.
    num_nodes : int
        Simulated nodes.
    canaries : Canaries
        All that the nodes hold.
    terms : Terms
        What each canary adds.
    initial : State
        The state that opens the first round.
    deviation : float
        Of the noise in each number of a sum, as planned. It only weighs what is seen.
    chance : float
        The chance with which a round draws a record.
    """

    def __init__(
        self,
        run_config: Mapping[str, Scalar],
        num_nodes: int,
        canaries: Canaries,
        terms: Terms,
        initial: State,
        deviation: float,
        chance: float,
    ) -> None:
        self._run_config, self._num_nodes = dict(run_config), num_nodes
        self._canaries, self._terms, self._initial = canaries, terms, initial
        self._deviation, self._chance = deviation, chance

    def play(self, coins: NDArray[np.bool_], folder: Path) -> Array:
        """Run once with the canaries that the coins say; return each canary's score.

        Parameters
        ----------
        coins : ndarray of bool, shape (num_canaries,)
            Whether each canary is in. Nothing but the sums depends on them.
        folder : Path
            The run folder, deleted afterwards. One name for all runs saves seconds: Hydra takes
            long over a configuration that it has not seen.

        Returns
        -------
        ndarray, float64, shape (num_canaries,)
            Above 0 where a canary was rather in; the further from 0, the surer.
        """
        watch = _Watch(self._terms, self._initial, len(self._canaries), self._chance)
        held = self._canaries.held(coins, self._num_nodes)
        run_config = self._run_config | {"output-dir": str(folder)}
        clients = make_clients(run_config, self._num_nodes, held)
        simulate(run_config, self._num_nodes, clients, (watch,), task_has_records=False)
        shutil.rmtree(folder)
        return watch.scores(self._deviation)


class _Watch(Observer):
    """The sums of a run, as far as they speak of the canaries."""

    def __init__(self, terms: Terms, initial: State, num_canaries: int, chance: float) -> None:
        self._terms, self._state, self._chance = terms, initial, chance
        self._products = np.zeros(num_canaries)
        self._overlaps = np.zeros((num_canaries, num_canaries))

    def round_closed(self, closed: ClosedRound) -> None:
        """Compare the round's sum with what each canary would have added to it."""
        terms = self._terms.at(self._state, closed.report.round)
        # A canary is in by half, and then drawn by chance.
        rest = closed.aggregate.total - self._chance / 2 * terms.sum(axis=0)
        self._products += terms @ rest
        self._overlaps += terms @ terms.T
        self._state = closed.state

    def scores(self, deviation: float) -> Array:
        """Return the best linear guess of each canary's coin from all sums.

        With s the coins less a half, the sums less their mean are G^T s and noise of variance
        v, so that (G G^T Var(s) + v)^-1 G (sums) is the linear least squares estimate of s, up
        to a factor: inner products with each canary's term, freed of the others' share in them.
        """
        prior = self._chance**2 / 4
        weights = prior * self._overlaps + deviation**2 * np.eye(len(self._products))
        return np.linalg.solve(weights, self._products).astype(np.float64, copy=False)
