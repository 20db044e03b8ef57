import json
import re
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from omegaconf import OmegaConf

import app.builders.run
from app.builders.run import config_hash
from app.config.algorithm import FedAdamConfig, FedProxConfig
from app.config.load import (
    EVERYDAY_KEYS,
    GROUP_KEYS,
    ConfigError,
    load_config,
    option_of,
    options,
    resolved,
    task_config,
    to_yaml,
)
from app.config.plain import to_dict
from tasks.registry import TASKS
from tests import ROOT
from tests.kits.private_options import OVERRIDES


def declared_run_config() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


def test_pyproject_declares_exactly_the_keys_that_are_understood():
    keys = {key.replace("-", "_") for key in declared_run_config()}
    assert keys == {*GROUP_KEYS, *EVERYDAY_KEYS, "overrides"}


def test_declared_defaults_are_the_schema_defaults():
    assert resolved(load_config(declared_run_config())) == resolved(load_config({}))


@pytest.mark.slow
@pytest.mark.parametrize("group", [g for g in GROUP_KEYS if g != "task"])
def test_every_option_composes(group):
    for option in options(group):
        needed = OVERRIDES[option] if group == "privacy" else ""
        load_config({group: option, "overrides": needed})


def test_values_reach_the_typed_config():
    config = load_config(
        {
            "algorithm": "fedprox",
            "num-rounds": 3,
            "seed": 7,
            "deterministic": True,
            "output-dir": "/tmp/it's a=b, [x] {y} \\",
            "overrides": "algorithm.proximal_mu=0.5 task.training.batch_size=8",
        }
    )
    assert isinstance(config.algorithm, FedProxConfig)
    assert config.algorithm.proximal_mu == 0.5
    assert (config.num_rounds, config.seed, config.deterministic) == (3, 7, True)
    assert config.output_dir == "/tmp/it's a=b, [x] {y} \\"
    assert config.task.training.batch_size == 8


def test_free_overrides_may_choose_groups():
    assert isinstance(load_config({"overrides": "algorithm=fedadam"}).algorithm, FedAdamConfig)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run_config", "expected"),
    [
        ({"task": "digitz"}, "task='digitz': no such option; did you mean digits?"),
        ({"task": "digits_schema"}, "no such option"),
        ({"task": "../digits"}, "no such option"),
        ({"overrides": "task=nope"}, "task='nope': no such option"),
        ({"num-round": 3}, "num-round is no key; did you mean num-rounds?"),
        # As `flwr run` refuses it.
        ({"num_rounds": 3}, "num_rounds is no key; did you mean num-rounds?"),
        (
            {"rounds.min_replies": 3},
            'is no key of its own; give it as overrides="rounds.min_replies=3"',
        ),
        ({"algorithm": "fedprox", "overrides": "task.training.num_steps=1"}, "num_steps=1 is"),
        (
            {"overrides": "rounds.min_clients=65536"},
            "rounds.min_clients=65536: must be at most",
        ),
        ({"num-rounds": 0}, "num-rounds=0: must be at least 1"),
        ({"num-rounds": 2.5}, "'2.5' of type 'float' could not be converted to Integer"),
        ({"num-rounds": "x"}, "key: num_rounds"),
        ({"seed": True}, "key: seed"),
        ({"seed": -1}, "seed=-1: must be in [0, 2^63)"),
        ({"overrides": "task.modle=mlp"}, "task.modle is not a key of this configuration"),
        (
            {"task": "breast_cancer", "overrides": "task.modle=mlp"},
            "task.modle is not a key of this configuration; did you mean task.model?",
        ),
        ({"overrides": "task.training.batch_size=abc"}, "task.training.batch_size=abc"),
        ({"overrides": "task.training.batch_size=0"}, "batch_size=0: must be at least 1"),
        (
            {"overrides": "task.training.learning_rate=-1"},
            "learning_rate=-1.0: must be above 0",
        ),
        ({"overrides": "task.partition.alpha=nan"}, "alpha=nan: must be above 0"),
        ({"overrides": "task.test_fraction=1"}, "test_fraction=1.0: must be in [0, 1)"),
        ({"overrides": "rounds.min_replies=0"}, "rounds.min_replies=0: must be at least 1"),
        ({"overrides": "rounds.cohort_fraction=1.5"}, "must be in (0, 1]"),
        ({"overrides": "rounds.deadline_seconds=inf"}, "deadline_seconds=inf"),
        ({"overrides": "rounds.on_client_failure=foo"}, "expected one of [proceed, stop]"),
        ({"overrides": "early_stopping.patience=-1"}, "patience=-1: must not be negative"),
        (
            {"algorithm": "fedprox", "overrides": "algorithm.proximal_mu=0"},
            "proximal_mu=0.0: must be above 0",
        ),
        ({"output-dir": "runs/x"}, "output-dir='runs/x' is relative"),
        ({"resume-from": "x"}, "resume-from='x' is relative"),
        ({"data-dir": "../data"}, "data-dir='../data' is relative"),
        ({"simulation-nodes": "n.yaml"}, "simulation-nodes='n.yaml' is relative"),
        ({"output-dir": "/a", "resume-from": "/b"}, "leave output-dir empty"),
        ({"overrides": "num_rounds=3"}, "give num-rounds as a run config key of its own"),
        ({"overrides": "batch_size"}, "'batch_size' is not of the form key=value"),
        ({"overrides": "=3"}, "is not of the form key=value"),
        ({"overrides": "task.x='"}, "No closing quotation"),
        # A run config names neither code nor anything of the machine it is read on.
        ({"overrides": "seed=${oc.env:HOME}"}, "interpolation is not allowed"),
        ({"output-dir": "${oc.env:HOME}"}, "interpolation is not allowed"),
        ({"overrides": "hydra.run.dir=/tmp"}, "is not a key of this configuration"),
        ({"overrides": "+task._target_=os.system"}, "is not a key of this configuration"),
        ({"overrides": "task._target_=os.system"}, "is not a key of this configuration"),
        ({"overrides": "~task"}, "is not of the form key=value"),
        ({"overrides": "task@privacy=digits"}, "is not a key of this configuration"),
    ],
)
def test_a_wrong_run_config_is_one_clear_line(run_config, expected):
    with pytest.raises(ConfigError) as info:
        load_config(run_config)
    assert expected in str(info.value)
    assert "\n" not in str(info.value)


