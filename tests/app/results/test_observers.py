"""The observers of the round loop: what they are told, when, and what their errors do."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from app.builders.run import RunFacts, build_cohort_rng, build_settings, build_strategy
from app.builders.workload import build_workload
from app.config.load import load_config
from app.results.model_file import load_checkpoint
from app.results.observers import FolderObserver, LogObserver
from app.results.run_folder import RunFolder
from app.simulation.in_process import InProcessGrid
from strategies.rounds.loop import RoundLoop
from strategies.rounds.observer import Observer
from strategies.rounds.records import to_record
from strategies.rounds.report import RoundReport
from strategies.rounds.transport import PollingGrid
from workloads.scoring.bins import score_bins
from workloads.values import Contribution, State

NODES = (11, 12, 13)
START = {"w": np.zeros(3, np.float32)}
EVALUATION = {"eval_num_examples": 1.0, "eval_loss": 1.0, "eval_accuracy": 0.5} | dict.fromkeys(
    score_bins(10, is_private=False).names, 0.0
)


AT_THE_END = -1


class Listener(Observer):
    """Remembers what it was told; raises at a round, if asked."""

    def __init__(self, raises_at: int = 0) -> None:
        self.closed, self.outcomes, self.errors = [], [], []
        self._raises_at = raises_at

    def round_closed(self, closed):
        self.closed.append(closed)
        if closed.report.round == self._raises_at:
            raise OSError("full")

    def finished(self, outcome):
        self.outcomes.append(outcome)
        if self._raises_at == AT_THE_END:
            raise OSError("full")

    def failed(self, error):
        self.errors.append(error)
        if self._raises_at:
            raise OSError("still full")


def answer(message: Message) -> Message:
    training = message.metadata.message_type == "train"
    update = np.full(3 if training else 0, 0.5, np.float32)
    sums = EVALUATION | ({"num_examples": 1.0, "train_loss": 1.0} if training else {})
    return Message(to_record(Contribution(update, sums)), reply_to=message)


def config_of(tmp_path, **keys):
    run_config = {"algorithm": "fedavgm", "aggregation": "plain", "num-rounds": 3}
    return load_config(run_config | {"output-dir": str(tmp_path / "run")} | keys)


def run_loop(config, observers, checkpoint=None, client=answer):
    strategy = build_strategy(config, RunFacts(1, len(NODES), build_workload(config), 3))
    grid = PollingGrid(InProcessGrid(dict.fromkeys(NODES, client)))
    settings, rng = build_settings(config, simulated=True), build_cohort_rng(config)
    loop = RoundLoop(strategy, grid, settings, rng, observers)
    return loop.run(State(dict(START)), checkpoint)


def lines_of(config) -> list[dict]:
    text = (Path(config.output_dir) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def summary_of(config) -> dict:
    return json.loads((Path(config.output_dir) / "summary.json").read_text())


def test_all_observers_see_the_same_rounds_and_the_same_outcome(tmp_path):
    first, second = Listener(), Listener()
    outcome = run_loop(config_of(tmp_path), (first, second))
    assert [closed.report.round for closed in first.closed] == [1, 2, 3]
    for one, other in zip(first.closed, second.closed, strict=True):
        assert one is other
    assert first.outcomes == second.outcomes == [outcome]
    assert first.errors == second.errors == []
    np.testing.assert_array_equal(first.closed[0].state.arrays["w"], [0.5] * 3)
    assert list(first.closed[0].kept) == ["momentum_vector/w"]


def test_an_error_at_the_end_is_told_to_all(tmp_path):
    first, second = Listener(raises_at=AT_THE_END), Listener()
    with pytest.raises(OSError, match="full"):
        run_loop(config_of(tmp_path), (first, second))
    assert [str(error) for error in second.errors] == ["full"]


@pytest.mark.parametrize("name", ["metrics", "failures", "privacy", "stage_seconds"])
def test_no_observer_can_change_a_report_or_an_outcome(tmp_path, name):
    given = {"key": 1.0}
    report = RoundReport(1, 0.5, 3, 3, None, 0, given, {1: "no_answer"}, {"epsilon": 1.0})
    given["key"] = 2.0
    assert report.metrics == {"key": 1.0}
    with pytest.raises(TypeError, match="does not support item assignment"):
        getattr(report, name)["key"] = 3.0
    with pytest.raises(AttributeError):
        setattr(report, name, {})
    if name in ("metrics", "privacy"):
        outcome = run_loop(config_of(tmp_path), ())
        with pytest.raises(TypeError, match="does not support item assignment"):
            getattr(outcome, name)["key"] = 3.0


def test_the_line_of_the_history_is_as_it_was():
    report = RoundReport(1, 0.5, 3, 2, None, 0, {"loss": 1.0}, {1: "no_answer"}, {"unit": "x"})
    assert json.dumps(report.to_dict()) == (
        '{"round": 1, "seconds": 0.5, "num_asked": 3, "num_replies": 2, "train_loss": null,'
        ' "evaluated_round": 0, "metrics": {"loss": 1.0}, "failures": {"1": "no_answer"},'
        ' "privacy": {"unit": "x"}, "bytes_down": null, "bytes_up": null, "stage_seconds": {},'
        ' "took_part": [], "published": {}}'
    )


def test_a_round_is_on_disk_before_its_log_line_and_before_the_next(tmp_path):
    config, seen = config_of(tmp_path), []
    path = Path(config.output_dir)

    def num_kept() -> tuple[int, int]:
        checkpoint = path / "checkpoint.safetensors"
        return len(lines_of(config)), load_checkpoint(checkpoint)[0]

    def client(message):
        number = message.content["config"]["server-round"]
        if message.metadata.dst_node_id == NODES[0] and number > 1:
            seen.append(("asked", number, *num_kept()))
        return answer(message)

    class Handler(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("round "):
                seen.append(("line", int(record.getMessage().split("/")[0][5:]), *num_kept()))

    handler, logger = Handler(), logging.getLogger("flwr.tacet")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with RunFolder.create(path, config) as folder:
            run_loop(config, (FolderObserver(folder), LogObserver(3, path)), client=client)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert seen == [
        ("line", 1, 1, 1),
        ("asked", 2, 1, 1),
        ("line", 2, 2, 2),
        ("asked", 3, 2, 2),
        ("line", 3, 3, 3),
        ("asked", 4, 3, 3),
    ]
    assert summary_of(config)["status"] == "completed"


@pytest.mark.parametrize(("is_first", "num_kept"), [(True, 1), (False, 2)])
def test_an_observer_that_raises_stops_the_run_with_the_rounds_before_kept(
    tmp_path, is_first, num_kept
):
    config, raises, other = config_of(tmp_path), Listener(raises_at=2), Listener()
    with RunFolder.create(Path(config.output_dir), config) as folder:
        keeps = FolderObserver(folder)
        observers = (raises, keeps, other) if is_first else (keeps, raises, other)
        # What it raises when told of the failure hides neither the failure nor the others.
        with pytest.raises(OSError, match=r"^full$"):
            run_loop(config, observers)
    assert [line["round"] for line in lines_of(config)] == list(range(1, num_kept + 1))
    summary = summary_of(config)
    assert (summary["status"], summary["reason"]) == ("failed", "OSError: full")
    assert [str(error) for error in other.errors] == ["full"]
    assert [closed.report.round for closed in other.closed] == [1]
    assert other.outcomes == []


def test_a_resumed_loop_goes_on_from_what_its_observer_kept(tmp_path):
    config = config_of(tmp_path)
    straight = run_loop(config, ())
    with RunFolder.create(Path(config.output_dir), config) as folder, pytest.raises(OSError):
        run_loop(config, (FolderObserver(folder), Listener(raises_at=2)))
    listener = Listener()
    folder, checkpoint = RunFolder.resume(Path(config.output_dir), config)
    with folder:
        outcome = run_loop(config, (FolderObserver(folder), listener), checkpoint)
    assert [closed.report.round for closed in listener.closed] == [3]
    np.testing.assert_array_equal(outcome.arrays["w"].numpy(), straight.arrays["w"].numpy())


def test_a_checkpoint_of_another_algorithm_is_told_as_a_failure(tmp_path):
    config = config_of(tmp_path)
    with RunFolder.create(Path(config.output_dir), config) as folder:
        run_loop(config, (FolderObserver(folder),))
    folder, checkpoint = RunFolder.resume(Path(config.output_dir), config)
    folder.__exit__()
    listener = Listener()
    with pytest.raises(ValueError, match="is not of FedAvg"):
        run_loop(config_of(tmp_path, algorithm="fedavg"), (listener,), checkpoint)
    assert [type(error) for error in listener.errors] == [ValueError]


def test_every_round_tells_the_model_that_the_run_would_give_now(tmp_path):
    listener = Listener()
    config = config_of(tmp_path, overrides="algorithm.average_from=2")
    outcome = run_loop(config, (listener,))
    models = [closed.state.arrays["w"] for closed in listener.closed]
    published = [closed.published.arrays["w"] for closed in listener.closed]
    np.testing.assert_array_equal(published[0], models[0])
    np.testing.assert_array_equal(published[1], models[1])
    np.testing.assert_allclose(published[2], (models[1] + models[2]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(outcome.arrays["w"].numpy(), published[2])
