"""The step of DP-SGD is settled from its noise, and a plan says what would suit it better."""

import math

import numpy as np
import pytest

from app.builders.algorithm import build_algorithm
from app.builders.privacy import privacy_plan
from app.builders.step import learning_rate, settled_step
from app.builders.workload import build_workload
from app.cli.main import main
from app.config.algorithm import momentum_gain
from app.config.load import ConfigError, load_config, load_given
from app.config.pairs import as_pairs, parse_pairs
from app.preflight.run_plan import plan_run
from app.preflight.sweep import combinations
from app.simulation.in_process import InProcessGrid, simulate
from strategies.rounds.flower_step import FlowerStep
from workloads.values import State

SUMMED = ("example_distributed", "example_central")


def words(batch: float = 486, rate: float = 1, noise: str = "epsilon=1", free: str = "") -> str:
    return (
        f"privacy.{noise} privacy.delta=1e-3 privacy.population=4 privacy.sampling_rate={rate}"
        f" privacy.expected_batch_size={batch} aggregation.min_survivors=3 {free}"
    )


def run_config(free: str, privacy: str = "example_distributed", **given) -> dict:
    return {
        "task": "breast_cancer",
        "privacy": privacy,
        "num-rounds": 30,
        "overrides": free,
        **given,
    }


def settled(config) -> tuple[float, float]:
    """Return the learning rate of a run, and its step in clip norms."""
    plan = privacy_plan(config, build_workload(config), 31)
    return learning_rate(config, plan), settled_step(plan)


