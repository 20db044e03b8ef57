"""A run that begins with the model of another one: what is taken, told, added and refused."""

import fcntl
import json
import logging
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.app import Context

from app import server
from app.cli.main import main
from app.config.load import ConfigError, load_config
from app.results import same_meaning, starting_model
from app.results.html.compliance import privacy_record
from app.results.html.gather import gather
from app.results.html.page import write_page
from app.results.initial_model import read_initial_model
from app.results.model_file import read_model
from app.results.run_folder import RunFolderError
from app.results.run_log import hash_of
from app.results.summary import RUNNING, write_summary
from app.results.verify import VerificationError, verify
from app.simulation import in_process
from app.simulation.in_process import make_clients, simulate
from tests.kits.killed_runs import resumed, run_until
from tests.kits.private_kit import policy, write_policy
from workloads.values import State

PLAIN = {
    "task": "breast_cancer",
    "aggregation": "plain",
    "num-rounds": 2,
    "overrides": "task.training.num_steps=1",
}
PRIVATE = {
    "task": "breast_cancer",
    "aggregation": "secagg",
    "privacy": "example_distributed",
    "num-rounds": 2,
    "overrides": "aggregation.min_survivors=3 privacy.noise_multiplier=2 privacy.delta=1e-4"
    " privacy.population=3 privacy.sampling_rate=1 privacy.expected_batch_size=455",
}


def begun(folder, run_config, number=3, **changes):
    """Run; return the folder."""
    simulate({**run_config, "output-dir": str(folder), **changes}, number)
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return begun(tmp_path_factory.mktemp("first") / "run", PLAIN)


@pytest.fixture(scope="module")
def second(tmp_path_factory, first):
    folder = tmp_path_factory.mktemp("second") / "run"
    return begun(folder, PLAIN, **{"initial-model": str(first)})


@pytest.fixture(scope="module")
def paid(tmp_path_factory):
    return begun(tmp_path_factory.mktemp("paid") / "run", PRIVATE)


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_first_round_asks_about_that_model(first, second):
    """Nodes score it before they train: what they say is what the first run said of it."""
    before, now = summary_of(first), lines_of(second / "metrics.jsonl")[0]
    assert now["metrics"] == before["metrics"]


@pytest.mark.parametrize("algorithm", ["fedadam", "fedavgm", "qfedavg"])
def test_another_algorithm_steps_on_from_it(tmp_path, first, algorithm):
    changes = {"initial-model": str(first), "algorithm": algorithm}
    folder = begun(tmp_path / "run", PLAIN, **changes)
    now = lines_of(folder / "metrics.jsonl")[0]
    assert now["metrics"] == summary_of(first)["metrics"]


def test_the_folder_and_its_log_say_what_it_began_with(first, second):
    model, head = hash_of(first / "model.safetensors"), verify(first).head
    begin = lines_of(second / "log.jsonl")[0]["initial"]
    assert begin["model"] == model
    assert begin["file"] == hash_of(second / "initial-model.json")
    (run,) = begin["runs"]
    assert (run["model"], run["head"]) == (model, f"{head.size}:{head.root}")
    assert summary_of(second)["initial_model"]["runs"] == [run]
    assert "initial-model.json" in "".join(verify(second).lines)


def test_a_third_run_names_both_before_it(tmp_path, first, second):
    third = begun(tmp_path / "run", PLAIN, **{"initial-model": str(second)})
    runs = read_initial_model(third).runs
    assert [run.model for run in runs] == [
        hash_of(folder / "model.safetensors") for folder in (second, first)
    ]
    assert runs[1:] == read_initial_model(second).runs


def test_a_change_of_what_it_began_with_is_found(tmp_path, second):
    copy = shutil.copytree(second, tmp_path / "copy")
    file = copy / "initial-model.json"
    file.write_bytes(file.read_bytes().replace(b'"num_rounds":2', b'"num_rounds":1'))
    with pytest.raises(VerificationError, match=r"initial-model\.json"):
        verify(copy)


