"""Environments of gymnasium with a physics of their own, and policies learnt there."""

import itertools
import sys
from math import cos, sin

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import acrobot

from app.builders.workload import build_workload
from app.cli.main import main
from app.config.load import ConfigError, load_config
from tasks.base import DataSource, ModelRefusedError
from tasks.records import DataError
from tasks.registry import TASKS
from tasks.reinforcement.task import PolicyTask, make_environment
from tasks.training.local import initial_model, score, train
from tests.tasks.test_contract import config_of

NAMES = ["acrobot", "cartpole"]


def task_of(name: str, **keys) -> PolicyTask:
    found = TASKS[name](config_of(name, keys), seed=3)
    assert isinstance(found, PolicyTask)
    return found


def moved(task: PolicyTask, physics: dict[str, float], state, action: int) -> np.ndarray:
    """Return the state after one step."""
    environment = make_environment(task.environment)
    task.set_physics(environment.unwrapped, physics)
    environment.reset(seed=0)
    environment.unwrapped.state = np.array(state)
    environment.step(action)
    return np.array(environment.unwrapped.state)


@pytest.mark.parametrize("action", [0, 1])
def test_a_cart_moves_as_the_equations_of_its_physics_say(action):
    """Barto, Sutton and Anderson (1983), by Euler's steps of 0.02 s."""
    task = task_of("cartpole")
    quantities = (7.0, 1.5, 0.3, 0.8, 6.0)
    physics = dict(zip(task.usual, quantities, strict=True))
    x, x_dot, angle, turning = state = (0.1, -0.2, 0.05, 0.3)
    force, mass = (1 if action else -1) * 6.0, 1.5 + 0.3
    push = (force + 0.3 * 0.8 * turning**2 * sin(angle)) / mass
    inertia = 0.8 * (4 / 3 - 0.3 * cos(angle) ** 2 / mass)
    turned = (7.0 * sin(angle) - cos(angle) * push) / inertia
    speeded = push - 0.3 * 0.8 * turned * cos(angle) / mass
    due = (x + 0.02 * x_dot, x_dot + 0.02 * speeded)
    due += (angle + 0.02 * turning, turning + 0.02 * turned)
    np.testing.assert_allclose(moved(task, physics, state, action), due)


@pytest.mark.parametrize("name", NAMES)
def test_the_usual_physics_is_gymnasiums(name):
    task = task_of(name)
    own, theirs = make_environment(task.environment), gymnasium.make(task.environment)
    task.set_physics(own.unwrapped, dict(task.usual))
    assert own.reset(seed=4)[0].tolist() == theirs.reset(seed=4)[0].tolist()
    for action in (0, 1, 1, 0, 0):
        assert own.step(action)[0].tolist() == theirs.step(action)[0].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_every_quantity_has_an_effect(name):
    task = task_of(name)
    state = [0.3, -0.4, 0.2, 0.5]
    usual = moved(task, dict(task.usual), state, 0)
    for quantity, value in task.usual.items():
        other = moved(task, {**task.usual, quantity: 1.3 * value}, state, 0)
        assert np.abs(other - usual).max() > 1e-5, quantity


@pytest.mark.parametrize("name", NAMES)
def test_a_policys_score_is_the_mean_return_of_the_likeliest_actions(name):
    task = task_of(name, num_test_episodes=3)
    data = task.load(DataSource(1, 4))
    torch.manual_seed(2)
    model = task.build_model()
    losses, metrics, _ = score(task, model, data.test)
    assert data.test.columns is not None
    physics = dict(zip(task.usual, data.test.columns[0], strict=False))
    assert physics != dict(task.usual)
    least, most = task.returns
    for place, seed in enumerate(data.test.columns[:, -1].astype(int).tolist()):
        environment = make_environment(task.environment)
        task.set_physics(environment.unwrapped, physics)
        seen, _ = environment.reset(seed=seed)
        total, done = 0.0, False
        while not done:
            with torch.inference_mode():
                inputs = torch.from_numpy(seen / np.array(task.scales, np.float32))
                action = int(model(inputs)[:-1].argmax())
            seen, reward, ended, cut, _ = environment.step(action)
            total, done = total + float(reward), ended or cut
        share = (total - least) / (most - least)
        assert metrics["episode_return"][place] == pytest.approx(share)
        assert losses[place] == pytest.approx(1 - share)


