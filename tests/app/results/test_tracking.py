"""What MLflow has of a run, and what of MLflow's troubles gets to the run: a line."""

import json
import logging
import os
import socket
import sys
import time
from pathlib import Path

import pytest

import app.server
from app.config.load import ConfigError, load_config
from app.results import tracking
from app.results.events import numbers
from app.results.mlflow_run import MLflowRun
from app.results.run_folder import RunFolderError
from app.results.tracking import RECORD, metric_name, parameters
from app.results.verify import verify
from app.simulation.in_process import InProcessGrid, make_clients, simulate
from strategies.rounds.observer import Observer
from strategies.rounds.transport import PollingGrid
from tests.kits import clinic
from tests.kits.killed_runs import KilledError, resumed, run_until
from tests.kits.mlflow_store import (
    QUIET,
    all_text,
    client_of,
    curves_of,
    new_store,
    runs_of,
    tracked_run,
)
from tests.kits.traced import reports_of

pytestmark = QUIET

AWAY = "gone fishing"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return the address of a store; each test has an experiment of its own."""
    return new_store(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def run_config(tmp_path, store):
    return tracked_run(tmp_path, store)


def warnings_of(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.slow
def test_a_run_is_in_mlflow_as_it_is_in_its_folder(tmp_path, store, run_config, caplog):
    outcome = simulate(run_config, 3, draws_page=True)
    folder = Path(run_config["output-dir"])
    (run,) = runs_of(store, tmp_path)
    assert (run.info.status, run.info.run_name) == ("FINISHED", folder.name)
    found = curves_of(store, run)
    expected = {
        (name, line["round"]): [value]
        for line in reports_of(folder)
        for name, value in numbers(line)
    }
    last = {(f"metrics/{name}", 5): [value] for name, value in outcome.metrics.items()}
    assert found == expected | last
    assert {name for name, _ in found} >= {"train_loss", "seconds", "bytes_up", "metrics/auc"}
    client = client_of(store)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"report.html", "metrics.jsonl", "summary.json", "config.yaml"}
    for name in ("report.html", "metrics.jsonl", "summary.json"):
        copy = client.download_artifacts(run.info.run_id, name, str(tmp_path))
        assert Path(copy).read_bytes() == (folder / name).read_bytes()
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
    (version,) = client.search_model_versions(f"name='m-{tmp_path.name}'")
    assert version.run_id == run.info.run_id
    assert not warnings_of(caplog)


def test_parameters_are_the_configuration(tmp_path, store, run_config):
    simulate(run_config, 3)
    (run,) = runs_of(store, tmp_path)
    assert run.data.params == parameters(load_config(run_config))
    assert run.data.params["task"] == "breast_cancer"
    assert run.data.params["task.training.num_steps"] == "3"
    assert "output_dir" not in run.data.params


def test_parameters_of_any_table_are_of_a_bounded_length(own_conf):
    names = {f"column {place}": {"min": 0, "max": 1} for place in range(400)}
    label = {"column": "ill", "classes": ["no", "yes"]}
    import yaml

    (own_conf / "task" / "wide.yaml").write_text(
        yaml.safe_dump(clinic.task_yaml("ill") | {"numeric": names, "label": label})
    )
    found = parameters(load_config({"task": "wide"}))
    assert found["task.numeric"].startswith('{"column 0"')
    assert max(map(len, found.values())) < 600
    assert len(found) < 100


@pytest.mark.slow
def test_epsilon_is_a_curve(tmp_path, store):
    free = (
        "privacy=example_distributed aggregation.min_survivors=3 aggregation.max_colluding=0"
        " privacy.noise_multiplier=5 privacy.delta=1e-3 privacy.clip_norm=0.25"
        " privacy.population=3 privacy.sampling_rate=1 privacy.expected_batch_size=455"
    )
    run_config = tracked_run(tmp_path, store, free=free, algorithm="fedavg")
    run_config["overrides"] = run_config["overrides"].replace("task.training.num_steps=3 ", "")
    simulate({**run_config, "aggregation": "secagg", "deterministic": False}, 3)
    (run,) = runs_of(store, tmp_path)
    found = curves_of(store, run)
    epsilons = [found["privacy/epsilon", step][0] for step in (1, 2, 3, 4)]
    assert 0 < epsilons[0] < epsilons[3]


def test_a_resumed_run_goes_on_in_the_same_run_of_mlflow(tmp_path, store, run_config):
    run_until(run_config, 2)
    folder = Path(run_config["output-dir"])
    (run,) = runs_of(store, tmp_path)
    assert run.info.status == "FAILED"
    assert {step for _, step in curves_of(store, run)} == {1, 2}
    before = (folder / RECORD).read_text()
    simulate(resumed(run_config, **{"num-rounds": 5}), 3)
    (run,) = runs_of(store, tmp_path)
    assert (run.info.status, (folder / RECORD).read_text()) == ("FINISHED", before)
    found = curves_of(store, run)
    assert {step for _, step in found} == {1, 2, 3, 4, 5, 6}
    assert all(len(values) == 1 for values in found.values())
    # MLflow keeps what a parameter was at first.
    assert run.data.params["num_rounds"] == "4"
    assert run.data.tags["resumed.num_rounds"] == "5"
    verify(folder)


def test_rounds_that_mlflow_lacks_are_told_when_a_run_is_resumed(tmp_path, store, run_config):
    untracked = {**run_config, "tracking": "none", "overrides": "task.training.num_steps=3"}
    run_until(untracked, 2)
    assert not runs_of(store, tmp_path)
    simulate(resumed(run_config), 3)
    (run,) = runs_of(store, tmp_path)
    assert {step for _, step in curves_of(store, run)} == {1, 2, 3, 4, 5}


def test_a_run_that_was_deleted_in_mlflow_has_a_new_one(tmp_path, store, run_config):
    run_until(run_config, 2)
    (old,) = runs_of(store, tmp_path)
    client_of(store).delete_run(old.info.run_id)
    simulate(resumed(run_config), 3)
    (run,) = runs_of(store, tmp_path)
    assert run.info.run_id != old.info.run_id
    assert {step for _, step in curves_of(store, run)} == {1, 2, 3, 4, 5}


def test_a_record_that_cannot_be_read_is_named(run_config):
    run_until(run_config, 1)
    file = Path(run_config["output-dir"]) / RECORD
    file.write_text("{")
    with pytest.raises(RunFolderError, match=f"{file}: .*remove it and MLflow gets a new run"):
        simulate(resumed(run_config), 3)


def test_a_run_that_is_interrupted_is_killed(tmp_path, store, run_config):
    class Interrupts(Observer):
        def round_closed(self, closed):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(run_config, 3, observers=(Interrupts(),))
    (run,) = runs_of(store, tmp_path)
    assert run.info.status == "KILLED"


def test_a_run_that_flower_stops_is_killed(tmp_path, store, run_config):
    handlers = []

    class Stops(Observer):
        def round_closed(self, closed):
            if closed.report.round == 2:
                started = time.monotonic()
                for handler in reversed(handlers):
                    handler()
                # Flower gives all handlers five seconds.
                assert time.monotonic() - started < 4
                raise SystemExit

    clients = make_clients(run_config, 3)
    grid = PollingGrid(InProcessGrid(clients), settle_seconds=0)
    config = load_config(run_config)
    with pytest.raises(SystemExit):
        app.server.run(grid, config, 1, True, (Stops(),), at_exit=handlers.append)
    (run,) = runs_of(store, tmp_path)
    assert run.info.status == "KILLED"
    folder = Path(run_config["output-dir"])
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"


class Absent:
    """A client of MLflow that raises what MLflow does when a server is away."""

    def __init__(self, client) -> None:
        self._client, self.is_away, self.num_refused = client, False, 0

    def __getattr__(self, name):
        if self.is_away:
            from mlflow.exceptions import MlflowException

            self.num_refused += 1
            raise MlflowException(AWAY)
        return getattr(self._client, name)


@pytest.fixture
def absent(monkeypatch):
    """Return what the run's client is put behind."""
    found = []
    real = MLflowRun.connect

    def connect(config):
        run = real(config)
        run.client = Absent(run.client)
        found.append(run.client)
        return run

    monkeypatch.setattr(tracking.MLflowRun, "connect", connect)
    return found