@pytest.mark.slow
def test_epsilons_add(tmp_path, paid):
    second = begun(tmp_path / "second", PRIVATE, **{"initial-model": str(paid)})
    third = begun(tmp_path / "third", PRIVATE, **{"initial-model": str(second)})
    spent = [summary_of(folder)["privacy"] for folder in (paid, second, third)]
    told = summary_of(third)["initial_model"]
    for name in ("epsilon", "epsilon_model_only"):
        due = sum(one[name] for one in spent)
        assert told[f"{name}_with_initial_model"] == pytest.approx(due, rel=1e-12)
    assert told["delta_with_initial_model"] == pytest.approx(3e-4)
    assert told["epsilon_with_initial_model"] > 2.9 * spent[0]["epsilon"]
    page, record = write_page(third).read_text(), privacy_record(gather(third))
    shown = f"epsilon {told['epsilon_with_initial_model']:.4g} at delta"
    for text in (page, record):
        assert "This run and the 2 before it together" in text
        assert shown in text
        assert hash_of(second / "model.safetensors") in text


@pytest.mark.slow
def test_a_ledger_charges_both(tmp_path, monkeypatch):
    """The ledger is of the data set, whatever model a run begins with."""
    file = write_policy(
        tmp_path / "policy.yaml", policy("example_distributed", max_epsilon=1000)
    )
    nodes = [
        {"policy-file": str(file), "state-path": str(tmp_path / f"{node}.sqlite")}
        for node in range(3)
    ]
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))
    config = {**PRIVATE, "simulation-nodes": str(tmp_path / "nodes.yaml")}
    charged = []
    runs = ("a", 1, {}), ("b", 2, {"initial-model": str(tmp_path / "a")})
    for name, run_id, more in runs:
        # Two runs have two ids, by which a ledger tells what it has charged already.
        monkeypatch.setattr(in_process, "run", partial(as_run, run_id))
        monkeypatch.setattr(in_process, "Context", partial(context_of, run_id))
        begun(tmp_path / name, config, **more)
        charged.append(spent_of(tmp_path / "0.sqlite"))
    assert charged[1] == 2 * charged[0]
    assert charged[0] > 0


def as_run(number, grid, config, run_id, **more):
    return server.run(grid, config, number, **more)


def context_of(number, run_id, **more):
    return Context(run_id=number, **more)


def spent_of(file):
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT count(*) FROM ledger_charges").fetchone()[0]


def test_a_model_without_privacy_is_warned_of(tmp_path, first, caplog):
    with caplog.at_level(logging.WARNING, "flwr.tacet"):
        folder = begun(tmp_path / "run", PRIVATE, **{"initial-model": str(first)})
    assert "does not cover the records" in caplog.text
    told = summary_of(folder)["initial_model"]
    assert told["epsilon_with_initial_model"] is None
    assert "1 of 2 runs had no differential privacy" in told["no_sum_because"]
    page, record = write_page(folder).read_text(), privacy_record(gather(folder))
    for text in (page, record):
        assert "own epsilon is not all that was released" in text
    assert "not covered" in page


@pytest.mark.parametrize("num_rounds", [0, 1])
def test_a_resumed_run_knows_what_it_began_with(tmp_path, first, num_rounds):
    config = {
        **PLAIN,
        "deterministic": True,
        "initial-model": str(first),
        "output-dir": str(tmp_path / "run"),
    }
    whole = {**config, "output-dir": str(tmp_path / "whole")}
    simulate(whole, 3)
    run_until(config, num_rounds)
    simulate(resumed({k: v for k, v in config.items() if k != "initial-model"}), 3)
    assert hash_of(tmp_path / "run" / "initial-model.json") == hash_of(
        tmp_path / "whole" / "initial-model.json"
    )
    models = [read_model(tmp_path / name / "model.safetensors") for name in ("run", "whole")]
    assert models[0].hash == models[1].hash
    assert summary_of(tmp_path / "run")["initial_model"]["runs"]
    verify(tmp_path / "run")


