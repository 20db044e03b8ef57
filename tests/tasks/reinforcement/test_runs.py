"""Policies are learnt over masked nodes, with every algorithm of model updates."""

import numpy as np
import pytest

from app.simulation.in_process import simulate
from strategies.rounds.observer import ClosedRound, Observer

SMALL = "task.num_test_episodes=4 task.num_env_steps=64 task.training.num_epochs=1"
THREE = "rounds.min_clients=3 rounds.min_replies=3"
NOISE = (
    "privacy.noise_multiplier=1 privacy.delta=1e-4 privacy.population=3 privacy.clip_norm=0.1"
    " privacy.metrics.every=1 privacy.metrics.noise_multiplier=0.5"
)


class Seen(Observer):
    """Keep what each round closed with."""

    def __init__(self) -> None:
        self.rounds: list[ClosedRound] = []

    def round_closed(self, closed: ClosedRound) -> None:
        self.rounds.append(closed)


def run(tmp_path, name: str, overrides: str, num_rounds: int = 1, **more):
    given = {
        "task": name,
        "num-rounds": num_rounds,
        "deterministic": True,
        "output-dir": str(tmp_path / f"run{len(list(tmp_path.iterdir()))}"),
        "overrides": f"{THREE} {overrides}",
    }
    seen = Seen()
    return simulate(given | more, 3, observers=[seen]), seen.rounds


@pytest.mark.slow
def test_a_policy_is_learnt_over_masked_nodes(tmp_path):
    found, _ = run(tmp_path, "cartpole", "task.num_test_episodes=6", num_rounds=4)
    # 10 steps at first, and 9 whatever one does.
    assert found.metrics["episode_return"] > 0.2
    assert found.metrics["loss"] == pytest.approx(1 - found.metrics["episode_return"])


@pytest.mark.slow
def test_masked_and_plain_sums_are_the_same(tmp_path):
    masked, _ = run(tmp_path, "cartpole", SMALL, 2)
    plain, _ = run(
        tmp_path, "cartpole", f"{SMALL} aggregation.through_codec=true", 2, aggregation="plain"
    )
    for name, values in masked.state.arrays.items():
        assert np.array_equal(values, plain.state.arrays[name])
    assert masked.metrics == plain.metrics


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedprox", "fedavgm", "fedadam", "fedyogi", "qfedavg"])
def test_every_algorithm_of_model_updates_moves_the_policy(tmp_path, algorithm):
    found, (first,) = run(tmp_path, "cartpole", SMALL, algorithm=algorithm)
    assert first.report.num_replies == 3
    assert 0 < found.metrics["episode_return"] < 1


def test_an_acrobot_is_scored_from_0_to_1(tmp_path):
    found, (first,) = run(tmp_path, "acrobot", f"{SMALL} task.num_test_episodes=1")
    assert first.report.num_replies == 3
    assert 0 <= found.metrics["episode_return"] <= 1


def test_a_node_is_protected_as_a_whole(tmp_path):
    found, (first,) = run(
        tmp_path,
        "cartpole",
        f"{SMALL} {NOISE} aggregation.min_survivors=3",
        privacy="client_distributed",
    )
    assert first.report.num_replies == 3
    assert found.privacy["epsilon"] > 0
    # They have noise, so they may be anything.
    assert {*first.report.metrics} == {"loss", "episode_return"}