class Watches(Observer):
    """Sends the client away after a round, and has it back after another."""

    def __init__(self, found, leaves, returns=0) -> None:
        self.found, self.leaves, self.returns = found, leaves, returns

    def round_closed(self, closed):
        number = closed.report.round
        if number in (self.leaves, self.returns):
            self.found[-1].is_away = number == self.leaves
        # The thread of the observer is to notice.
        time.sleep(0.5)


def test_a_server_that_goes_away_costs_a_warning(run_config, absent, caplog):
    outcome = simulate(run_config, 3, observers=(Watches(absent, leaves=2),))
    assert outcome.num_rounds == 4
    said = warnings_of(caplog)
    assert len(said) == 1
    assert AWAY in said[0]
    assert "the run goes on" in said[0]
    assert absent[0].num_refused > 1
    folder = Path(run_config["output-dir"])
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"


def test_a_server_that_comes_back_is_told_everything(
    tmp_path, store, run_config, absent, caplog
):
    simulate(run_config, 3, observers=(Watches(absent, leaves=1, returns=3),))
    (run,) = runs_of(store, tmp_path)
    assert run.info.status == "FINISHED"
    found = curves_of(store, run)
    assert {step for _, step in found} == {1, 2, 3, 4, 5}
    assert all(len(values) == 1 for values in found.values())
    assert len(warnings_of(caplog)) == 1


