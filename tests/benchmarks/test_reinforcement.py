"""The benchmark of policies prints what it writes, with few and short rounds."""

import json

import numpy as np
import pytest

from benchmarks import reinforcement
from benchmarks.reinforcement import Aim, Silos
from benchmarks.table_rows import Verdict
from tasks.reinforcement.schema import PolicyConfig


@pytest.fixture
def short(monkeypatch):
    """Three silos, two short rounds, two episodes: what a few steps teach does not matter."""
    monkeypatch.setattr(reinforcement, "NUM_SILOS", 3)
    monkeypatch.setattr(reinforcement, "AIMS", {"cartpole": Aim(2, 2.0, True)})
    checked = PolicyConfig.__post_init__

    def small(config: PolicyConfig) -> None:
        config.num_env_steps, config.training.num_epochs = 64, 1
        config.num_test_episodes = min(2, config.num_test_episodes)
        checked(config)

    monkeypatch.setattr(PolicyConfig, "__post_init__", small)


@pytest.mark.usefixtures("short")
def test_it_prints_what_it_writes(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert reinforcement.main(["--seeds", "1", "--tasks", "cartpole", "--json", str(file)]) == 0
    told = capsys.readouterr().out
    found = json.loads(file.read_text())
    names = [row["system"] for row in found["rows"]]
    assert names[0] == "cartpole: Tacet, fedavg, masked"
    assert len(names) == 3
    for row in found["rows"]:
        assert row["system"] in told
        (mean,), (worst,) = row["scores"].values()
        assert 2 < worst <= mean <= 500
        assert f"{mean:.4f}" in told
    rounds, *silos = found["notes"]
    assert "rounds of 2 until 2 or more: federated in every silo 1 by seed" in rounds
    assert len(silos) == 3
    assert "PASS  cartpole: federated, worst silo, by seed" in told


def silos(least: float, everywhere: bool, returns: list[float]) -> Silos:
    class Fixed(Silos):
        aim = Aim(3, least, everywhere)
        federated = [np.array([0.0, 0.0]), np.array(returns)]  # noqa: RUF012

    return Fixed("cartpole", 0, None, [])


def test_what_is_required_is_held_against_the_worst_seed():
    def verdict(least: float, everywhere: bool) -> Verdict:
        seeds = [silos(least, everywhere, one) for one in ([480.0, 490.0], [470.0, 500.0])]
        (found,) = reinforcement._verdicts(seeds)
        return found

    assert verdict(470.0, True).holds
    assert not verdict(471.0, True).holds
    assert verdict(485.0, False).holds
    assert not verdict(485.5, False).holds


def test_rounds_count_up_to_the_first_that_was_enough():
    one = silos(475.0, True, [])
    assert one.rounds_to([475.0, 10.0]) == 1
    assert one.rounds_to([474.9, 480.0, 10.0]) == 2
    assert one.rounds_to([474.9, 0.0, 10.0]) == 4
