"""Sums that no honest contributions give: the run says so, and the model stays."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from app.simulation.in_process import make_clients, simulate
from strategies.codec.exact_codecs import FixedPointCodec
from strategies.codec.private_codec import PrivateCodec
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.strategy import RoundStrategy
from tests.kits.private_kit import run_config_of
from tests.kits.secure_kit import secure_run
from tests.kits.traced import with_faults

LIAR = 1002


def lying(run_config, num_nodes: int, cls, change, monkeypatch) -> dict:
    """Return clients of which one lies from the second round on, in what it encodes."""
    clients = make_clients(run_config, num_nodes)
    honest, real = cls.encode, clients[LIAR]

    def encode(codec, contribution, context):
        return change(codec, *honest(codec, contribution, context))

    def lie(message):
        kind = message.metadata.message_type
        if kind != "train" or message.content["config"]["server-round"] < 2:
            return real(message)
        with monkeypatch.context() as patched:
            patched.setattr(cls, "encode", encode)
            return real(message)

    return clients | {LIAR: lie}


def with_sum(name: str, value: float):
    def change(codec, update, scalars):
        scalars = scalars.copy()
        scalars[codec.scalar_names.index(name)] = np.uint64(int(value * 2**20) % 2**64)
        return update, scalars

    return change


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("num_examples", -1e5, "a weight of"),
        ("num_examples", 1e9, "a weight of"),
        ("eval_accuracy", 3334.0, "eval_accuracy of 3"),
        ("eval_accuracy", -500.0, "eval_accuracy of -"),
        ("eval_num_examples", 3.5, "which is no count"),
        ("num_diverged", 40.0, "num_diverged of 40"),
    ],
)
def test_an_impossible_scalar_is_named_and_the_model_stays(
    tmp_path, monkeypatch, name, value, says
):
    run_config = secure_run(tmp_path)
    clients = lying(run_config, 4, FixedPointCodec, with_sum(name, value), monkeypatch)
    with pytest.raises(RunStoppedError, match="contribution is not possible") as told:
        simulate(run_config, 4, clients)
    assert says in str(told.value)
    assert "nobody can tell whose" in str(told.value)
    assert "training diverged" not in str(told.value)
    lines = (Path(run_config["output-dir"]) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1]


def test_a_client_longer_than_its_clip_norm_is_seen(tmp_path, monkeypatch):
    run_config = run_config_of(tmp_path, "client_distributed", "secagg")

    def change(codec, update, scalars):
        # Half of the modulus, which holds the clip norms of all and their noise.
        return update + update.dtype.type(2 ** (codec.modulus_bits - 1)), scalars

    clients = lying(run_config, 4, PrivateCodec, change, monkeypatch)
    with pytest.raises(RunStoppedError, match="an update of norm"):
        simulate(run_config, 4, clients)


@pytest.mark.parametrize("option", ["client_distributed", "client_central"])
def test_an_honest_private_sum_is_never_called_impossible(tmp_path, option):
    assert simulate(run_config_of(tmp_path, option, "secagg"), 4).num_rounds == 3


@pytest.mark.parametrize("aggregation", ["secagg", "plain"])
def test_a_model_that_does_not_change_ends_the_run_as_converged(tmp_path, caplog, aggregation):
    logging.getLogger("flwr").addHandler(caplog.handler)
    run_config = secure_run(tmp_path) | {"aggregation": aggregation}
    run_config["overrides"] += " task.training.learning_rate=1e-30"
    outcome = simulate(run_config, 4)
    assert outcome.stopped_early
    assert outcome.num_rounds == 1
    assert outcome.metrics["accuracy"] >= 0
    assert "round 1 left the model as it was" in caplog.text
    assert "model_repeated" not in caplog.text


def test_a_grid_that_is_coarser_than_the_updates_is_told_as_that(tmp_path, caplog):
    """Their sum rounds to zero: nodes would refuse the same model as an attack."""
    logging.getLogger("flwr").addHandler(caplog.handler)
    run_config = secure_run(tmp_path)
    run_config["overrides"] += " aggregation.codec.modulus_bits=8"
    run_config["overrides"] += " task.training.learning_rate=1e-3"
    outcome = simulate(run_config, 4)
    assert (outcome.stopped_early, outcome.num_rounds) == (True, 1)
    assert "below the codec's grid" in caplog.text
    assert "aggregation.codec.modulus_bits" in caplog.text
    assert "model_repeated" not in caplog.text


@pytest.mark.parametrize(("average_from", "is_scored_apart"), [(1, True), (0, False)])
def test_a_published_average_is_scored_though_the_last_model_did_not_change(
    tmp_path, monkeypatch, average_from, is_scored_apart
):
    """The scores in the last round are of the last model, which is another one."""
    step, kinds = RoundStrategy.step, []

    def stand_still(self, number, state, aggregate):
        return state if number == 3 else step(self, number, state, aggregate)

    def watched(message, real):
        kinds.append(message.metadata.message_type)
        return real(message)

    monkeypatch.setattr(RoundStrategy, "step", stand_still)
    run_config = secure_run(tmp_path) | {"algorithm": "fedavgm", "num-rounds": 5}
    run_config["overrides"] += f" algorithm.average_from={average_from}"
    outcome = simulate(run_config, 4, with_faults(run_config, 4, watched))
    assert outcome.num_rounds == 3
    assert outcome.metrics["accuracy"] > 0
    assert ("evaluate" in kinds) is is_scored_apart