@pytest.mark.slow
def test_a_server_that_is_slow_does_not_slow_the_rounds(run_config, monkeypatch):
    real = MLflowRun.log

    def log(self, points):
        time.sleep(2)
        real(self, points)

    monkeypatch.setattr(MLflowRun, "log", log)
    simulate(run_config, 3)
    lines = reports_of(Path(run_config["output-dir"]))
    assert sum(line["seconds"] for line in lines[1:]) < 2


def test_a_run_waits_a_bounded_time_for_mlflow(run_config, monkeypatch, caplog):
    monkeypatch.setattr(tracking, "_LAST_SECONDS", 1.0)
    monkeypatch.setattr(MLflowRun, "log", lambda self, points: time.sleep(20))
    started = time.monotonic()
    assert simulate(run_config, 3).num_rounds == 4
    assert time.monotonic() - started < 15
    (said,) = warnings_of(caplog)
    assert "has not taken everything in time" in said


def refused(run_config, store) -> str:
    """Return why a run is refused, before any client is asked for anything."""

    def never(message):
        raise AssertionError("a client was asked")

    with pytest.raises(ConfigError) as info:
        simulate(run_config, 3, dict.fromkeys((1, 2, 3), never))
    assert not Path(run_config["output-dir"]).exists()
    return str(info.value)


