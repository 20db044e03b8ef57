"""Under the client unit neither clip norm nor step needs tuning: both are settled."""

import math
from dataclasses import dataclass

import pytest

from app.builders.privacy import privacy_plan
from app.builders.step import learning_rate, longest_step, settled_step
from app.builders.workload import build_workload
from app.cli.main import main
from app.config.load import ConfigError, load_config
from app.config.workload import check_workload
from app.preflight.run_plan import plan_run
from app.simulation.in_process import simulate
from privacy.mode import Place
from privacy.unit import Unit
from workloads.base import Workload, WorkloadConfig
from workloads.model_update import ModelUpdate
from workloads.registry import WORKLOADS

OPTIONS = ("client_central", "client_distributed", "client_local")
DIMENSION = 31


def words(noise: str = "noise_multiplier=2", population: int = 50, free: str = "") -> str:
    return f"privacy.{noise} privacy.delta=1e-3 privacy.population={population} {free}"


def run_config(free: str, option: str = "client_central", **given) -> dict:
    if option == "client_distributed":
        free += " aggregation.min_survivors=34"
    task = {"task": "breast_cancer", "privacy": option, "num-rounds": 30}
    return {**task, "overrides": free, **given}


def plan_of(config):
    return privacy_plan(config, build_workload(config), DIMENSION)


def settled(free: str, option: str = "client_central", **given) -> tuple[float, float]:
    """Return the learning rate of a run, and its step in clip norms."""
    config = load_config(run_config(free, option, **given))
    plan = plan_of(config)
    return learning_rate(config, plan), settled_step(plan)


def expected(noise: float, steps: int = 30) -> float:
    return 5 / math.sqrt(steps * (1 + DIMENSION * noise**2))


@pytest.mark.parametrize("option", OPTIONS)
def test_clip_norm_step_and_averaging_are_settled(option):
    config = load_config(run_config(words(), option))
    assert config.privacy.clip_norm == config.task.training.learning_rate / 2 == 0.15
    assert config.privacy.learning_rate is None
    assert config.average_from == 16
    plan = plan_of(config)
    assert learning_rate(config, plan) == pytest.approx(settled_step(plan) / 0.15)


def test_the_clip_norm_goes_with_the_learning_rate_of_the_clients():
    config = load_config(run_config(words(free="task.training.learning_rate=0.02")))
    assert config.privacy.clip_norm == 0.01
    for rate in ("1e-13", "1e13"):
        free = words(free=f"task.training.learning_rate={rate}")
        with pytest.raises(ConfigError, match=r"learning_rate=1e.*half of it is the clip norm"):
            load_config(run_config(free))


@pytest.mark.parametrize("multiplier", [0.01, 2.0, 300.0])
def test_all_steps_together_go_as_far_as_their_noise_and_their_number_bear(multiplier):
    _, step = settled(words(f"noise_multiplier={multiplier}"))
    assert step == pytest.approx(expected(multiplier / 50))


def test_the_noise_is_that_of_all_who_answer():
    # Each of 50 adds 1 / (34 - 1) of the variance that is promised.
    _, shared = settled(words(), "client_distributed")
    assert shared == pytest.approx(expected(2 / 50 * math.sqrt(50 / 33)))
    _, each = settled(words(), "client_local")
    assert each == pytest.approx(expected(2 / math.sqrt(50)))
    # Laplace noise of scale b has twice the variance b^2.
    _, steep = settled(words(free="privacy.mechanism=laplace"), "client_local")
    assert steep == pytest.approx(expected(2 * math.sqrt(2 / 50)))


def test_a_kept_part_is_longer_and_its_step_as_much_shorter():
    """The mean of what is kept, times N / k, has N / k times the squared length on average."""
    _, step = settled(words(free="aggregation.codec.keep_fraction=0.25"))
    assert step == pytest.approx(expected(2 / 50) / 2)


def test_a_cohort_is_as_many_as_are_expected():
    _, step = settled(words(free="rounds.cohort_fraction=0.5 rounds.min_clients=50"))
    assert step == pytest.approx(expected(2 / 25))


def test_momentum_goes_as_far_in_all_rounds():
    plain, _ = settled(words())
    free = words(free="algorithm.server_momentum=0.9 algorithm.server_learning_rate=0.5")
    with_momentum, _ = settled(free, algorithm="fedavgm")
    gain = 10 - 9 * (1 - 0.9**30) / (30 * 0.1)
    assert with_momentum * gain * 0.5 == pytest.approx(plain)