def test_a_run_that_had_no_round_begins_with_the_same_model_or_not_at_all(tmp_path, first):
    copy = shutil.copytree(first, tmp_path / "first")
    config = {**PLAIN, "initial-model": str(copy), "output-dir": str(tmp_path / "run")}
    run_until(config, 0)
    shutil.rmtree(copy)
    begun(copy, PLAIN, **{"num-rounds": 3})
    again = resumed({k: v for k, v in config.items() if k != "initial-model"})
    with pytest.raises(ConfigError, match="has changed since"):
        simulate(again, 3)
    verify(tmp_path / "run")
    (tmp_path / "run" / "initial-model.json").write_text("{}")
    with pytest.raises(VerificationError, match=r"initial-model\.json: not as it was logged"):
        verify(tmp_path / "run")
    with pytest.raises((ConfigError, RunFolderError), match="put the file back"):
        simulate(again, 3)


def refused(run_config) -> str:
    """Begin a run in which nobody may be asked for anything; return why it is refused."""

    def never(message):
        raise AssertionError("a client was asked")

    clients = dict.fromkeys(make_clients(run_config, 3), never)
    with pytest.raises(ConfigError) as found:
        simulate(run_config, 3, clients)
    assert "\n" not in str(found.value)
    assert "initial-model=" in str(found.value)
    return str(found.value)


def beginning(folder, tmp_path, **changes):
    given = {"output-dir": str(tmp_path / "refused"), "initial-model": str(folder)}
    return {**PLAIN, **given, **changes}


OTHER = [
    ({"task": "digits"}, "its task is breast_cancer, this run's digits"),
    ({"seed": 7}, "seed was 0, now 7"),
    (
        {"overrides": "task.model=mlp"},
        "task.model was 'logistic', now 'mlp'",
    ),
    ({"overrides": "task.test_fraction=0.3"}, "task.test_fraction was 0.2, now 0.3"),
]


@pytest.mark.parametrize(("changes", "why"), OTHER)
def test_a_model_of_another_task_is_refused(tmp_path, first, changes, why):
    assert why in refused(beginning(first, tmp_path, **changes))
    assert not (tmp_path / "refused").exists()


AFRESH = {
    "glm": "does not depend on where it begins",
    "cox": "does not depend on where it begins",
    "statistics": "tables of counts and no model",
    "kaplan_meier": "tables of counts and no model",
    "ebm": "what its own first ones have counted",
    "gbdt": "what its own first ones have counted",
    "forest": "what its own first ones have counted",
    "tree": "what its own first ones have counted",
}


@pytest.mark.parametrize("algorithm", AFRESH)
def test_some_algorithms_begin_afresh(tmp_path, first, algorithm):
    told = refused_config(beginning(first, tmp_path, algorithm=algorithm, overrides=""))
    assert f"algorithm={algorithm}: " in told
    assert AFRESH[algorithm] in told
    assert "take initial-model out" in told


def refused_config(run_config) -> str:
    with pytest.raises(ConfigError) as found:
        load_config(run_config)
    return str(found.value)


def test_a_resumed_run_has_a_model_already(tmp_path, first):
    given = beginning(first, tmp_path, **{"output-dir": "", "resume-from": str(first)})
    assert "take initial-model out" in refused_config(given)
    assert "is relative" in refused_config(beginning("a/run", tmp_path))


def test_a_model_of_trees_is_none_of_parameters(tmp_path):
    folder = begun(
        tmp_path / "trees",
        {**PLAIN, "algorithm": "gbdt", "overrides": "algorithm.max_depth=2"},
        **{"num-rounds": 3},
    )
    assert "it is of algorithm=gbdt" in refused(beginning(folder, tmp_path))


