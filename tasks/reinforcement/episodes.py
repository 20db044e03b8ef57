"""Play environments side by side with one policy: to score it, or to learn from its steps.

A policy is a model whose outputs are a logit for each action and, last, the return that it
foretells. Loads torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.records import Examples
from tasks.training.device import place_of

Vector = NDArray[np.float64]
_SEEDS = 2**31


@dataclass(frozen=True)
class Learning:
    """What is made of the steps that a policy takes.

    Attributes
    ----------
    discount : float
        Of a reward, a step later, in [0, 1).
    trace : float
        Lambda of ``advantages_of``.
    """

    discount: float
    trace: float


class SideBySide:
    """Environments that one policy plays at the same time.

    Parameters
    ----------
    environments : sequence of gymnasium.Env
        With discrete actions.
    scales : ndarray, float32, shape (observed,)
        What observations are divided by before the policy sees them.
    """

    def __init__(self, environments: Sequence[Any], scales: NDArray[np.float32]) -> None:
        self._environments = environments
        self._scales = scales

    def begin(self, seeds: Sequence[int]) -> NDArray[np.float32]:
        """Begin an episode in each; return what is seen, shape (environments, observed)."""
        pairs = zip(self._environments, seeds, strict=True)
        return np.stack([self._scaled(one.reset(seed=int(seed))[0]) for one, seed in pairs])

    @torch.inference_mode()
    def returns(self, model: nn.Module, seeds: Sequence[int]) -> Vector:
        """Play an episode in each, always by the likeliest action; return the sums of reward.

        Not discounted, shape (environments,).
        """
        model.eval()
        seen, playing = self.begin(seeds), np.arange(len(self._environments))
        returns = np.zeros(len(playing))
        while len(playing):
            actions = _outputs(model, seen[playing])[:, :-1].argmax(axis=1)
            going: list[int] = []
            for place, action in zip(playing.tolist(), actions.tolist(), strict=True):
                found, reward, ended, cut, _ = self._environments[place].step(action)
                seen[place] = self._scaled(found)
                returns[place] += float(reward)
                going += [] if ended or cut else [place]
            playing = np.array(going, np.intp)
        return returns

    @torch.inference_mode()
    def steps(
        self, model: nn.Module, num_steps: int, learning: Learning, rng: np.random.Generator
    ) -> Examples:
        """Take steps by actions that are drawn from the policy, and say how good each was.

        Episodes begin anew where one ends. Rewards count times 1 - discount, so that returns
        are in the units of one reward.

        Parameters
        ----------
        model : nn.Module
            The policy.
        num_steps : int
            Of each environment, at least 1.
        learning : Learning
        rng : numpy Generator
            Draws the actions, and where episodes begin.

        Returns
        -------
        records : Examples
            ``num_steps`` times as many as environments. Targets are the action, its advantage
            with mean 0 and deviation 1 over all, the return, and the action's logarithm of
            probability; float32, shape (n, 4).
        """
        model.eval()
        count = len(self._environments)
        shape = (num_steps, count)
        inputs = np.zeros((*shape, len(self._scales)), np.float32)
        actions, logs, rewards, after = (np.zeros(shape) for _ in range(4))
        values, ends = np.zeros((num_steps + 1, count)), np.zeros(shape, bool)
        seen = self.begin(rng.integers(_SEEDS, size=count).tolist())
        for now in range(num_steps):
            outputs = _outputs(model, seen)
            drawn, logs[now] = draw_actions(outputs[:, :-1], rng)
            inputs[now], actions[now], values[now] = seen, drawn, outputs[:, -1]
            for place, one in enumerate(self._environments):
                found, reward, ended, cut, _ = one.step(int(drawn[place]))
                rewards[now, place] = float(reward) * (1 - learning.discount)
                if ended or cut:
                    ends[now, place] = True
                    if not ended:
                        # Cut off by the limit of time, it would have gone on.
                        last = _outputs(model, self._scaled(found)[np.newaxis])
                        after[now, place] = last[0, -1]
                    found, _ = one.reset(seed=int(rng.integers(_SEEDS)))
                seen[place] = self._scaled(found)
        values[-1] = _outputs(model, seen)[:, -1]
        following = np.where(ends, after, values[1:])
        advantages = advantages_of(rewards, values[:-1], following, ends, learning)
        returns = advantages + values[:-1]
        told = (actions, _standardised(advantages), returns, logs)
        targets = np.stack(told, axis=-1).reshape(-1, len(told)).astype(np.float32)
        return Examples(inputs.reshape(len(targets), -1), targets)

    def _scaled(self, observation: Any) -> NDArray[np.float32]:
        return np.asarray(observation, np.float32) / self._scales


def draw_actions(logits: Vector, rng: np.random.Generator) -> tuple[NDArray[np.intp], Vector]:
    """Draw an action from each row's probabilities; return them and their logarithms.

    Parameters
    ----------
    logits : ndarray, float64, shape (n, actions)
        Rows that are not finite give the first action.
    rng : numpy Generator
        Draws one number for each row.
    """
    with np.errstate(all="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        shares = np.exp(logs).cumsum(axis=1)
        actions = (rng.random((len(logits), 1)) >= shares[:, :-1]).sum(axis=1)
    return actions, np.take_along_axis(logs, actions[:, np.newaxis], axis=1)[:, 0]


def advantages_of(
    rewards: Vector,
    values: Vector,
    following: Vector,
    ends: NDArray[np.bool_],
    learning: Learning,
) -> Vector:
    """Return the generalised advantage estimates (Schulman et al. 2016, arXiv 1506.02438, 16).

    Parameters
    ----------
    rewards : ndarray, float64, shape (steps, environments)
        Of each step.
    values : ndarray, same shape
        The foretold return before a step.
    following : ndarray, same shape
        That after it: 0 where the episode has ended.
    ends : ndarray of bool, same shape
        Whether the episode ended with the step, or was cut off.
    learning : Learning
    """
    surprises = rewards + learning.discount * following - values
    found, later = np.zeros_like(surprises), np.zeros(surprises.shape[1])
    for now in reversed(range(len(surprises))):
        kept = learning.discount * learning.trace * np.where(ends[now], 0.0, later)
        found[now] = later = surprises[now] + kept
    return found


def _outputs(model: nn.Module, seen: NDArray[np.float32]) -> Vector:
    """Return what a policy says of what is seen; of few at a time, so each call counts."""
    return model(torch.from_numpy(seen).to(place_of(model))).cpu().numpy().astype(np.float64)


def _standardised(values: Vector) -> Vector:
    return (values - values.mean()) / (values.std() + 1e-8)