@pytest.mark.parametrize("option", OPTIONS)
def test_who_gives_a_clip_norm_has_the_mean_itself(option):
    config = load_config(run_config(words(free="privacy.clip_norm=0.5"), option))
    assert (config.privacy.clip_norm, config.average_from) == (0.5, 0)
    assert config.privacy.learning_rate == 1
    assert learning_rate(config, plan_of(config)) == 1
    momentum = run_config(words(free="privacy.clip_norm=0.5"), option, algorithm="fedavgm")
    config = load_config(momentum)
    assert learning_rate(config, plan_of(config)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("clip", ["", "privacy.clip_norm=0.5"])
def test_a_learning_rate_is_taken_as_it_is_given(clip):
    config = load_config(run_config(words(free=f"privacy.learning_rate=3 {clip}")))
    assert learning_rate(config, plan_of(config)) == 3
    assert config.privacy.clip_norm == (0.5 if clip else 0.15)
    assert config.average_from == 0
    for rate in (0, -1, "inf"):
        with pytest.raises(ConfigError, match=r"privacy\.learning_rate=.*above 0"):
            load_config(run_config(words(free=f"privacy.learning_rate={rate} {clip}")))


def test_averaging_may_be_chosen_apart():
    given = run_config(words(free="algorithm.average_from=0"))
    assert load_config(given).average_from == 0


def test_a_clip_norm_that_follows_the_updates_has_to_begin_somewhere():
    adaptive = words(free="privacy.adaptive_clip.bit_noise=5")
    with pytest.raises(ConfigError, match=r"privacy\.clip_norm.*clip_norm=0\.1"):
        load_config(run_config(adaptive))
    config = load_config(run_config(f"{adaptive} privacy.clip_norm=0.1"))
    assert learning_rate(config, plan_of(config)) == 1


@dataclass
class AnyConfig(WorkloadConfig):
    """The option of a workload that is no model."""


class Any(Workload):
    """A workload whose terms have a length that nobody knows."""

    Config = AnyConfig
    serves = frozenset({(Unit.CLIENT, Place.CENTRAL)})


def test_what_is_no_update_of_a_model_has_no_clip_norm_of_its_own(monkeypatch):
    monkeypatch.setitem(WORKLOADS, "any", Any)
    config = load_config(run_config(words()))
    privacy = type(config.privacy)(epsilon=1.0, delta=1e-3, population=4)
    with pytest.raises(ValueError, match=r"privacy\.clip_norm has no default and must be"):
        check_workload(AnyConfig(), privacy, config.task.training)


@pytest.mark.parametrize("free", ["", "privacy.clip_norm=0.5"])
def test_the_server_takes_the_settled_step(monkeypatch, tmp_path, free):
    """Through the real apps: the mean is multiplied by the rate that the plan shows."""
    free = words("noise_multiplier=1e-6", 4, f"{free} task.training.num_steps=1")
    given = run_config(free, **{"num-rounds": 1, "output-dir": str(tmp_path / "run")})
    shown = plan_run(load_config(given)).guarantee["recipe"]
    moved = []
    real = ModelUpdate.apply

    def watched(self, state, aggregate, server_round, step):
        def stepped(number, before, mean, weight):
            moved.append(mean / aggregate.total * 4)
            return step(number, before, mean, weight)

        return real(self, state, aggregate, server_round, stepped)

    monkeypatch.setattr(ModelUpdate, "apply", watched)
    simulate(given, 4)
    rate = 1 if "clip_norm" in free else pytest.approx(5 / 0.15, rel=1e-3)
    assert shown["learning_rate"] == rate
    assert moved[0] == pytest.approx(shown["learning_rate"], rel=1e-4)


def recipe(free: str, option: str = "client_central", **given) -> dict:
    return plan_run(load_config(run_config(free, option, **given))).guarantee["recipe"]


@pytest.mark.parametrize(
    ("noise", "free", "told"),
    [
        ("noise_multiplier=100", "", ""),
        ("noise_multiplier=100", "privacy.clip_norm=1", "too long"),
        ("noise_multiplier=1", "privacy.clip_norm=1", ""),
        ("noise_multiplier=1", "privacy.clip_norm=0.01", "too short"),
        ("noise_multiplier=1", "privacy.clip_norm=0.01 privacy.learning_rate=80", ""),
        # So long are no updates, and next to no noise is no reason to make them shorter.
        ("noise_multiplier=0.01", "privacy.clip_norm=10", ""),
        ("noise_multiplier=1", "privacy.clip_norm=0.01 privacy.adaptive_clip.bit_noise=5", ""),
    ],
)
def test_a_plan_says_of_a_step_that_the_noise_does_not_suit_it(noise, free, told):
    found = recipe(words(noise, free=free))
    assert (told in found["objection"]) if told else not found["objection"]
    if told:
        assert found["objection"].startswith("privacy.learning_rate=1 is ")
        assert found["objection"].endswith(f"take {found['settled']:.3g}")


def test_the_longest_step_is_one_that_the_noise_alone_bears():
    plan = plan_of(load_config(run_config(words())))
    noise = 2 / 50
    assert longest_step(plan) == pytest.approx(5 / (noise * math.sqrt(30 * DIMENSION)))
    assert longest_step(plan) > settled_step(plan)


def test_an_optimiser_that_finds_its_own_length_is_not_objected_to():
    free = words("noise_multiplier=100", free="privacy.clip_norm=1")
    assert not recipe(free, algorithm="fedadam")["objection"]


def test_the_command_says_how_it_steps(capsys):
    text = 'task="breast_cancer" privacy="client_central" num-rounds=30'
    assert main(["plan", "--run-config", f'{text} overrides="{words()}"']) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("step "))
    rate, _ = settled(words())
    assert line.split("  ")[-1].strip() == (
        f"learning rate {rate:.4g}, clip norm 0.15, mean of the models of rounds 16-30"
    )