def test_a_server_that_cannot_be_reached_is_refused_before_the_run(
    tmp_path, store, monkeypatch
):
    for name in ("MAX_RETRIES", "BACKOFF_FACTOR"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    started = time.monotonic()
    said = refused(tracked_run(tmp_path, f"http://127.0.0.1:{port}"), store)
    assert said.startswith(f"tracking.uri='http://127.0.0.1:{port}': MLflow cannot be used")
    assert said.endswith("or take tracking=none")
    assert "\n" not in said
    assert time.monotonic() - started < 20


def test_something_else_at_that_address_is_refused(tmp_path, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "MLflow cannot be used there" in refused(tracked_run(tmp_path, uri), store)


def test_a_deleted_experiment_is_named(tmp_path, store, run_config):
    client = client_of(store)
    client.delete_experiment(client.create_experiment(tmp_path.name))
    said = refused(run_config, store)
    assert said.startswith(f"tracking.experiment='{tmp_path.name}': was deleted in MLflow")


def test_a_missing_package_is_named(run_config, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = refused(run_config, store)
    assert said.startswith("tracking=mlflow: MLflow is not installed where the server runs")
    assert "pip install 'mlflow>=" in said
    # On PyPI another project has that name.
    assert "tacet[" not in said


def test_nodes_need_no_mlflow(run_config, store, monkeypatch):
    """The nodes of a run that is tracked answer without it."""
    real = make_clients(run_config, 3)

    def without(client):
        def answer(message):
            with monkeypatch.context() as patch:
                for name in [n for n in list(sys.modules) if n.partition(".")[0] == "mlflow"]:
                    patch.delitem(sys.modules, name)
                patch.setitem(sys.modules, "mlflow", None)
                return client(message)

        return answer

    clients = {node: without(client) for node, client in real.items()}
    assert simulate(run_config, 3, clients).num_rounds == 4


def test_the_environment_names_the_store_where_no_key_does(tmp_path, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    run_config = tracked_run(tmp_path, store)
    free = [word for word in run_config["overrides"].split() if "tracking.uri" not in word]
    simulate({**run_config, "overrides": " ".join(free)}, 3)
    assert len(runs_of(store, tmp_path)) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:correct-horse@127.0.0.1")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI") as info:
        simulate({**run_config, "overrides": " ".join(free)}, 3)
    assert "correct-horse" not in str(info.value)


def test_without_any_address_the_store_is_a_file_beside_the_runs(
    tmp_path, store, monkeypatch, run_config
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".tacet").mkdir()
    (tmp_path / ".tacet" / "mlflow.db").write_bytes(
        Path(store.removeprefix("sqlite:///")).read_bytes()
    )
    free = [word for word in run_config["overrides"].split() if "tracking.uri" not in word]
    simulate({**run_config, "overrides": " ".join(free)}, 3)
    uri = f"sqlite:///{tmp_path}/.tacet/mlflow.db"
    (run,) = runs_of(uri, tmp_path)
    assert run.info.artifact_uri.startswith(f"file://{tmp_path}/.tacet/mlflow-artifacts/")


def test_nothing_of_the_environment_gets_to_mlflow(tmp_path, store, run_config, monkeypatch):
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", f"secret-{name}")
    monkeypatch.setenv("USER", "secret-user")
    monkeypatch.setenv("LOGNAME", "secret-user")
    simulate(run_config, 3)
    assert len(runs_of(store, tmp_path)) == 1
    assert "secret-" not in all_text(Path(store.removeprefix("sqlite:///")))


def test_mlflow_tells_its_makers_nothing(store, run_config, monkeypatch):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    simulate(run_config, 3)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    from mlflow.telemetry import get_telemetry_client
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()
    assert get_telemetry_client() is None


def test_other_names_stay_other_names():
    found = [metric_name(f"metrics/recall_{name}") for name in (">50K", "<=50K", "50K")]
    assert len(set(found)) == 3
    assert metric_name("metrics/auc") == "metrics/auc"


@pytest.mark.parametrize("name", ["n/", "//", "a//b", "../..", "/", "a/./b", "a/b", ".", "%"])
def test_mlflow_takes_the_name_of_any_class(name):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(metric_name(f"metrics/recall_{name}"))


def test_curves_that_mlflow_refuses_leave_the_rest_and_an_end(
    tmp_path, store, run_config, monkeypatch, caplog
):
    def log(self, points):
        raise ValueError("a name that MLflow does not take")

    monkeypatch.setattr(MLflowRun, "log", log)
    simulate(run_config, 3)
    (run,) = runs_of(store, tmp_path)
    assert run.info.status == "FINISHED"
    client = client_of(store)
    assert "summary.json" in {one.path for one in client.list_artifacts(run.info.run_id)}
    assert client.search_model_versions(f"name='m-{tmp_path.name}'")
    assert len(warnings_of(caplog)) == 1


def test_tables_are_files_and_no_model(tmp_path, store):
    free = f"tracking.uri={store} tracking.experiment={tmp_path.name}"
    run_config = {"task": "breast_cancer", "algorithm": "statistics", "tracking": "mlflow"}
    simulate({**run_config, "output-dir": str(tmp_path / "run"), "overrides": free}, 3)
    (run,) = runs_of(store, tmp_path)
    client = client_of(store)
    assert run.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert "report.json" in files
    assert not run.outputs or not run.outputs.model_outputs


def test_a_program_that_uses_mlflow_itself_is_left_alone(tmp_path, store, run_config):
    import mlflow

    before = mlflow.get_tracking_uri()
    simulate(run_config, 3)
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_a_failure_in_the_run_is_one_in_mlflow(tmp_path, store, run_config):
    with pytest.raises(KilledError):
        run_until_error(run_config)
    (run,) = runs_of(store, tmp_path)
    assert run.info.status == "FAILED"
    files = {file.path for file in client_of(store).list_artifacts(run.info.run_id)}
    assert "summary.json" in files


def run_until_error(run_config):
    class Fails(Observer):
        def round_closed(self, closed):
            raise KilledError

    simulate(run_config, 3, observers=(Fails(),))
