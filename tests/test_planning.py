"""``tacet plan``, and what the configuration of privacy refuses when it is composed."""

import json
import math

import pytest
from torch import nn

from app.cli import main
from app.config import ConfigError, load_config
from app.planning import PlanError, plan_run
from tasks.breast_cancer import BreastCancer
from tests.private_kit import MATRIX, overrides, run_config_of


def composing(option: str, aggregation: str = "secagg", free: str = "", **keys) -> dict:
    needed = overrides(option)
    if aggregation == "plain":
        needed = needed.replace("aggregation.min_survivors=3", "")
    return {
        "task": "breast_cancer",
        "privacy": option,
        "aggregation": aggregation,
        "overrides": f"{needed} {free}",
        **keys,
    }


# Composing


@pytest.mark.parametrize(("option", "aggregation"), MATRIX)
def test_each_legal_pair_composes(option, aggregation):
    assert load_config(composing(option, aggregation)).privacy.clip_norm == 0.5


RULES = [
    # What the groups require of each other.
    ("example_distributed", "plain", "", {}, "aggregation=plain: distributed noise protects"),
    ("client_distributed", "plain", "", {}, "take aggregation=secagg, or a local or central"),
    (
        "client_distributed",
        "secagg",
        "aggregation.min_survivors=0",
        {},
        "aggregation.min_survivors=0: distributed noise is made of the shares",
    ),
    (
        "example_distributed",
        "secagg",
        "aggregation.max_colluding=3",
        {},
        "aggregation.min_survivors=3, max_colluding=3: nobody's noise is left",
    ),
    (
        "client_central",
        "secagg",
        "aggregation.min_survivors=5",
        {},
        "aggregation.min_survivors=5 is more than privacy.population=4",
    ),
    *(
        (option, "secagg", "", {"algorithm": "fedprox"}, "algorithm=fedprox: its term is 0")
        for option in ("example_distributed", "example_central")
    ),
    (
        "client_local",
        "plain",
        "early_stopping.patience=2",
        {},
        "early_stopping.patience=2: it looks at metrics of protected records",
    ),
    # Values.
    *(
        ("client_local", "plain", f"privacy.delta={value}", {}, "must be in (0, 1)")
        for value in (0, 1, -0.1, 1.5, "nan")
    ),
    *(
        ("client_local", "plain", f"privacy.clip_norm={value}", {}, f"privacy.clip_norm={told}")
        for value, told in ((-1, "-1.0: must be in"), (0, "0.0"), ("inf", "inf"))
    ),
    ("client_local", "plain", "privacy.population=1", {}, "privacy.population=1: must be"),
    ("client_local", "plain", "privacy.range_deviations=0", {}, "range_deviations=0.0"),
    (
        "client_local",
        "plain",
        "privacy.epsilon=1",
        {},
        "privacy.epsilon=1.0, privacy.noise_multiplier=2.0: give one of the two",
    ),
    (
        "client_local",
        "plain",
        "privacy.noise_multiplier=null",
        {},
        "privacy.epsilon=None, privacy.noise_multiplier=None: give one of the two",
    ),
    *(
        ("client_local", "plain", f"privacy.noise_multiplier={value}", {}, "must be finite")
        for value in (0, -1, "nan", "inf")
    ),
    (
        "client_local",
        "plain",
        "privacy.noise_multiplier=null privacy.epsilon=-2",
        {},
        "privacy.epsilon=-2.0: must be finite and above 0",
    ),
    *(
        ("example_local", "plain", f"privacy.sampling_rate={value}", {}, "must be in (0, 1]")
        for value in (0, -0.1, 1.1, "nan")
    ),
    (
        "example_local",
        "plain",
        "privacy.expected_batch_size=0",
        {},
        "privacy.expected_batch_size=0.0: must be finite and above 0",
    ),
    ("example_local", "plain", "privacy.max_physical_batch=0", {}, "must be at least 1"),
    ("example_local", "plain", "privacy.grad_sample_mode=fast", {}, "grad_sample_mode"),
    ("client_local", "plain", "privacy.mechanism=skellam", {}, "skellam"),
    ("client_distributed", "secagg", "privacy.mechanism=gaussian", {}, "gaussian"),
    ("client_local", "plain", "privacy.metrics.every=-1", {}, "must not be negative"),
    (
        "client_local",
        "plain",
        "privacy.metrics.every=2",
        {},
        "privacy.metrics.noise_multiplier=0.0: must be above 0, for metrics are released",
    ),
    (
        "client_local",
        "plain",
        "privacy.metrics.loss_clip=0",
        {},
        "privacy.metrics.loss_clip=0.0: must be finite and above 0",
    ),
    (
        "client_local",
        "plain",
        "privacy.adaptive_clip.bit_noise=-1",
        {},
        "privacy.adaptive_clip.bit_noise=-1.0: must be finite and not negative",
    ),
    (
        "client_local",
        "plain",
        "privacy.adaptive_clip.target_quantile=1",
        {},
        "privacy.adaptive_clip.target_quantile=1.0: must be in (0, 1)",
    ),
    (
        "client_local",
        "plain",
        "privacy.adaptive_clip.learning_rate=0",
        {},
        "privacy.adaptive_clip.learning_rate=0.0: must be finite",
    ),
    (
        "client_local",
        "plain",
        "privacy.clip_nrom=1",
        {},
        "privacy.clip_nrom is not a key of this configuration; did you mean privacy.clip_norm?",
    ),
    (
        "example_local",
        "plain",
        "privacy.adaptive_clip.bit_noise=1",
        {},
        "privacy.adaptive_clip",
    ),
]