def test_a_step_counts_no_more_once_its_action_is_likely_enough():
    task = task_of("cartpole", value_weight=0.0)
    ratios = torch.tensor([0.5, 0.9, 1.1, 1.5] * 2, dtype=torch.float64)
    advantages = torch.tensor([2.0] * 4 + [-2.0] * 4, dtype=torch.float64)
    before = torch.full((8,), -0.7, dtype=torch.float64)
    chosen = (before.exp() * ratios).log()
    # Two actions, and the first was taken.
    logits = torch.stack([chosen, torch.log1p(-chosen.exp()), torch.zeros(8)], dim=1)
    logits.requires_grad_()
    zeros = torch.zeros(8, dtype=torch.float64)
    losses = task.per_example_loss(logits, torch.stack([zeros, advantages, zeros, before], 1))
    due = [-1.0, -1.8, -2.2, -2.4, 1.6, 1.8, 2.2, 3.0]
    np.testing.assert_allclose(losses.detach(), due)
    losses.sum().backward()
    assert logits.grad is not None
    is_moved = logits.grad[:, 0].abs() > 1e-9
    assert is_moved.tolist() == [True, True, True, False, False, True, True, True]


def test_value_and_entropy_are_in_the_loss_by_their_weights():
    outputs = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64)
    logs = torch.log_softmax(outputs[0, :2], 0)
    targets = torch.tensor([[1.0, 0.5, 0.2, float(logs[1])]], dtype=torch.float64)
    keys = {"value_weight": 0.25, "entropy_weight": 0.1}
    loss = task_of("cartpole", **keys).per_example_loss(outputs, targets)
    entropy = -float((logs.exp() * logs).sum())
    assert float(loss) == pytest.approx(0.25 * 0.7**2 - 0.5 - 0.1 * entropy)


def test_a_round_trains_on_as_many_steps_as_it_takes():
    task = task_of("cartpole", num_env_steps=64)
    task.config.training.batch_size, task.config.training.num_epochs = 16, 3
    data = task.load(DataSource(0, 2))
    result = train(task, initial_model(task), data.train, np.random.default_rng(0), 0.0)
    assert (result.num_examples, result.num_steps) == (4, 12)


def test_a_round_begins_where_no_other_did():
    task = task_of("cartpole", num_env_steps=32)
    data, model = task.load(DataSource(0, 2)), initial_model(task)
    seen = [task.experience(model, data.train, np.random.default_rng(n)) for n in (0, 0, 1)]
    assert np.array_equal(seen[0].inputs, seen[1].inputs)
    assert np.array_equal(seen[0].targets, seen[1].targets)
    assert not np.array_equal(seen[0].inputs[:4], seen[2].inputs[:4])


def test_nodes_without_a_file_have_other_physics_by_the_seed():
    def physics(seed: int, node: int) -> list[float]:
        task = TASKS["cartpole"](config_of("cartpole", {}), seed)
        columns = task.load(DataSource(node, 8)).train.columns
        assert columns is not None
        assert (columns[:, :-1] == columns[0, :-1]).all()
        return columns[0, :-1].tolist()

    found = [physics(seed, node) for seed in (0, 1) for node in range(3)]
    assert physics(1, 1) == found[4]
    assert len({tuple(one) for one in found}) == 6


