"""What `python -m app.simulation` says about a run that did not end well."""

import http.server
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import app.simulation.__main__
import app.simulation.superlink
from app.results.summary import take_lock
from app.simulation.flwr_run import flwr_run, read_summary, summary_time
from app.simulation.folders import new_folder
from app.simulation.superlink import SimulationError


def write_summary(folder, **values):
    folder.mkdir(exist_ok=True)
    summary = {"status": "completed", "num_rounds": 2, "metrics": {"accuracy": 0.5}} | values
    (folder / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def no_superlink(monkeypatch):
    @contextmanager
    def fake(home):
        yield {}

    monkeypatch.setattr(app.simulation.__main__, "superlink", fake)


def run_main(monkeypatch, run_config, flwr_run):
    monkeypatch.setattr(app.simulation.__main__, "flwr_run", flwr_run)
    monkeypatch.setattr(sys, "argv", ["simulation", run_config])
    app.simulation.__main__.main()


def refused(*_, **__):
    return "Traceback"


@pytest.mark.parametrize("key", ["output-dir", "resume-from"])
def test_an_old_summary_does_not_pass_for_the_run(no_superlink, monkeypatch, tmp_path, key):
    folder = tmp_path / "run"
    write_summary(folder)
    with pytest.raises(SystemExit, match="left nothing in"):
        run_main(monkeypatch, f'{key}="{folder}"', refused)


def test_a_new_summary_is_the_run(no_superlink, monkeypatch, tmp_path, capsys):
    folder = tmp_path / "run"
    write_summary(folder)
    os.utime(folder / "summary.json", ns=(0, 0))

    def done(*_, **__):
        write_summary(folder, num_rounds=4)

    run_main(monkeypatch, f'resume-from="{folder}"', done)
    assert "completed: 4 rounds, accuracy 0.5000" in capsys.readouterr().out


def test_a_failed_run_says_why(tmp_path):
    write_summary(tmp_path, status="failed", reason="OSError: full")
    with pytest.raises(SimulationError, match="failed: OSError: full"):
        read_summary(tmp_path)
    assert summary_time(tmp_path / "nothing") is None


def test_the_exit_status_of_flwr_run_counts(no_superlink, monkeypatch, tmp_path):
    tool = tmp_path / "flwr"
    tool.write_text("#!/bin/sh\necho no such connection\nexit 3\n")
    tool.chmod(0o755)
    monkeypatch.setattr(app.simulation.flwr_run, "tool", lambda name: str(tool))
    with pytest.raises(SimulationError, match="exit status 3; no such connection"):
        flwr_run(dict(os.environ), "", num_clients=2)
    with pytest.raises(SystemExit, match="exit status 3; see its output above"):
        run_main(monkeypatch, f'output-dir="{tmp_path / "run"}"', flwr_run)


def test_a_malformed_run_config_is_one_clear_line():
    command = [sys.executable, "-m", "app.simulation", "task=heart"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        "run config 'task=heart': task=heart: text stands in double quotes: task=\"heart\""
    )


# Folders


def test_runs_that_start_in_one_second_have_folders_of_their_own(
    no_superlink, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(app.simulation.folders.time, "strftime", lambda _: "20260101-000000")
    given = []

    def done(_, run_config, *__, **___):
        given.append(run_config)
        write_summary(Path(run_config.split('"')[1]))

    for _ in range(2):
        run_main(monkeypatch, "num-rounds=2", done)
    runs = tmp_path / ".tacet" / "runs"
    names = ["20260101-000000", "20260101-000000-2"]
    assert given == [f'output-dir="{runs / name}" num-rounds=2' for name in names]
    told = capsys.readouterr().out
    assert all(f"run folder: {runs / name}\n" in told for name in names)


def test_two_threads_never_make_one_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_folder(tmp_path / "runs"), range(40)))
    assert len(set(made)) == 40


def test_a_run_that_is_refused_leaves_no_folder(no_superlink, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit, match="left nothing in"):
        run_main(monkeypatch, "num-rounds=2", refused)
    assert list((tmp_path / ".tacet" / "runs").iterdir()) == []


def test_a_folder_that_another_run_is_writing_is_told_as_that(tmp_path):
    write_summary(tmp_path, status="running")
    with take_lock(tmp_path), pytest.raises(SimulationError, match="another process is still"):
        read_summary(tmp_path)
    with pytest.raises(SimulationError, match="failed: its process was killed"):
        read_summary(tmp_path)


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Running:
    def poll(self):
        return None


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch, tmp_path):
    # Nothing listens on port 9: through it the server would not be found.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "intern.example")
    monkeypatch.setattr(app.simulation.superlink, "_START_SECONDS", 5)
    (tmp_path / "log").write_text("")
    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            port = server.server_address[1]
            app.simulation.superlink._wait_until_healthy(Running(), port, tmp_path / "log")
        finally:
            server.shutdown()
    environment = app.simulation.superlink.flower_environment(tmp_path)
    assert environment["no_proxy"] == "intern.example,127.0.0.1,localhost"
    assert environment["NO_PROXY"] == environment["no_proxy"]


_ASKED = """
import json, sys, ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)

@ray.remote
class Worker:
    def answer(self, size):
        return bytes(size)

def is_in_shared_memory(size):
    reply = worker.answer.remote(size)
    ray.wait([reply])
    return bool(ray.experimental.get_object_locations([reply])[reply]["node_ids"])

worker = Worker.remote()
print(json.dumps([is_in_shared_memory(int(size)) for size in sys.argv[1:]]))
"""


@pytest.mark.slow
def test_rays_messages_of_a_roster_go_in_the_call_itself(tmp_path):
    # The name of the setting is Ray's: with a wrong one it says nothing, and is slower.
    environment = app.simulation.superlink.simulation_environment(tmp_path)
    limit = app.simulation.superlink.RAY_INLINE_BYTES
    command = [sys.executable, "-c", _ASKED, str(limit // 2), str(2 * limit)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [False, True]


def test_what_a_user_tells_ray_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_max_direct_call_object_size", "100000")
    environment = app.simulation.superlink.simulation_environment(tmp_path)
    assert environment["RAY_max_direct_call_object_size"] == "100000"
