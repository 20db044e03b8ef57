"""Where models are trained: what is refused, and that a GPU changes nothing but the machine."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from app import server
from app.builders.workload import build_task, build_workload
from app.config.load import ConfigError, load_config
from app.node import node_log
from app.simulation.in_process import simulate
from strategies.rounds.attempt import RunStoppedError
from tasks.base import ModelRefusedError
from tasks.schema import Device, TrainingConfig
from tasks.training import device as device_module
from tasks.training.device import device_of, name_of, place_of, placed
from tasks.training.local import (
    evaluate,
    get_parameters,
    initial_model,
    outputs_of,
    seed_torch,
    train,
)
from tests.kits.private_kit import (
    composing,
    has_charged,
    run_config_of,
    run_with_ledgers,
    sent_by,
)

HAS_GPU = torch.cuda.is_available()
_CUDA = "task.training.device=cuda"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_it_is_the_cpu(no_gpu):
    assert name_of(device_of(TrainingConfig())) == "the CPU"
    assert name_of(device_of(TrainingConfig(device=Device.cpu))) == "the CPU"


def test_who_asks_for_the_cpu_opens_no_driver(monkeypatch):
    def opened():
        raise AssertionError("the driver was opened")

    monkeypatch.setattr(torch.cuda, "is_available", opened)
    task = build_task(load_config({"overrides": "task.training.device=cpu"}))
    model = initial_model(task)
    train(task, model, task.made_up(8), np.random.default_rng(0), 0.1)
    evaluate(task, model, task.made_up(8))


def test_a_gpu_that_is_not_there_is_refused(no_gpu):
    told = rf"torch {re.escape(torch.__version__)} sees no GPU here; take .*device=auto"
    task = build_task(load_config({"overrides": _CUDA}))
    model = initial_model(task)
    with pytest.raises(ModelRefusedError, match=told):
        device_of(task.config.training)
    with pytest.raises(ModelRefusedError, match=told):
        train(task, model, task.made_up(4), np.random.default_rng(0), 0.0)
    with pytest.raises(ModelRefusedError, match=told):
        evaluate(task, model, task.made_up(4))


@pytest.mark.parametrize("privacy", ["none", "client_central"])
def test_a_simulation_refuses_before_anything_is_sent(no_gpu, tmp_path, privacy):
    config = {"overrides": _CUDA, "output-dir": str(tmp_path / "run")}
    if privacy != "none":
        config = run_config_of(tmp_path, privacy, "plain", _CUDA)
    assert sent_by(config, 4, ConfigError, r"device=cuda: torch .* sees no GPU") == []


def test_a_node_refuses_before_it_charges(no_gpu, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(server, "_check_device", lambda config, workload: None)
    with pytest.raises(RunStoppedError):
        run_with_ledgers(tmp_path, "client_central", "plain", _CUDA)
    assert "sees no GPU here" in caplog.text
    assert not any(has_charged(file) for file in tmp_path.glob("node*/state.sqlite"))


@pytest.mark.parametrize("option", ["example_local", "example_distributed", "example_central"])
def test_where_records_are_hidden_it_is_the_cpu(option, monkeypatch):
    with pytest.raises(ConfigError, match=r"task\.training\.device has no effect here: each"):
        load_config(composing(option, free="task.training.device=cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert build_workload(load_config(composing(option))).device() == ""


def test_a_workload_without_a_network_has_no_choice():
    with pytest.raises(ConfigError, match=r"task\.training\.device has no effect here"):
        load_config({"task": "adult", "algorithm": "ebm", "overrides": _CUDA})
    config = load_config({"task": "adult", "algorithm": "ebm"})
    assert build_workload(config).device() == ""


def test_a_simulation_says_once_where_models_are(no_gpu, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(node_log, "_TOLD", set())
    words = "task.training.num_steps=1"
    config = {"output-dir": str(tmp_path / "run"), "num-rounds": 2, "overrides": words}
    with caplog.at_level("INFO", logger="flwr.tacet"):
        simulate({**config, "aggregation": "plain"}, 3)
    assert {(1, "the CPU")} == node_log._TOLD
    assert caplog.text.count("models are trained and scored on the CPU") == 1


class Shifted(nn.Module):
    """A model with a constant that is a plain tensor, and dropout."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.constant = model, torch.full((1,), 0.5)
        self.dropout = nn.Dropout(0.3)

    def forward(self, inputs):
        shifted = inputs + self.constant if inputs.is_floating_point() else inputs
        return self.dropout(self.model(shifted))


@pytest.mark.skipif(not HAS_GPU, reason="torch sees no GPU here")
@pytest.mark.parametrize(
    ("option", "keys"),
    [
        ("digits", ""),
        ("shakespeare", "task.model=gru task.width=16 task.length=8"),
        ("shakespeare", "task.model=lstm task.width=16 task.length=8"),
        ("shakespeare", "task.model=transformer task.width=16 task.length=8"),
        ("digits", "task.personal=[model.classifier]"),
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_gpu_gives_what_the_cpu_gives(option, keys, optimizer, monkeypatch):
    words = f"{keys} task.training.optimizer={optimizer} task.training.batch_size=8"
    made = build_task(load_config({"task": option, "overrides": words})).build_model

    def trained(place, dropout):
        task = build_task(
            load_config({"task": option, "overrides": f"{words} task.training.device={place}"})
        )
        task.build_model = lambda: Shifted(made())
        model = initial_model(task)
        model.dropout.p = dropout
        seed_torch(3)
        train(task, model, task.made_up(24), np.random.default_rng(0), 0.1)
        assert place_of(model).type == model.constant.device.type == "cpu"
        return task, model

    (task, cpu), (gpu_task, gpu) = trained("cpu", 0.0), trained("cuda", 0.0)
    for name, values in get_parameters(cpu).items():
        np.testing.assert_allclose(get_parameters(gpu)[name], values, atol=2e-3)
    records = task.made_up(12)
    assert evaluate(task, cpu, records)["loss"] == pytest.approx(
        evaluate(gpu_task, gpu, records)["loss"], rel=1e-2
    )
    again = [get_parameters(trained("cuda", 0.3)[1]) for _ in range(2)]
    for name, values in again[0].items():
        np.testing.assert_array_equal(values, again[1][name])
    inputs = task.made_up_inputs(3)
    with placed(gpu, gpu_task.config.training):
        assert place_of(gpu).type == "cuda"
        found = outputs_of(gpu, inputs)
    np.testing.assert_allclose(found, outputs_of(gpu, inputs), atol=1e-4)
    assert not torch.are_deterministic_algorithms_enabled()
    assert "cuda" in name_of(device_module.device_of(gpu_task.config.training))