def test_a_nodes_own_file_is_its_physics_and_data_check_prints_it(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("length: 0.7\nforce: 12\n")
    data = task_of("cartpole").load(DataSource(data_path=file))
    assert data.test.columns is not None
    assert data.test.columns[0, :-1].tolist() == [9.8, 1.0, 0.1, 0.7, 12.0]
    assert main(["data", "check", str(file), "--task", "cartpole"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "CartPole-v1, an environment with"
    assert lines[4:6] == ["length: 0.7", "force: 12"]
    assert lines[-1] == "contributes: 4 records to train on, 20 held out"
    file.write_text("length: 70\n")
    assert main(["data", "check", str(file), "--task", "cartpole"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("length: 70 is not in [0.05, 5]")


def test_a_deployed_node_without_a_file_is_told_so():
    with pytest.raises(DataError, match=r"no data-path: give a YAML file .* 'gravity: 9.8'"):
        task_of("cartpole").load(DataSource())


def test_without_gymnasium_a_node_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(
        DataError, match=r"CartPole-v1 needs the package gymnasium.*pip install"
    ):
        task_of("cartpole").load(DataSource(0, 2))
    # Before a run, on the server and by `tacet plan`.
    with pytest.raises(ModelRefusedError, match="needs the package gymnasium"):
        build_workload(load_config({"task": "cartpole"})).rehearse()
    # A model that is there can be read all the same.
    assert initial_model(task_of("cartpole")) is not None


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"num_environments": 0}, "task.num_environments=0: must be at least 1"),
        ({"num_env_steps": 3}, "task.num_env_steps=3: must be at least task.num_environm"),
        ({"variation": 0.9}, r"task.variation=0.9: must be in \[1, 10\]"),
        ({"num_env_steps": 10**12}, "num_env_steps=1000000000000: must be at most 1000000"),
        ({"num_test_episodes": 10**9}, "num_test_episodes=1000000000: must be at most 10000"),
        ({"num_environments": 1001}, "num_environments=1001: must be at most 1000"),
        ({"width": 10**6}, "width=1000000: must be at most 4096"),
        ({"discount": 1.0}, r"task.discount=1.0: must be in \[0, 1\)"),
        ({"trace": 1.1}, r"task.trace=1.1: must be in \[0, 1\]"),
        ({"clip_ratio": 0.0}, "task.clip_ratio=0.0: must be above 0"),
        ({"entropy_weight": -0.1}, "task.entropy_weight=-0.1: must be finite and not neg"),
    ],
)
def test_a_wrong_key_is_named(keys, says):
    with pytest.raises(ValueError, match=says):
        TASKS["cartpole"].Config(**keys)


def test_acrobots_links_never_turn_so_fast_that_a_step_lasts(tmp_path):
    """gymnasium takes a turn off an angle until it is within one: a loop over turns."""
    file = tmp_path / "mine.yaml"
    file.write_text("length_2: 9\nmass_1: 0.2\n")
    with pytest.raises(DataError, match=r"length_2: 9 is not in \[0.333333, 3\]"):
        task_of("acrobot").load(DataSource(data_path=file))
    with pytest.raises(ValueError, match=r"task.variation=10: must be in \[1, 3\]"):
        TASKS["acrobot"].Config(variation=10)
    task, rng = task_of("acrobot"), np.random.default_rng(0)
    environment = make_environment(task.environment).unwrapped
    environment.reset(seed=0)
    most = task.config.most_factor
    for factors in itertools.product((1 / most, 1.0, most), repeat=len(task.usual)):
        pairs = zip(task.usual.items(), factors, strict=True)
        task.set_physics(environment, {name: value * k for (name, value), k in pairs})
        for _ in range(4):
            state = rng.uniform(-1, 1, 4) * [np.pi, np.pi, 4 * np.pi, 9 * np.pi]
            pushed = np.append(state, environment.AVAIL_TORQUE[2])
            angles = acrobot.rk4(environment._dsdt, pushed, [0, environment.dt])[:2]
            assert np.abs(angles).max() < 1e5


PRIVATE = "privacy.noise_multiplier=1 privacy.delta=1e-5 privacy.population=8"


@pytest.mark.parametrize("place", ["local", "distributed", "central"])
@pytest.mark.parametrize("name", NAMES)
def test_there_is_no_record_to_protect(name, place):
    more = " privacy.clip_norm=1 privacy.sampling_rate=1 privacy.expected_batch_size=10"
    more += " aggregation.min_survivors=6" if place == "distributed" else " aggregation=plain"
    given = {"task": name, "privacy": f"example_{place}", "overrides": PRIVATE + more}
    with pytest.raises(ValueError, match=r"no records, so there is none .* client_distributed"):
        build_workload(load_config(given))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("task.test_fraction=0.1", "an environment has no records to hold out"),
        ("task.partition.alpha=2", "each node has records of its own"),
    ],
)
def test_a_key_of_records_is_refused(key, says):
    with pytest.raises(ConfigError, match=says):
        load_config({"task": "cartpole", "overrides": key})


def test_a_workload_of_tables_is_refused():
    with pytest.raises(ValueError, match="it has no columns for the workload glm"):
        build_workload(load_config({"task": "cartpole", "algorithm": "glm"}))