def test_a_folder_without_a_model_is_refused(tmp_path, first):
    assert "there is no such folder" in refused(beginning(tmp_path / "none", tmp_path))
    copy = shutil.copytree(first, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    assert "no round of that run has closed" in refused(beginning(copy, tmp_path))


def test_a_run_that_goes_on_or_was_changed_is_refused(tmp_path, first):
    copy = shutil.copytree(first, tmp_path / "copy")
    summary = summary_of(copy)
    with (copy / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_summary(copy, summary | {"status": RUNNING})
        assert "wait for its end, or stop it" in refused(beginning(copy, tmp_path))
    write_summary(copy, summary)
    model = copy / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    told = refused(beginning(copy, tmp_path))
    assert "model.safetensors: not as it was logged" in told


CHANGED = [
    (
        lambda model: {"state": State({**model.state.arrays, "more": np.zeros(2, np.float32)})},
        "that model has an array 'more', which this run's has not",
    ),
    (
        lambda model: {"state": State({n: a[..., :1] for n, a in model.state.arrays.items()})},
        "shape (1, 1), and of this run float32 of shape (1, 30)",
    ),
    (
        lambda model: {
            "state": State({n: a.astype(np.float64) for n, a in model.state.arrays.items()})
        },
        "is float64 of shape",
    ),
    (
        lambda model: {"state": State({n: a * np.nan for n, a in model.state.arrays.items()})},
        "is not finite",
    ),
    (lambda model: {"fixed": True}, "privacy.fix_model was true, now false"),
]


@pytest.mark.parametrize(("change", "why"), CHANGED)
def test_arrays_of_another_form_are_named(tmp_path, first, monkeypatch, change, why):
    def changed(path):
        model = read_model(path)
        return replace(model, **change(model))

    monkeypatch.setattr(starting_model, "read_model", changed)
    assert why in refused(beginning(first, tmp_path))


def test_columns_are_compared_with_their_bounds_and_order():
    column, other = {"min": 0.0, "max": 90.0}, {"min": 0.0, "max": 1.0}
    one = {"numeric": {"age": column, "bmi": other}, "label": {"classes": ["a", "b"]}}
    model = replace(MODEL, config=one)
    config = load_config(PLAIN)

    def told(numeric):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(same_meaning, "to_dict", lambda _: {**one, "numeric": numeric})
            return same_meaning.meaning_objection(model, config)

    wider = {"age": {**column, "max": 100.0}, "bmi": other}
    assert "task.numeric.age.max was 90.0, now 100.0" in told(wider)
    assert "task.numeric.bmi was" in told({"age": column})
    assert "task.numeric has its names in another order" in told({"bmi": other, "age": column})


MODEL = starting_model.ModelFile(
    workload="model_update",
    task="breast_cancer",
    config={},
    seed=0,
    fixed=False,
    num_rounds=1,
    state=State({}),
)


def plan(capsys, **changes):
    words = [f'{key}="{value}"' for key, value in changes.items()]
    status = main(["plan", "--run-config", " ".join(words)])
    told = capsys.readouterr()
    return status, told.out + told.err


def test_a_plan_says_what_a_run_begins_with(capsys, first, paid):
    private = {k: v for k, v in PRIVATE.items() if k != "num-rounds"}
    status, told = plan(capsys, **private, **{"initial-model": paid})
    assert status == 0
    assert f"begins with {paid}: only the model is taken, not the optimiser's state" in told
    assert "with the 1 before it: epsilon" in told
    status, told = plan(capsys, **private, **{"initial-model": first})
    assert (status, "warning: 1 of 2 runs had no differential privacy" in told) == (0, True)
    status, told = plan(capsys, task="digits", **{"initial-model": first})
    assert (status, "its task is breast_cancer" in told) == (2, True)
    status, told = plan(capsys, **{"initial-model": Path("/not/here")})
    assert (status, "it is not on this machine" in told) == (0, True)
