"""Models that mix their records are refused, with Opacus' reasons, and mended where it can."""

import numpy as np
import pytest
import torch
from opacus.layers import DPGRU, DPLSTM
from torch import nn

from tasks.base import ModelRefusedError
from tasks.training.local import initial_model
from tasks.training.model_check import admit_model, check_model, fix_model
from tests.kits.per_record import clipped_sum, reference
from tests.kits.three_classes import Three, three
from tests.tasks.training.test_record_gradients import choices, task_of


def with_norm(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), norm, nn.ReLU(), nn.Linear(8, 3))


class OwnNorm(nn.BatchNorm1d):
    """A subclass, which Opacus does not know."""


class Buffered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_scale", torch.ones(5))
        self.layer = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.layer(inputs * self.running_scale)


@pytest.mark.parametrize(("name", "keys"), choices())
def test_all_models_of_ours_are_admitted(name, keys, tmp_path):
    model = initial_model(task_of(name, keys, tmp_path))
    assert check_model(model) == check_model(model.eval()) == []
    assert admit_model(model) is model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            with_norm(nn.BatchNorm1d(8)),
            r"layer 1 \(BatchNorm1d\): BatchNorm cannot support training with differential",
        ),
        # Opacus itself lets these two pass.
        (with_norm(nn.BatchNorm1d(8, affine=False)), r"layer 1 .*BatchNorm cannot support"),
        (with_norm(OwnNorm(8)), r"layer 1 \(OwnNorm\): BatchNorm cannot support"),
        (
            nn.InstanceNorm1d(8, affine=True, track_running_stats=True),
            r"\(the model\) \(InstanceNorm1d\): .*running stats",
        ),
        (Buffered(), r"\(the model\) \(Buffered\): it has the buffers running_scale"),
    ],
)
def test_models_that_mix_records_are_refused_with_reasons(model, message):
    with pytest.raises(ModelRefusedError, match=message) as refused:
        admit_model(model)
    assert "privacy.fix_model=true" in str(refused.value)
    assert "GroupNorm" in str(refused.value)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (with_norm(nn.BatchNorm1d(8)), nn.GroupNorm),
        (
            with_norm(
                nn.Sequential(
                    nn.Unflatten(1, (2, 4)),
                    nn.InstanceNorm1d(2, affine=True, track_running_stats=True),
                    nn.Flatten(),
                )
            ),
            nn.InstanceNorm1d,
        ),
    ],
)
def test_fixed_models_are_admitted_and_train(model, kind):
    fixed = admit_model(model, fix=True)
    assert any(isinstance(layer, kind) for layer in fixed.modules())
    assert fixed is not model
    assert list(fixed.buffers()) == []
    # Names and shapes stay: server and nodes mend alike and exchange the same arrays.
    names = {name: p.shape for name, p in model.named_parameters()}
    assert {name: p.shape for name, p in fixed.named_parameters()} == names
    examples = three(6)
    found = clipped_sum(Three(), fixed, examples, np.arange(6), 0.5)
    expected = reference(Three(), fixed, examples, range(6), 0.5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_fixing_leaves_the_original_alone():
    model = with_norm(nn.BatchNorm1d(8))
    fix_model(model)
    assert isinstance(model[1], nn.BatchNorm1d)


def test_what_opacus_cannot_fix_is_refused_after_it():
    with pytest.raises(ModelRefusedError, match="has replaced what Opacus can"):
        admit_model(with_norm(nn.BatchNorm1d(8, affine=False)), fix=True)


def gradients_of(layer, record):
    """Return the gradients of what a recurrent layer says at the last place."""
    layer.zero_grad()
    layer(record)[0][:, -1].square().sum().backward()
    return {name: parameter.grad for name, parameter in layer.named_parameters()}


@pytest.mark.parametrize(
    ("layer", "twin"),
    [
        (nn.LSTM(5, 3, 2, batch_first=True), DPLSTM(5, 3, 2, batch_first=True)),
        (nn.GRU(5, 3, batch_first=True), DPGRU(5, 3, batch_first=True)),
    ],
)
def test_recurrent_layers_have_the_gradients_of_opacus_twins(layer, twin):
    """Opacus refuses them for its hooks' sake, and here each record goes through alone."""
    layer, twin = layer.double(), twin.double()
    twin.load_state_dict(layer.state_dict())
    admit_model(layer)
    for seed in range(3):
        torch.manual_seed(seed)
        record = torch.randn(1, 7, 5, dtype=torch.float64)
        found, due = (gradients_of(one, record) for one in (layer, twin))
        assert found.keys() == due.keys()
        for name, gradient in due.items():
            torch.testing.assert_close(found[name], gradient)
