"""MLflow's own server and pages: what they show of a run, and a server that is killed."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from app.api import load_model
from app.simulation.in_process import simulate
from strategies.rounds.observer import Observer
from tests.kits.mlflow_store import QUIET, tracked_run
from tests.kits.traced import reports_of

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900)]

_START_SECONDS, _PAGE_SECONDS = 240, 180


class Server:
    """`mlflow server` on a free port, with a store and artifacts of its own.

    Parameters
    ----------
    folder : Path
        Of both.
    """

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        self._log = folder / "server.log"
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        environment.pop("PYTHONPATH", None)
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(self._log.read_text())

    def kill(self) -> None:
        """End it with its workers, as a machine that goes down does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def get(self, path: str, **query: str) -> dict:
        """Return what its HTTP API answers."""
        asked = f"{self.uri}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)

    def page(self, folder: Path, path: str) -> str:
        """Return a page of its UI as headless Chromium has it after all scripts."""
        chromium = shutil.which("chromium")
        if chromium is None:
            pytest.skip("chromium is not installed")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1500,1400"]
        # With a picture, figures are drawn that are drawn when they come into view.
        options += ["--virtual-time-budget=30000", "--run-all-compositor-stages-before-draw"]
        options += [f"--user-data-dir={folder / 'chromium'}", "--dump-dom"]
        done = subprocess.run(
            [chromium, *options, f"--screenshot={folder / 'page.png'}", f"{self.uri}/#/{path}"],
            capture_output=True,
            text=True,
            timeout=_PAGE_SECONDS,
            check=True,
        )
        return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("server"))
    try:
        found.wait()
        yield found
    finally:
        found.kill()


@pytest.fixture(scope="module")
def ended(tmp_path_factory, server):
    """Return the folder of a run that the server has, and the name of its model."""
    folder = tmp_path_factory.mktemp("ended")
    run_config = tracked_run(folder, server.uri)
    simulate(run_config, 3, draws_page=True)
    return Path(run_config["output-dir"]), f"m-{folder.name}"


def test_the_pages_show_the_curves_and_the_registered_model(tmp_path, server, ended):
    folder, name = ended
    record = json.loads((folder / "mlflow.json").read_text())
    run_id = record["run_id"]

    told = server.get("runs/get", run_id=run_id)["run"]
    experiment_id = told["info"]["experiment_id"]
    assert told["info"]["status"] == "FINISHED"
    for metric in ("train_loss", "seconds", "bytes_up", "num_replies"):
        history = server.get("metrics/get-history", run_id=run_id, metric_key=metric)["metrics"]
        found = {point["step"]: point["value"] for point in history}
        assert found == {line["round"]: line[metric] for line in reports_of(folder)}
    files = server.get("artifacts/list", run_id=run_id)["files"]
    assert {file["path"] for file in files} >= {"report.html", "metrics.jsonl", "summary.json"}
    version = server.get("model-versions/get", name=name, version="1")["model_version"]
    assert (version["run_id"], version["status"]) == (run_id, "READY")

    page = server.page(tmp_path, f"experiments/{experiment_id}/runs/{run_id}/model-metrics")
    for metric in ("metrics/accuracy", "metrics/auc", "metrics/loss", "metrics/auc_se"):
        # Below a figure, which has a line through its points.
        assert f"run ({metric})" in page
    assert page.count("js-line") >= 4
    overview = server.page(tmp_path, f"experiments/{experiment_id}/runs/{run_id}")
    assert name in overview
    assert "Finished" in overview
    registry = server.page(tmp_path, f"models/{name}")
    assert name in registry
    assert "Version 1" in registry


def test_the_registered_model_is_loaded_from_the_server(server, ended):
    import mlflow
    import pandas
    from sklearn.datasets import load_breast_cancer

    folder, name = ended
    model = load_model(folder)
    values = load_breast_cancer().data[:20]
    rows = pandas.DataFrame(values, columns=[c.name for c in model.task.table.columns])
    before = mlflow.get_tracking_uri()
    try:
        mlflow.set_tracking_uri(server.uri)
        found = mlflow.pyfunc.load_model(f"models:/{name}/1").predict(rows)
    finally:
        mlflow.set_tracking_uri(before)
    assert list(found["prediction"]) == list(model.predict(rows).prediction)
    expected = model.predict(rows).probabilities
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), expected)


# The last: no test after it has a server.
def test_a_server_that_is_killed_does_not_end_or_delay_the_run(tmp_path, server, caplog):
    class Kills(Observer):
        def round_closed(self, closed):
            if closed.report.round == 2:
                server.kill()

    run_config = tracked_run(tmp_path, server.uri)
    folder = Path(run_config["output-dir"])
    started = time.monotonic()
    assert simulate(run_config, 3, observers=(Kills(),)).num_rounds == 4
    assert time.monotonic() - started < 120
    lines = reports_of(folder)
    assert [line["round"] for line in lines] == [1, 2, 3, 4]
    assert sum(line["seconds"] for line in lines[2:]) < 10
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    said = [line for line in said if "does not take what it is told" in line]
    assert len(said) == 1
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
