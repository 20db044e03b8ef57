"""Early stopping: the model of the round with the lowest held-out loss is what a run leaves.

Every round scores the model as it came, so the server compares what was released anyway. What
it remembers is in the state: figures in the header, and the arrays that the best model needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import hypot, isfinite
from typing import Any

from tasks.schema import require
from workloads.base import WorkloadConfig
from workloads.values import (
    EVAL_PREFIX,
    NUM_EXAMPLES,
    Aggregate,
    Arrays,
    State,
    StateRefusedError,
)

_PREFIX = "best_"
# Two losses whose difference is within so many deviations of its noise count as alike.
_DEVIATIONS = 2.0
_NOTHING = {"best_iteration": -1, "best_loss": 0.0, "best_noise": 0.0, "num_worse": 0}
# Of a loss: sums in another order differ in the last digits.
_DIGITS = 9


@dataclass
class EarlyStoppedConfig(WorkloadConfig):
    """When boosting ends by itself.

    Attributes
    ----------
    early_stopping_rounds : int, optional
        The run ends when so many iterations after the best had no better held-out loss, and
        leaves the best model. Not given: it has all its rounds.
    early_stopping_tolerance : float, optional
        By how much the mean loss must fall to be better, at least 0. Not given: 0.
    """

    early_stopping_rounds: int | None = None
    early_stopping_tolerance: float | None = None

    def __post_init__(self) -> None:
        rounds, tolerance = self.early_stopping_rounds, self.early_stopping_tolerance
        require(
            rounds is None or rounds >= 1,
            f"algorithm.early_stopping_rounds={rounds}: must be at least 1; leave it out for a"
            " run of all its rounds",
        )
        require(
            tolerance is None or (isfinite(tolerance) and tolerance >= 0),
            f"algorithm.early_stopping_tolerance={tolerance}: must be finite and not negative",
        )
        require(
            tolerance is None or rounds is not None,
            f"algorithm.early_stopping_tolerance={tolerance} has no effect: nothing ends the"
            " run early; give algorithm.early_stopping_rounds too",
        )


@dataclass(frozen=True)
class EarlyStopping:
    """The comparison of held-out losses, and what is remembered of the best.

    Under privacy a loss has noise. Two that differ by no more than two standard deviations of
    their difference count as alike: the newer one is then neither better nor worse.

    Attributes
    ----------
    rounds : int
        After so many iterations that were no better than the best before them, a run ends; 0
        for never: then nothing is remembered.
    tolerance : float
        By how much a loss must be lower to be better.
    names : collection of str
        The arrays of a state that the best model needs.
    """

    rounds: int
    tolerance: float
    names: Collection[str]

    @classmethod
    def of(cls, config: WorkloadConfig, names: Collection[str]) -> EarlyStopping:
        """Return what a configuration asks for; never to stop where it has no such keys."""
        if not isinstance(config, EarlyStoppedConfig):
            return cls(0, 0.0, ())
        tolerance = config.early_stopping_tolerance or 0.0
        return cls(config.early_stopping_rounds or 0, tolerance, names)

    def begun(self, state: State) -> State:
        """Return the first state with nothing remembered yet."""
        return self._with(state, state, _NOTHING) if self.rounds else state

    def bare(self, state: State) -> State:
        """Return a state without what is remembered."""
        if not self.rounds:
            return state
        arrays = {n: v for n, v in state.arrays.items() if not n.startswith(_PREFIX)}
        return State(arrays, {n: v for n, v in state.header.items() if n not in _NOTHING})

    def judged(
        self, before: State, after: State, aggregate: Aggregate, iteration: int | None
    ) -> State:
        """Return the next state, which remembers what the scores in a sum say.

        Parameters
        ----------
        before : State
            What was scored.
        after : State
            The next one, without what is remembered.
        aggregate : Aggregate
            With the scores; a round without them changes nothing that is remembered.
        iteration : int or None
            Which iteration's model was scored; None for one that is not whole.
        """
        if not self.rounds:
            return after
        known = {name: before.header[name] for name in _NOTHING}
        found = _loss(aggregate)
        if found is not None and iteration is not None:
            loss, noise = found
            margin = _DEVIATIONS * hypot(noise, known["best_noise"])
            fall = known["best_loss"] - loss
            if known["best_iteration"] < 0 or fall > self.tolerance + margin:
                values = (iteration, loss, noise, 0)
                return self._with(after, before, dict(zip(_NOTHING, values, strict=True)))
            if not margin or -fall > margin:
                known["num_worse"] += 1
        kept = {n: v for n, v in before.arrays.items() if n.startswith(_PREFIX)}
        return State(after.arrays | kept, {**after.header, **known})

    def check(self, state: State) -> None:
        """Refuse figures in a header that no run leaves there.

        Raises
        ------
        StateRefusedError
            Naming the first.
        """
        if not self.rounds:
            return
        for name, least in (("best_iteration", -1), ("num_worse", 0)):
            value = state.header.get(name)
            if type(value) is not int or not least <= value < 2**31:
                raise StateRefusedError(f"{name}={value!r} is no such number")
        for name in ("best_loss", "best_noise"):
            value = state.header.get(name)
            if type(value) is not float or not isfinite(value):
                raise StateRefusedError(f"{name}={value!r} is no finite number")

    def is_over(self, state: State) -> bool:
        """Return whether enough iterations were worse than the best."""
        return bool(self.rounds) and state.header["num_worse"] >= self.rounds

    def best(self, state: State) -> tuple[int, Arrays] | None:
        """Return the best iteration and its arrays; None where the newest is none the worse."""
        if not self.rounds or not state.header["num_worse"]:
            return None
        kept = {name: state.arrays[_PREFIX + name] for name in self.names}
        return state.header["best_iteration"], kept

    def facts(self, state: State) -> dict[str, Any]:
        """Return the best iteration, its loss, and why the run ended, if that is why."""
        if not self.rounds or state.header["best_iteration"] < 0:
            return {}
        found = {name: state.header[name] for name in ("best_iteration", "best_loss")}
        if not self.is_over(state):
            return found
        why = f"no better held-out loss in {state.header['num_worse']} iterations"
        return found | {"reason": f"early stopping: {why}"}

    def _with(self, state: State, best: State, header: Mapping[str, Any]) -> State:
        kept = {_PREFIX + name: best.arrays[name] for name in self.names}
        return State(state.arrays | kept, {**state.header, **header})


def _loss(aggregate: Aggregate) -> tuple[float, float] | None:
    """Return the mean held-out loss and the standard deviation of its noise; None without.

    Of L / N, both with noise of their own, by the first derivatives.
    """
    count = aggregate.sums.get(EVAL_PREFIX + NUM_EXAMPLES, 0.0)
    total = aggregate.sums.get(EVAL_PREFIX + "loss")
    if total is None or count <= 0:
        return None
    mean = total / count
    noise = hypot(aggregate.loss_noise, mean * aggregate.scores_noise) / count
    return (round(mean, _DIGITS), noise) if isfinite(mean) and isfinite(noise) else None
