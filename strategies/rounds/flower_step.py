"""The adapter to Flower's strategies: from the mean of a round to the next model.

Flower's strategies draw a cohort, build messages and aggregate replies. The round loop does all
of that itself, and needs only what ``aggregate_train`` makes of a mean.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from flwr import __version__
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi
from numpy.typing import NDArray

from strategies.rounds.records import ARRAYS, to_arrays, to_parameters
from workloads.model_arrays import add_to
from workloads.values import Arrays

#: Flower's strategies that do not compare, rank or trim single updates.
MEAN_ONLY = (FedAvg, FedProx, FedAvgM, FedAdam, FedYogi)

# Flower gives no interface for what its strategies keep between rounds. FedAvgM has a list in
# the model's order, the adaptive ones have dicts by parameter name.
_ADAPTIVE = (FedAdagrad, FedAdam, FedYogi)
_BY_POSITION = ("momentum_vector",)
_BY_NAME = ("m_t", "v_t")
_SEPARATOR = "/"


class FlowerStep:
    """Let one of Flower's strategies turn the mean update into the next global model.

    The strategy sees a single reply that holds the mean, so it serves every aggregation.

    Parameters
    ----------
    inner : FedAvg
        Flower's strategy. Its sampling is not used.

    Raises
    ------
    ValueError
        If this Flower's strategy keeps its state in another way.
    """

    def __init__(self, inner: FedAvg) -> None:
        _require_known(inner)
        self.inner = inner

    def step(
        self,
        server_round: int,
        before: Arrays,
        mean: NDArray[np.float32],
        weight: float,
    ) -> Arrays:
        """Return the next model, which may hold values that are not finite.

        Parameters
        ----------
        server_round : int
            Counted from 1.
        before : dict of ndarray
            The global model that the updates started from.
        mean : ndarray, float32, shape (num_parameters,)
            The mean of the updates, flattened in the model's order.
        weight : float
            What the mean was taken over; above 0.
        """
        self._set_model(before)
        # Whoever takes the model refuses an overflow; it need not be a warning as well.
        with _quiet_flower(), np.errstate(over="ignore", invalid="ignore"):
            reply = self._reply(add_to(before, mean), weight)
            arrays, _ = self.inner.aggregate_train(server_round, [reply])
            if arrays is None:
                name = type(self.inner).__name__
                raise RuntimeError(f"{name} gave no model in round {server_round}")
            after = to_parameters(arrays)
            # FedAdam multiplies by a numpy float64 and would double the model's size.
            return {name: after[name].astype(old.dtype) for name, old in before.items()}

    def export_state(self, parameter_names: Sequence[str]) -> Arrays:
        """Return the optimiser state as arrays named ``<slot>/<parameter>``; may be empty."""
        state: Arrays = {}
        for slot in _BY_POSITION:
            vectors = cast(list[NDArray[Any]] | None, getattr(self.inner, slot, None))
            for name, values in zip(parameter_names, vectors or [], strict=bool(vectors)):
                state[slot + _SEPARATOR + name] = np.asarray(values)
        for slot in _BY_NAME:
            named = cast(Mapping[str, NDArray[Any]] | None, getattr(self.inner, slot, None))
            for name, values in (named or {}).items():
                state[slot + _SEPARATOR + name] = np.asarray(values)
        return state

    def restore_state(self, state: Arrays, parameter_names: Sequence[str]) -> None:
        """Put back what ``export_state`` returned.

        Raises
        ------
        ValueError
            If the state belongs to another algorithm or another model.
        """
        slots: dict[str, Arrays] = {}
        for key, values in state.items():
            slot, _, name = key.partition(_SEPARATOR)
            slots.setdefault(slot, {})[name] = values
        for slot, named in slots.items():
            if slot not in _BY_POSITION + _BY_NAME or not hasattr(self.inner, slot):
                algorithm = type(self.inner).__name__
                raise ValueError(f"optimiser state {slot!r} is not of {algorithm}")
            if sorted(named) != sorted(parameter_names):
                raise ValueError(f"optimiser state {slot!r} is of another model")
            ordered = {name: named[name] for name in parameter_names}
            by_position = slot in _BY_POSITION
            setattr(self.inner, slot, list(ordered.values()) if by_position else ordered)

    def _set_model(self, before: Arrays) -> None:
        """Set the model that the updates started from, as ``configure_train`` would."""
        if isinstance(self.inner, FedAvgM):
            self.inner.current_arrays = to_arrays(before)
        elif isinstance(self.inner, _ADAPTIVE):
            self.inner.current_arrays = dict(before)

    def _reply(self, mean: Arrays, weight: float) -> Message:
        """Return the reply of a client whose model is the mean of all."""
        metrics = MetricRecord({self.inner.weighted_by_key: weight})
        content = RecordDict({ARRAYS: to_arrays(mean), "metrics": metrics})
        # Flower wants a receiver; nobody sends this message.
        return Message(content, dst_node_id=1, message_type="train")


def _require_known(inner: FedAvg) -> None:
    """Refuse a Flower whose strategy would lose its state in a checkpoint, or start anew."""
    kept: tuple[str, ...] = ()
    if isinstance(inner, FedAvgM):
        kept = _BY_POSITION
    elif isinstance(inner, _ADAPTIVE):
        kept = _BY_NAME
    needed = ("weighted_by_key", *(("current_arrays", *kept) if kept else ()))
    missing = [name for name in needed if not hasattr(inner, name)]
    if missing:
        raise ValueError(
            f"flwr {__version__}: {type(inner).__name__} has no {', '.join(missing)};"
            " install a flwr that Tacet's pyproject.toml allows"
        )


def require_mean_only(inner: FedAvg) -> None:
    """Refuse Flower's strategies that compare, rank or trim single updates.

    Raises
    ------
    ValueError
        Naming the strategies that may be used.
    """
    if type(inner) not in MEAN_ONLY:
        names = ", ".join(cls.__name__ for cls in MEAN_ONLY)
        raise ValueError(
            f"{type(inner).__name__} looks at single updates, which secure aggregation hides;"
            f" use one of {names}, or aggregation=plain"
        )


@contextmanager
def _quiet_flower() -> Generator[None]:
    """Keep the inner strategy from logging one reply where a whole cohort answered."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
