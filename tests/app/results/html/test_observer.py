"""The report is drawn while a run goes on, at little cost, and never ends the run."""

import logging
from itertools import pairwise
from pathlib import Path

import pytest

import app.results.html.page
from app.results.html.files import replace_page
from app.results.html.observer import PageObserver
from app.simulation.in_process import simulate
from tests.kits.killed_runs import plain_run
from tests.kits.pages import page_in
from tests.kits.traced import reports_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Drawing:
    """Takes a while, and remembers when it began."""

    def __init__(self, clock: Clock, cost: float) -> None:
        self.clock, self.cost, self.begun = clock, cost, []

    def __call__(self, folder: Path) -> Path:
        self.begun.append(self.clock.now)
        self.clock.now += self.cost
        return folder / "report.html"


def rounds(observer, clock, num, seconds):
    for _ in range(num):
        clock.now += seconds
        observer.round_closed(None)


@pytest.mark.parametrize(("cost", "most"), [(0.01, 5.0), (0.5, 10.0), (3.0, 60.0)])
def test_drawing_takes_a_twentieth_of_the_time_at_most(cost, most):
    clock = Clock()
    drawing = Drawing(clock, cost)
    observer = PageObserver(Path("run"), draw=drawing, clock=clock)
    rounds(observer, clock, 1000, 0.25)
    waits = [after - before for before, after in pairwise(drawing.begun)]
    assert drawing.begun[0] == 120.0
    assert min(waits) >= most
    assert max(waits) <= most + cost + 0.5
    assert cost * len(drawing.begun) <= (clock.now - 100) / 20 + cost


def test_every_end_is_drawn(caplog):
    clock = Clock()
    drawing = Drawing(clock, 9.0)
    observer = PageObserver(Path("run"), draw=drawing, clock=clock)
    with caplog.at_level(logging.INFO, logger="flwr.tacet"):
        observer.failed(ValueError("x"))
        observer.finished(None)
    assert drawing.begun == [100.0, 109.0]
    # A thread of an earlier test may log too.
    told = [message for message in caplog.messages if message.startswith("report")]
    assert told == ["report: run/report.html"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("bug")])
def test_what_fails_in_drawing_is_a_warning_and_ends_no_run(
    tmp_path, monkeypatch, caplog, error
):
    def full(*_):
        raise error

    monkeypatch.setattr(app.results.html.page, "replace_page", full)
    run_config = plain_run(tmp_path)
    with caplog.at_level(logging.WARNING, logger="flwr.tacet"):
        outcome = simulate(run_config, 3, draws_page=True)
    assert outcome.num_rounds == 4
    assert len(reports_of(tmp_path / "run")) == 4
    assert "report.html is not written" in caplog.text
    assert not (tmp_path / "run" / "report.html").exists()


def test_the_last_lines_of_the_log_name_the_report(tmp_path, caplog):
    run_config = plain_run(tmp_path)
    with caplog.at_level(logging.INFO, logger="flwr.tacet"):
        simulate(run_config, 3, draws_page=True)
    assert caplog.messages[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    assert "completed" in page_in(tmp_path / "run").text


def test_a_plan_that_cannot_be_made_is_a_warning(tmp_path, monkeypatch, caplog):
    def unable(_):
        raise RuntimeError("no plan")

    monkeypatch.setattr("app.preflight.plan_file.plan_run", unable)
    with caplog.at_level(logging.WARNING, logger="flwr.tacet"):
        simulate(plain_run(tmp_path), 3, draws_page=True)
    assert "plan.json is not written" in caplog.text
    assert "plan.json is missing" in page_in(tmp_path / "run").text


def test_a_page_is_replaced_whole_and_leaves_nothing_else(tmp_path):
    file = tmp_path / "report.html"
    replace_page(file, "first")
    replace_page(file, "second")
    assert file.read_text() == "second"
    replace_page(file, "half: \ud800")
    assert file.read_text() == "half: ?"
    with pytest.raises(OSError, match="directory"):
        replace_page(tmp_path, "third")
    # That of report.json's, which the server may be writing, is another one.
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
