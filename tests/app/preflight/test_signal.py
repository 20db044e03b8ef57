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
#: A model of the run had an AUC of 0.98, and of 0.88 on adult.
SOME = FEW | {
    "overrides": "privacy.epsilon=1 privacy.delta=1e-3 privacy.population=20"
    " aggregation.min_survivors=14"
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


@pytest.mark.parametrize(
    ("run_config", "is_noise"), [(FEW, True), (SOME, False), (MANY, False)]
)
def test_few_clients_give_noise_and_many_do_not(run_config, is_noise):
    """Six banks under ``client_distributed`` gave models that were worse than chance."""
    assert signal(run_config)["is_noise"] is is_noise


def test_it_is_the_longest_sum_over_the_length_of_its_noise():
    """Of 4 nodes with 50 records each and noise 2 in 31 numbers each; 10 rounds of 2 steps."""
    found = signal(LOCAL)
    assert found["in_step"] == pytest.approx(4 * 50 / (2 * math.sqrt(31) * math.sqrt(4)))
    assert found["in_run"] == pytest.approx(found["in_step"] * math.sqrt(20))


def test_of_clients_it_is_the_noise_of_all_who_answer():
    """Each of 20 adds 1 / (14 - 1) of the variance that is promised."""
    found = signal(SOME | {"num-rounds": 4})
    assert found["in_run"] == pytest.approx(2 * found["in_step"])
    plan = plan_run(load_config(SOME | {"num-rounds": 4})).guarantee
    noise = plan["noise_multiplier"] * math.sqrt(31 * 20 / 13)
    assert found["in_step"] == pytest.approx(20 / noise)


def test_noise_of_what_is_kept_is_longer_by_what_it_is_multiplied_by():
    """Of 31 numbers, padded to 32, a quarter: four times the variance."""
    free = " aggregation.codec.keep_fraction=0.25"
    for run_config in (LOCAL, SOME):
        kept = run_config | {"overrides": run_config["overrides"] + free}
        # Nothing is padded where each node adds noise to every number.
        times = math.sqrt(31 / 8 if run_config is LOCAL else 4)
        assert signal(kept)["in_step"] == pytest.approx(
            signal(run_config)["in_step"] / times, rel=1e-3
        )


def test_an_update_with_a_bounded_l1_norm_is_shorter():
    free = "privacy.noise_multiplier=2 privacy.delta=1e-3 privacy.population=100"
    laplace = FEW | {
        "privacy": "client_local",
        "overrides": f"{free} privacy.mechanism=laplace",
    }
    # Scale 2 is a deviation of 2 sqrt(2), in each of 31 numbers and from each of 100.
    length = 1 / math.sqrt(31)
    noise = 2 * math.sqrt(2 * 31 / 100)
    assert signal(laplace)["in_step"] == pytest.approx(length / noise)


def as_text(run_config) -> str:
    return " ".join(
        f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"
        for key, value in run_config.items()
    )


def test_the_command_warns_in_words(capsys):
    assert main(["plan", "--run-config", as_text(FEW)]) == 0
    told = capsys.readouterr().out
    assert "times the noise of a step" in told
    assert "the result will be noise: take more nodes" in told


def test_a_sum_that_is_no_direction_is_not_measured_as_one(capsys):
    """Boosting with epsilon 0.3 had an AUC of 0.95 where it was said to be noise."""
    free = (
        "privacy.epsilon=0.3 privacy.delta=1e-4 privacy.population=4 privacy.sampling_rate=1"
        " privacy.expected_batch_size=455 aggregation.min_survivors=3"
    )
    config = {"task": "breast_cancer", "algorithm": "ebm", "privacy": "example_distributed"}
    config |= {"num-rounds": 8, "overrides": free}
    assert plan_run(load_config(config)).guarantee.keys().isdisjoint({"signal", "proposal"})
    assert main(["plan", "--run-config", as_text(config)]) == 0
    told = capsys.readouterr().out
    assert not {"signal", "proposal", "warning"} & set(told.split())
    swept = ["--sweep", "privacy.epsilon=0.3,1"]
    assert main(["plan", "--run-config", as_text(config), *swept]) == 0
    cells = capsys.readouterr().out.splitlines()[1].split()
    assert cells[3:] == ["-", "-", "no", "objection"]