@pytest.mark.parametrize(("option", "aggregation", "free", "keys", "words"), RULES)
def test_what_gives_no_guarantee_is_refused_when_composed(
    option, aggregation, free, keys, words
):
    with pytest.raises(ConfigError) as info:
        load_config(composing(option, aggregation, free, **keys))
    assert words in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("key", ["delta", "clip_norm", "population"])
@pytest.mark.parametrize("option", ["client_local", "example_central"])
def test_what_a_guarantee_depends_on_has_no_default(option, key):
    words = [w for w in overrides(option).split() if not w.startswith(f"privacy.{key}=")]
    run_config = {"task": "breast_cancer", "privacy": option, "overrides": " ".join(words)}
    with pytest.raises(ConfigError, match=rf"privacy\.{key} has no default and must be given"):
        load_config(run_config)


@pytest.mark.parametrize("key", ["sampling_rate", "expected_batch_size"])
def test_nor_has_what_one_record_depends_on(key):
    words = [w for w in overrides("example_central").split() if key not in w]
    run_config = {"privacy": "example_central", "overrides": " ".join(words)}
    with pytest.raises(ConfigError, match=rf"privacy\.{key} has no default and must be given"):
        load_config(run_config)


def test_fedprox_and_early_stopping_pass_where_they_mean_something():
    load_config(composing("example_local", "plain", algorithm="fedprox"))
    metrics = "privacy.metrics.every=1 privacy.metrics.noise_multiplier=3"
    load_config(composing("client_local", "plain", f"{metrics} early_stopping.patience=2"))


# Planning


def test_every_number_of_colluders_below_t_has_its_epsilon():
    free = "aggregation.min_survivors=4"
    plan = plan_run(load_config(composing("client_distributed", free=free)))
    found = {a.num_colluding: a.epsilon for a in plan.adversaries[1:]}
    assert list(found) == [0, 1, 2, 3]
    spent = list(found.values())
    assert spent == sorted(spent)
    assert plan.adversaries[0].epsilon == found[0]
    assert all(math.isfinite(epsilon) for epsilon in spent)


def test_a_trusted_server_is_said_to_be():
    plan = plan_run(load_config(composing("client_central", "plain")))
    assert plan.adversaries[-1].who == "server, which is trusted"
    assert plan.adversaries[-1].epsilon == math.inf
    assert plan.guarantee["neighbours"] == "one client's contribution replaced by zero"


def test_the_sum_fits_with_next_to_no_chance_of_a_wrap():
    plan = plan_run(load_config(composing("client_distributed")))
    assert plan.modulus["fits"]
    assert plan.modulus["wrap_probability"] < 1e-9
    assert plan.modulus["padded_dimension"] == 32
    assert plan.bytes_up == 4 * 32


