"""Event files for TensorBoard. The compose test shows them to TensorBoard itself."""

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from app.results.events import EventsObserver
from app.simulation.in_process import simulate
from strategies.rounds.observer import Observer
from tests.kits.killed_runs import plain_run
from tests.kits.traced import reports_of


def events_of(folder: Path) -> list[Event]:
    """Return all events of a run, file by file, each record's length first."""
    found = []
    for file in sorted((folder / "events").iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def curves(folder: Path) -> dict[tuple[str, int], float]:
    """Return what TensorBoard shows: what comes after a new start replaces what was there."""
    found: dict[tuple[str, int], float] = {}
    for event in events_of(folder):
        if event.HasField("session_log"):
            found = {key: value for key, value in found.items() if key[1] < event.step}
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
    return found


def test_every_number_of_a_round_is_a_curve(tmp_path):
    run_config = plain_run(tmp_path)
    outcome = simulate(run_config, 3)
    folder = Path(run_config["output-dir"])
    found = curves(folder)
    for line in reports_of(folder):
        for name, value in line["metrics"].items():
            assert found[f"metrics/{name}", line["round"]] == pytest.approx(value)
        assert found["num_replies", line["round"]] == 3
    last = outcome.num_rounds + 1
    assert found["metrics/accuracy", last] == pytest.approx(outcome.metrics["accuracy"])


def test_a_resumed_run_has_each_round_once(tmp_path):
    run_config = plain_run(tmp_path)
    folder = Path(run_config["output-dir"])

    class Stops(Observer):
        def round_closed(self, closed):
            if closed.report.round == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(run_config, 3, observers=(Stops(),))
    first = curves(folder)
    assert {step for _, step in first} == {1, 2}
    del run_config["output-dir"]
    simulate({**run_config, "resume-from": str(folder)}, 3)
    found = curves(folder)
    assert {step for _, step in found} == {1, 2, 3, 4, 5}
    assert all(found[key] == value for key, value in first.items())


def test_a_file_that_cannot_be_written_ends_no_run(tmp_path, caplog):
    run_config = plain_run(tmp_path)
    folder = Path(run_config["output-dir"])
    folder.mkdir()
    (folder / "events").write_text("in the way")
    assert simulate(run_config, 3).num_rounds == 4
    assert "no event file" in caplog.text


def test_nothing_is_written_before_a_round(tmp_path):
    EventsObserver(tmp_path).failed(RuntimeError())
    assert not list(tmp_path.iterdir())