@pytest.mark.parametrize("noise", [0.5, 50.0, 500.0])
@pytest.mark.parametrize("option", SUMMED)
def test_a_step_is_as_long_as_the_noise_of_all_steps_bears(option, noise):
    free = words(noise=f"noise_multiplier={noise}", free="privacy.clip_norm=0.5")
    rate, step = settled(load_config(run_config(free, option)))
    # Thirty steps, each with the noise of its sum over the batch.
    of_all = noise / 486 * math.sqrt(30)
    assert step == pytest.approx(min(4, 1 / of_all))
    assert rate == pytest.approx(step / 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("num_rounds", [1, 4, 30])
@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_momentum_goes_as_far_in_all_rounds(momentum, num_rounds):
    """A model that Flower's optimiser moves along sums that are all alike."""
    # Flower's messages take their sender from what this sets.
    InProcessGrid({})
    free, keys = words(noise="noise_multiplier=50"), {"num-rounds": num_rounds}
    plain, _ = settled(load_config(run_config(free, **keys)))
    free += f" algorithm.server_momentum={momentum} algorithm.server_learning_rate=0.5"
    config = load_config(run_config(free, algorithm="fedavgm", **keys))
    rate, _ = settled(config)
    step, arrays = FlowerStep(build_algorithm(config)), {"w": np.zeros(1, np.float32)}
    for server_round in range(1, num_rounds + 1):
        arrays = step.step(server_round, arrays, np.array([rate], np.float32), 1.0)
    assert arrays["w"][0] == pytest.approx(num_rounds * plain, rel=1e-4)
    recipe = plan_run(config).guarantee["recipe"]
    assert (recipe["learning_rate"], recipe["objection"]) == (pytest.approx(rate), "")


def test_noise_of_each_node_is_as_much_from_all_of_them():
    free = words(batch=100, noise="noise_multiplier=50", free="task.training.num_steps=2")
    free = free.replace("aggregation.min_survivors=3", "")
    config = load_config(run_config(free, "example_local"))
    plan = privacy_plan(config, build_workload(config), 31)
    assert settled_step(plan) == pytest.approx(1 / (50 / 100 / 2 * math.sqrt(60)))


@pytest.mark.parametrize(("num_rounds", "first"), [(1, 1), (2, 2), (9, 5), (30, 16)])
def test_the_second_half_of_the_models_is_averaged(num_rounds, first):
    config = load_config(run_config(words(), **{"num-rounds": num_rounds}))
    assert config.average_from == first
    chosen = run_config(words(free="algorithm.average_from=0"), **{"num-rounds": num_rounds})
    assert load_config(chosen).average_from == 0
    assert load_config({"num-rounds": num_rounds}).average_from == 0


def test_the_server_takes_the_settled_step(monkeypatch, tmp_path):
    """Through the real apps: a round moves the model by the rate that the plan shows."""
    free = words(batch=456, noise="noise_multiplier=1e-6", free="task.test_fraction=0")
    given = run_config(free, **{"num-rounds": 1, "output-dir": str(tmp_path / "run")})
    shown = plan_run(load_config(given)).guarantee["recipe"]
    rates = []
    workload = type(build_workload(load_config(given)))
    real = workload.apply

    def watched(self, state: State, aggregate, server_round, step):
        rates.append(-self.step_size * 456)
        return real(self, state, aggregate, server_round, step)

    monkeypatch.setattr(workload, "apply", watched)
    simulate(given, 4)
    assert rates == [pytest.approx(shown["learning_rate"])] == [pytest.approx(4)]


@pytest.mark.parametrize(("rate", "told"), [(0.1, "too short"), (4, ""), (100, "too long")])
def test_a_plan_says_of_a_learning_rate_that_the_noise_does_not_suit_it(rate, told):
    config = load_config(run_config(words(free=f"privacy.learning_rate={rate}")))
    recipe = plan_run(config).guarantee["recipe"]
    assert recipe["learning_rate"] == rate
    assert (told in recipe["objection"]) if told else not recipe["objection"]
    assert not told or "take 4" in recipe["objection"]


@pytest.mark.slow
def test_few_records_are_all_taken_and_of_many_as_few_as_do():
    few = plan_run(load_config(run_config(words(batch=243, rate=0.5)))).guarantee["proposal"]
    assert (few["sampling_rate"], few["expected_batch_size"]) == (1, 486)
    many = plan_run(load_config(run_config(words(batch=30000)))).guarantee["proposal"]
    assert (many["sampling_rate"], many["expected_batch_size"]) == (0.02, 600)
    assert many["num_rounds"] == 60
    # What it proposes is what a run with it has.
    again = words(batch=many["expected_batch_size"], rate=many["sampling_rate"])
    plan = plan_run(load_config(run_config(again, **{"num-rounds": 60})))
    assert plan.guarantee["noise_multiplier"] == pytest.approx(many["noise_multiplier"])
    assert "proposal" not in plan.guarantee


@pytest.mark.slow
@pytest.mark.parametrize("free", ["", "algorithm.average_from=70", "task.model='logistic'"])
def test_a_proposal_can_be_pasted(capsys, free):
    """In place of the keys of a run, all of whose other overrides it keeps."""
    given = run_config(words(batch=30000, free=free), **{"num-rounds": 80})
    assert main(["plan", "--run-config", as_pairs(given)]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("proposal"))
    text = lines[at].partition("  ")[2].strip()
    taken = {**given, **parse_pairs(text)}
    plan = plan_run(load_given(taken), taken).guarantee
    assert "proposal" not in plan
    assert plan["sampling_rate"] == 0.02
    assert lines[at + 1].endswith(f"multiplier is {plan['noise_multiplier']:.4g}")
    # What only the old rounds had goes, and nothing else.
    assert plan["recipe"]["average_from"] == 31
    assert taken["overrides"].split()[:3] == given["overrides"].split()[:3]
    assert ("task.model" in taken["overrides"]) == ("task.model" in free)


@pytest.mark.slow
def test_an_average_of_the_users_is_kept_where_it_can_be(tmp_path):
    given = run_config(words(batch=30000, free="algorithm.average_from=0"))
    told = plan_run(load_given(given), given).guarantee["proposal"]["run_config"]
    assert "algorithm.average_from=0" in told
    resumed = given | {"resume-from": str(tmp_path)}
    assert "proposal" not in plan_run(load_given(resumed), resumed).guarantee


def test_much_noise_means_fewer_rounds():
    found = plan_run(load_config(run_config(words(batch=100), **{"num-rounds": 10}))).guarantee
    assert found["proposal"]["num_rounds"] == 30


def test_nothing_is_proposed_that_is_noise_too():
    found = plan_run(load_config(run_config(words(batch=0.3, noise="epsilon=0.1")))).guarantee
    assert found["signal"]["is_noise"]
    assert "proposal" not in found


def test_local_training_has_a_step_of_its_own():
    free = words(batch=100, free="task.training.num_steps=1 task.training.learning_rate=0.05")
    free = free.replace("aggregation.min_survivors=3", "")
    recipe = plan_run(load_config(run_config(free, "example_local"))).guarantee["recipe"]
    assert recipe["key"] == "task.training.learning_rate"
    assert "too short" in recipe["objection"]


def test_an_optimiser_that_finds_its_own_length_is_not_objected_to():
    summed = run_config(words(free="privacy.learning_rate=1000"), algorithm="fedadam")
    assert not plan_run(load_config(summed)).guarantee["recipe"]["objection"]
    free = words(batch=100, free="task.training.num_steps=1 task.training.optimizer=adam")
    free = free.replace("aggregation.min_survivors=3", "")
    local = plan_run(load_config(run_config(free, "example_local"))).guarantee["recipe"]
    assert local["settled"] is None
    assert not local["objection"]


@pytest.mark.parametrize(
    ("momentum", "num_steps", "gain"),
    [
        (0.0, 3, 1),
        (0.9, 1, 1),
        (0.9, 2, 1.45),
        (0.5, 40, 2 - (1 - 0.5**40) / 40 / 0.5),
        (0.9, 10**5, 10),
        # All steps so far, in each.
        (1 - 2**-53, 10, 5.5),
    ],
)
def test_momentum_that_begins_at_0_gains_little_in_few_steps(momentum, num_steps, gain):
    assert momentum_gain(momentum, num_steps) == pytest.approx(gain, rel=1e-3)


@pytest.mark.slow
def test_a_low_rate_is_proposed_only_where_the_signal_bears_it():
    """A model with many parameters: the step alone would not tell of the noise."""
    noisy = words(batch=30000, free="task.model=mlp task.hidden=512")
    proposal = plan_run(load_config(run_config(noisy))).guarantee["proposal"]
    assert proposal["sampling_rate"] > 0.02


def test_the_step_of_a_sum_is_no_key_of_local_training():
    with pytest.raises(
        ConfigError,
        match=r"task\.training\.learning_rate has no effect.*by"
        r" privacy\.learning_rate",
    ):
        load_config(run_config(words(free="task.training.learning_rate=2")))
    with pytest.raises(ConfigError, match=r"privacy\.learning_rate=-1.*above 0"):
        load_config(run_config(words(free="privacy.learning_rate=-1")))


def swept(*sweeps: str, free: str = words()) -> list[str]:
    given = (
        f'task="breast_cancer" privacy="example_distributed" num-rounds=30 overrides="{free}"'
    )
    return ["plan", "--run-config", given, *(w for s in sweeps for w in ("--sweep", s))]


def test_a_sweep_compares_plans_a_line_for_each(capsys, tmp_path):
    file = tmp_path / "plans.json"
    command = swept("privacy.epsilon=0.5,3", "num-rounds=10,x")
    assert main([*command, "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["privacy.epsilon", "num-rounds", "epsilon"]
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["0.5", "10", "0.5"],
        ["0.5", "x", "refused"],
        ["3", "10", "3"],
        ["3", "x", "refused"],
    ]
    assert sum("could not be converted" in line for line in lines) == 2
    assert file.read_text().count('"refused"') == 2


def test_what_speaks_against_a_plan_stands_below(capsys):
    assert main(swept("privacy.learning_rate=0.1,4")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1].strip() for line in lines[1:3]] == [
        "see below",
        "no objection",
    ]
    assert lines[4].startswith("privacy.learning_rate=0.1: ")
    assert "too short" in lines[4]


def test_a_list_is_one_value():
    found = combinations({"num-rounds": 3}, ["num-rounds=5,5", "task.x=[1,2]"])
    assert [values for values, _ in found] == [{"num-rounds": "5", "task.x": "[1,2]"}]
    assert found[0][1] == {"num-rounds": 5, "overrides": "task.x=[1,2]"}


@pytest.mark.parametrize(
    ("sweeps", "told"),
    [
        (("privacy.epsilon",), "not of the form key=value,value"),
        (("privacy.epsilon=1,,2",), "not of the form key=value,value"),
        (("privacy.epsilon=",), "'privacy.epsilon=' is not of the form key=value,value"),
        (("privacy.epsilon=1", "privacy.epsilon=2"), "given twice"),
        (("num_rounds=1,2",), "num_rounds is no key; did you mean num-rounds?"),
        (("privacy.epsilon=1 privacy.delta=0.1,2",), "not of the form key=value,value"),
        (("overrides=a,b",), "overrides has several keys"),
        (("privacy.epsilon=0,-1",), "must be finite and above 0"),
    ],
)
def test_a_sweep_that_is_none_is_one_line(capsys, sweeps, told):
    assert main(swept(*sweeps)) != 0
    error = capsys.readouterr().err
    assert told in error
    assert error.strip().count("\n") == 0
