"""The local optimisers step as torch's own, bit for bit, and import less."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from tasks.schema import Optimizer, TrainingConfig
from tasks.training.local import initial_model, seed_torch
from tasks.training.optimizer import build_optimizer
from tests import ROOT
from tests.kits.three_classes import Three

CONFIGS = [
    TrainingConfig(learning_rate=0.3),
    TrainingConfig(learning_rate=0.1, momentum=0.9),
    TrainingConfig(learning_rate=0.1, momentum=0.5, weight_decay=0.01),
    TrainingConfig(optimizer=Optimizer.adam, learning_rate=0.01),
    TrainingConfig(optimizer=Optimizer.adam, learning_rate=0.02, weight_decay=0.1),
]


def torchs(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer is Optimizer.adam:
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.SGD(
        model.parameters(), lr=rate, momentum=config.momentum, weight_decay=decay
    )


def trained(build, config: TrainingConfig) -> list[torch.Tensor]:
    seed_torch(5)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 3))
    model[2].weight.requires_grad_(False)
    optimizer = build(model, config)
    for step in range(20):
        optimizer.zero_grad()
        inputs = torch.randn(6, 4)
        # The last layer is not always used, and has no gradient then.
        outputs = model(inputs) if step % 3 else model[:2](inputs)
        outputs.square().mean().backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_step_is_torchs_own_bit_for_bit(config):
    ours, theirs = trained(build_optimizer, config), trained(torchs, config)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_does_not_import_what_compiles_models(optimizer):
    code = f"""
import sys, torch
from tasks.schema import Optimizer, TrainingConfig
from tasks.training.local import seed_torch
from tasks.training.optimizer import build_optimizer
seed_torch(1)
model = torch.nn.Linear(2, 1)
optimizer = build_optimizer(model, TrainingConfig(optimizer=Optimizer.{optimizer}))
for _ in range(2):
    optimizer.zero_grad()
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
print("torch._dynamo" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_the_seed_gives_what_torchs_own_gives_and_leaves_nothing_behind(monkeypatch):
    torch.manual_seed(2**63 + 5)
    expected = torch.randn(3)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", pytest.fail)
    seed_torch(2**63 + 5)
    assert torch.equal(torch.randn(3), expected)
    initial_model(Three())
