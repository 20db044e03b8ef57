"""A policy is learnt from the steps that it takes, and scored by what comes of them."""

import numpy as np
import pytest
import torch
from torch import nn

from tasks.reinforcement.episodes import Learning, SideBySide, advantages_of, draw_actions

ONE = np.ones(1, np.float32)


class Corridor:
    """From place 0: the action is added, each step pays 1, the end is at ``length``.

    Cut off after ``limit`` steps. What has ended takes no step.
    """

    def __init__(self, length: int, limit: int = 100) -> None:
        self.length, self.limit = length, limit
        self.place, self.steps, self.seeds = 0, -1, []

    def reset(self, seed):
        self.place, self.steps = 0, 0
        self.seeds.append(seed)
        return np.array([0.0], np.float32), {}

    def step(self, action):
        assert 0 <= self.steps < self.limit
        assert self.place < self.length
        self.place, self.steps = self.place + action, self.steps + 1
        ended = self.place >= self.length
        return np.array([self.place], np.float32), 1.0, ended, self.steps == self.limit, {}


def always(action: int, value: float = 0.0, num_actions: int = 2) -> nn.Module:
    """Return a policy that surely takes one action, and foretells the same value anywhere."""
    model = nn.Linear(1, num_actions + 1)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.fill_(-50.0)
        model.bias[action], model.bias[-1] = 50.0, value
    return model


def test_an_episode_is_played_to_its_end_and_no_further():
    places = [Corridor(3), Corridor(5), Corridor(9, limit=4)]
    found = SideBySide(places, ONE).returns(always(1), [7, 8, 9])
    assert found.tolist() == [3.0, 5.0, 4.0]
    assert [one.seeds for one in places] == [[7], [8], [9]]


def test_a_policy_sees_observations_over_their_scale():
    model = nn.Linear(1, 3)
    with torch.no_grad():
        # Action 1 until what is seen is above 0.6, then action 0.
        model.weight[:] = torch.tensor([[1.0], [-1.0], [0.0]])
        model.bias[:] = torch.tensor([-0.6, 0.6, 0.0])
    half = SideBySide([Corridor(9, limit=30)], np.array([4.0], np.float32))
    half.returns(model, [0])
    (one,) = half._environments
    # 2 is seen as 0.5, and 3 as 0.75.
    assert one.place == 3


def test_steps_have_the_returns_that_follow_from_rewards_and_values():
    """Discount 1/2, lambda 1: the sum of discounted rewards, and the value where cut off."""
    place = Corridor(3, limit=100)
    learning = Learning(discount=0.5, trace=1.0)
    rng = np.random.default_rng(0)
    found = SideBySide([place], ONE).steps(always(1, value=8.0), 5, learning, rng)
    assert found.inputs[:, 0].tolist() == [0, 1, 2, 0, 1]
    actions, advantages, returns, logs = found.targets.T
    assert actions.tolist() == [1] * 5
    np.testing.assert_allclose(logs, 0.0, atol=1e-6)
    # A reward counts 1/2. The third step ends; the fifth goes on to where 8 is foretold.
    np.testing.assert_allclose(returns, [0.875, 0.75, 0.5, 2.75, 4.5])
    np.testing.assert_allclose(advantages.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(advantages.std(), 1, atol=1e-6)
    assert len(place.seeds) == 2


def test_an_episode_that_is_cut_off_is_worth_what_would_have_come():
    learning = Learning(discount=0.5, trace=1.0)
    corridors = [Corridor(99, limit=2), Corridor(2)]
    rng = np.random.default_rng(0)
    found = SideBySide(corridors, ONE).steps(always(1, value=8.0), 2, learning, rng)
    # Steps of both environments in turn: cut off, there are 8 to come; ended, nothing.
    np.testing.assert_allclose(found.targets[:, 2], [2.75, 0.75, 4.5, 0.5])


def test_each_environment_begins_where_the_generator_says():
    def seeds(seed: int) -> list[list[int]]:
        corridors = [Corridor(2), Corridor(3)]
        rng = np.random.default_rng(seed)
        SideBySide(corridors, ONE).steps(always(1), 6, Learning(0.9, 0.9), rng)
        return [one.seeds for one in corridors]

    assert seeds(1) == seeds(1)
    assert seeds(1) != seeds(2)
    first, second = seeds(1)
    assert (len(first), len(second)) == (4, 3)
    assert len({*first, *second}) == 7


def test_advantages_are_sums_of_discounted_surprises():
    rng = np.random.default_rng(0)
    rewards, values, following = (rng.normal(size=(30, 4)) for _ in range(3))
    ends = rng.random((30, 4)) < 0.1
    learning = Learning(discount=0.9, trace=0.8)
    found = advantages_of(rewards, values, following, ends, learning)
    surprises = rewards + 0.9 * following - values
    for lane in range(4):
        for now in range(30):
            due, weight = 0.0, 1.0
            for later in range(now, 30):
                due += weight * surprises[later, lane]
                weight *= 0.9 * 0.8
                if ends[later, lane]:
                    break
            assert found[now, lane] == pytest.approx(due)
    assert ends.any()


def test_actions_are_drawn_as_often_as_the_policy_says():
    count = 40_000
    logits = np.tile(np.log([0.5, 0.2, 0.3]) + 3.0, (count, 1))
    actions, logs = draw_actions(logits, np.random.default_rng(0))
    shares = np.bincount(actions, minlength=3) / count
    # Six deviations of a share are 0.015.
    np.testing.assert_allclose(shares, [0.5, 0.2, 0.3], atol=0.015)
    np.testing.assert_allclose(logs, np.log([0.5, 0.2, 0.3])[actions])


@pytest.mark.parametrize("row", [[np.nan, 0.0], [np.inf, np.inf], [0.0, -np.inf]])
def test_outputs_that_are_not_finite_give_an_action_all_the_same(row):
    actions, _ = draw_actions(np.array([row] * 5), np.random.default_rng(0))
    assert actions.tolist() == [0] * 5
