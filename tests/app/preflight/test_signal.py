"""A plan says of a result that will be noise that it will be, before it is paid for."""

import math

import pytest

from app.cli.main import main
from app.config.load import load_config
from app.preflight.run_plan import plan_run

FEW = {
    "task": "breast_cancer",
    "privacy": "client_distributed",
    "num-rounds": 10,
    "overrides": "privacy.epsilon=1 privacy.delta=1e-3 privacy.clip_norm=1"
    " privacy.population=6 aggregation.min_survivors=5",
}
MANY = FEW | {
    "overrides": "privacy.epsilon=3 privacy.delta=1e-3 privacy.clip_norm=1"
    " privacy.population=300 aggregation.min_survivors=200"
}
LOCAL = FEW | {
    "privacy": "example_local",
    "overrides": "privacy.noise_multiplier=2 privacy.delta=1e-3 privacy.clip_norm=1"
    " privacy.sampling_rate=0.5 privacy.expected_batch_size=50 privacy.population=4"
    " task.training.num_steps=2",
}


def signal(run_config) -> dict:
    return plan_run(load_config(run_config)).guarantee["signal"]


@pytest.mark.parametrize(("run_config", "is_noise"), [(FEW, True), (MANY, False)])
def test_few_clients_give_noise_and_many_do_not(run_config, is_noise):
    """Six banks under ``client_distributed`` gave models that were worse than chance."""
    assert signal(run_config)["is_noise"] is is_noise


def test_it_is_the_longest_sum_over_the_length_of_its_noise():
    """Of 4 nodes with 50 records each and noise 2 in 31 numbers each; 10 rounds of 2 steps."""
    found = signal(LOCAL)
    assert found["in_step"] == pytest.approx(4 * 50 / (2 * math.sqrt(31) * math.sqrt(4)))
    assert found["in_run"] == pytest.approx(found["in_step"] * math.sqrt(20))


def test_the_command_warns_in_words(capsys):
    words = " ".join(
        f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"
        for key, value in FEW.items()
    )
    assert main(["plan", "--run-config", words]) == 0
    told = capsys.readouterr().out
    assert "times the noise of a step" in told
    assert "the result will be noise: take more nodes" in told