DRAWN = (
    "rounds.cohort_fraction=0.5 aggregation.identities=true aggregation.peers_file=/p"
    " aggregation.min_survivors=10"
)
SPREAD = f"{DRAWN} rounds.participant_spread=true"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"algorithm": "glm"}, "algorithm=glm"),
        ({"overrides": SPREAD}, "rounds.participant_spread=true"),
        ({"algorithm": "statistics", "num-rounds": 1}, ""),
        ({"algorithm": "fedavg"}, ""),
        ({"algorithm": "glm", "overrides": "rounds.cohort_fraction=0.5"}, ""),
    ],
)
def test_cohorts_of_exact_sums_are_not_drawn(changes, what):
    """Nodes would open the first sum or two, and refuse in the middle of the run."""
    given = {"task": "breast_cancer", "aggregation": "secagg", "num-rounds": 3}
    given |= {"overrides": DRAWN} | changes
    if not what:
        assert load_config(given).rounds.cohort_fraction == 0.5
        return
    with pytest.raises(ConfigError, match=rf"cohort_fraction=0\.5: {what} has sums without"):
        load_config(given)


@pytest.mark.slow
def test_loading_from_many_threads_gives_the_same_config():
    configs = [{"overrides": f"task.training.batch_size={n}"} for n in range(1, 21)]
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(load_config, configs))
    assert [c.task.training.batch_size for c in loaded] == list(range(1, 21))


def test_resolved_yaml_names_the_chosen_options():
    values = yaml.safe_load(to_yaml(load_config({"algorithm": "fedyogi"})))
    assert values["algorithm"]["name"] == "fedyogi"
    assert values["task"]["name"] == "digits"
    assert values["task"]["training"]["optimizer"] == "sgd"


def test_a_changed_yaml_is_read_anew_in_the_same_session(tmp_path, monkeypatch):
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    monkeypatch.setattr("app.config.load.CONF_DIR", conf)
    assert load_config({}).task.training.learning_rate != 0.125
    file = conf / "task" / "digits.yaml"
    text, found = re.subn("learning_rate: .*", "learning_rate: 0.125", file.read_text())
    assert found == 1
    file.write_text(text)
    assert load_config({}).task.training.learning_rate == 0.125


def test_the_hash_of_a_configuration_is_worked_out_once(monkeypatch):
    worked_out = []
    real = app.builders.run.resolved
    monkeypatch.setattr(
        app.builders.run, "resolved", lambda config: worked_out.append(1) or real(config)
    )
    hashes = {config_hash(load_config({"seed": 4242})) for _ in range(5)}
    assert (len(hashes), len(worked_out)) == (1, 1)
    assert config_hash(load_config({"seed": 4243})) not in hashes


@pytest.mark.parametrize(
    "word",
    [
        r"task.training.learning_rate=$\{oc.env\:TACET_SECRET\}",
        r"task.training.learning_rate=${oc.env:TACET_SECRET}",
        r"task.training={learning_rate:$\{oc.env\:TACET_SECRET\}}",
        r"algorithm.workload=$\{oc.env\:TACET_SECRET\}",
    ],
)
def test_no_value_is_looked_up_on_the_machine_that_reads_it(monkeypatch, word):
    """Hydra removes the backslashes after the words were looked at."""
    monkeypatch.setenv("TACET_SECRET", "4711")
    with pytest.raises(ConfigError) as info:
        load_config({"overrides": f"'{word}'"})
    assert "interpolation is not allowed" in str(info.value)
    # Naming the key, however the word hid it.
    assert word.partition("=")[0] in str(info.value)
    assert "4711" not in str(info.value)


def test_a_model_file_looks_nothing_up_either(monkeypatch):
    monkeypatch.setenv("TACET_SECRET", "0.4711")
    with pytest.raises(ConfigError, match="interpolation is not allowed"):
        task_config("digits", {"test_fraction": "${oc.env:TACET_SECRET}"})


#: What these tasks learn from is for the user to say.
BARE = {"csv", "images", "ratings", "series"}


@pytest.mark.slow
@pytest.mark.parametrize("task", [*sorted(set(TASKS) - BARE), "csv_breast_cancer"])
def test_a_configuration_as_dicts_is_what_omegaconf_makes_of_it(task):
    config = load_config({"task": task, "privacy": "none", "num-rounds": 3})
    expected = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert json.dumps(to_dict(config)) == json.dumps(expected)
    assert task_config(option_of(config, "task"), to_dict(config.task)) == config.task


def test_metrics_of_nobody_are_not_paid_for():
    free = (
        "privacy.noise_multiplier=3 privacy.delta=1e-4 privacy.population=4 privacy.clip_norm=1"
        " privacy.metrics.every=1 privacy.metrics.noise_multiplier=3 task.test_fraction=0"
    )
    given = {"task": "breast_cancer", "aggregation": "plain", "privacy": "client_central"}
    with pytest.raises(ConfigError, match="test_fraction=0 holds no records out"):
        load_config(given | {"overrides": free})
    load_config(given | {"overrides": free.replace("task.test_fraction=0", "")})
