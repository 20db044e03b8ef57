"""The mean of a run's last models, which varies less under noise than the last one."""

from __future__ import annotations

import numpy as np

from workloads.model_arrays import parted, prefixed
from workloads.values import Arrays, State

_SLOT = "average/"


class IterateAverage:
    """Average the global models from a round on (Polyak and Juditsky 1992).

    Training goes on from the last model; the average is what a run gives in the end. It looks
    at released models only, so it costs no privacy.

    Parameters
    ----------
    first_round : int
        The first model that counts, from 1; 0 for no averaging.
    """

    def __init__(self, first_round: int) -> None:
        self._first = first_round
        self._mean: Arrays = {}
        self._num_models = 0

    def take(self, server_round: int, state: State) -> None:
        """Add the model of a round to the mean."""
        if not self._first or server_round < self._first:
            return
        self._num_models += 1
        for name, values in state.arrays.items():
            mean = self._mean.setdefault(name, np.zeros(values.shape, np.float64))
            mean += (values - mean) / self._num_models

    def published(self, state: State) -> State:
        """Return the model to publish: the mean, or the last model while there is no mean."""
        if not self._num_models:
            return state
        last = state.arrays
        mean = {name: self._mean[name].astype(last[name].dtype) for name in last}
        return State(mean, state.header)

    def export(self) -> Arrays:
        """Return the mean as arrays, for a checkpoint; empty while there is none."""
        return prefixed(_SLOT, self._mean)

    def restore(self, state: Arrays, server_round: int) -> Arrays:
        """Restore the mean from a checkpoint of a round; return the rest of its state.

        Raises
        ------
        ValueError
            If the checkpoint has no mean though it should, or one though it should not.
        """
        own, rest = parted(_SLOT, state)
        expected = max(0, server_round - self._first + 1) if self._first else 0
        if bool(own) != bool(expected):
            raise ValueError(
                f"the checkpoint of round {server_round} does not fit"
                f" algorithm.average_from={self._first}"
            )
        self._mean = {name: values.astype(np.float64) for name, values in own.items()}
        self._num_models = expected
        return rest
