"""Models that are more than their parameters are refused in every run."""

import pytest
import torch
from torch import nn

from app.builders.workload import build_workload
from app.cli.main import main
from app.config.load import ConfigError, load_config
from tasks.base import ModelRefusedError
from tasks.breast_cancer import BreastCancer
from tasks.training.buffers import refuse_buffers
from tasks.training.local import initial_model
from tests.kits.private_kit import composing, sent_by
from tests.tasks.training.test_record_gradients import choices, task_of


class Scaled(nn.Module):
    """A layer with a constant that is registered as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(8))

    def forward(self, inputs):
        return inputs * self.scale


def with_layer(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(30, 8), layer, nn.Linear(8, 1))


@pytest.mark.parametrize(("name", "keys"), choices())
def test_all_models_of_ours_pass(name, keys, tmp_path):
    refuse_buffers(initial_model(task_of(name, keys, tmp_path)))


@pytest.mark.parametrize(
    "layer", [nn.GroupNorm(2, 8), nn.LayerNorm(8), nn.InstanceNorm1d(8, affine=True)]
)
def test_layers_without_buffers_pass(layer):
    refuse_buffers(with_layer(layer))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (nn.BatchNorm1d(8), r"layer 1 \(BatchNorm1d\): it scales each record by the others"),
        (nn.BatchNorm1d(8, track_running_stats=False), r"layer 1 \(BatchNorm1d\): it scales"),
        (nn.InstanceNorm1d(8, track_running_stats=True), "buffers running_mean, running_var"),
        (Scaled(), r"layer 1 \(Scaled\): it has the buffers scale, which nobody exchanges"),
    ],
)
def test_state_beside_the_parameters_is_refused_by_the_layers_name(layer, says):
    with pytest.raises(ModelRefusedError, match=says) as told:
        refuse_buffers(with_layer(layer))
    assert "write it with GroupNorm or LayerNorm" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.fixture
def batch_norm(monkeypatch):
    monkeypatch.setattr(
        BreastCancer, "build_model", lambda _: with_layer(nn.BatchNorm1d(8)), raising=True
    )


def test_a_run_with_batch_norm_is_refused_before_anything_is_sent(tmp_path, batch_norm):
    run_config = {
        "task": "breast_cancer",
        "aggregation": "plain",
        "output-dir": str(tmp_path / "run"),
    }
    says = r"task=breast_cancer: the model is more than its parameters: layer 1 \(BatchNorm1d\)"
    assert sent_by(run_config, 3, ConfigError, says) == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["client_central", "client_local"])
def test_neither_has_one_that_hides_clients(batch_norm, option):
    workload = build_workload(load_config(composing(option, "plain")))
    with pytest.raises(ModelRefusedError, match=r"layer 1 \(BatchNorm1d\)"):
        workload.initial_state()


def test_a_plan_says_it_too(batch_norm, capsys):
    assert main(["plan", "--run-config", 'task="breast_cancer" aggregation="plain"']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "layer 1 (BatchNorm1d): it scales each record" in line