def test_no_privacy_is_said_to_be_none():
    plan = plan_run(load_config({"task": "breast_cancer", "aggregation": "plain"}))
    assert (plan.guarantee, plan.adversaries, plan.modulus) == ({}, [], {})
    assert plan.num_trips == 11


@pytest.mark.parametrize(
    ("free", "words"),
    [
        ("aggregation.codec.modulus_bits=8 privacy.population=2000", "modulus_bits"),
    ],
)
def test_what_cannot_be_is_refused(free, words):
    with pytest.raises(PlanError) as info:
        plan_run(load_config(composing("client_distributed", free=free)))
    assert words in str(info.value)


# The command


def told(capsys, *arguments: object) -> list[str]:
    assert main(["plan", *map(str, arguments)]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    return out.out.splitlines()


def complaint(capsys, *arguments: object) -> str:
    assert main(["plan", *map(str, arguments)]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.startswith("tacet: ")
    assert out.err.count("\n") == 1
    return out.err


def as_text(run_config: dict) -> str:
    return " ".join(f"{k}={json.dumps(v)}" for k, v in run_config.items())


def test_the_table_and_the_file_say_the_same(tmp_path, capsys):
    run_config = run_config_of(tmp_path, "client_distributed", "secagg")
    file = tmp_path / "plan.json"
    lines = told(capsys, "--run-config", as_text(run_config), "--json", file)
    values = json.loads(file.read_text())
    assert values == plan_run(load_config(run_config)).to_dict()
    rows = dict(line.split("  ", 1) for line in lines if "  " in line)
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows["task"] == "breast_cancer, 31 parameters"
    assert rows["rounds"] == "3 of fedavg over secagg"
    assert rows["trips"] == "8, one after the other"
    assert rows["a round"] == "124 bytes to a node, 128 bytes from it"
    assert rows["unit"] == "client: one client's contribution replaced by zero"
    assert rows["noise"] == "distributed_discrete_gaussian, multiplier 2"
    assert rows["accountant"] == "rdp, delta 0.001"
    for adversary in values["adversaries"]:
        assert rows[adversary["who"]] == f"{adversary['epsilon']:.6g}"


def test_a_trusted_server_learns_without_bound(tmp_path, capsys):
    run_config = run_config_of(tmp_path, "client_central", "plain")
    file = tmp_path / "plan.json"
    lines = told(capsys, "--run-config", as_text(run_config), "--json", file)
    assert lines[-1].split() == ["server,", "which", "is", "trusted", "unbounded"]
    # Strict JSON has no infinity.
    strict = json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert strict["adversaries"][-1]["epsilon"] is None


def test_without_a_run_config_it_plans_the_default_run(capsys):
    assert any("the model may reveal anything" in line for line in told(capsys))


def test_a_toml_file_is_taken_too(tmp_path, capsys):
    file = tmp_path / "run.toml"
    run_config = run_config_of(tmp_path, "client_local", "plain")
    file.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in run_config.items()))
    assert any(line.startswith("privacy") for line in told(capsys, "--run-config", file))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('privacy="client_locl"', "did you mean client_local?"),
        ('privacy="client_local"', "has no default and must be given"),
        ('privcy="client_local"', "privcy is no key; did you mean privacy?"),
        ('privacy="client_local', "--run-config"),
        ("nowhere.toml", "--run-config"),
    ],
)
def test_a_wrong_run_config_is_one_line(capsys, text, words):
    assert words in complaint(capsys, "--run-config", text)


def test_what_cannot_be_planned_is_one_line(tmp_path, capsys, monkeypatch):
    def with_batch_norm(self):
        return nn.Sequential(nn.Linear(30, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))

    monkeypatch.setattr(BreastCancer, "build_model", with_batch_norm)
    run_config = run_config_of(tmp_path, "example_distributed", "secagg")
    line = complaint(capsys, "--run-config", as_text(run_config))
    assert "BatchNorm1d" in line
    assert "privacy.fix_model=true" in line


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys):
    missing = tmp_path / "no" / "plan.json"
    assert "No such file" in complaint(capsys, "--json", missing)
