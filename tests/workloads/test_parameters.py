"""Parameters of every shape and dtype: exchanged, or refused by their names."""

import numpy as np
import pytest
import torch
from torch import nn

from app.builders.workload import build_workload
from app.config.load import load_config
from app.preflight.run_plan import PlanError, plan_run
from app.simulation.in_process import simulate
from tasks.breast_cancer import BreastCancer

CONFIG = {"task": "breast_cancer", "aggregation": "secagg", "num-rounds": 2}


class Scaled(nn.Module):
    """A linear model times one number, a parameter without a dimension."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.linear = nn.Linear(30, 1)
        self.scale = nn.Parameter(torch.ones((), dtype=dtype))

    def forward(self, inputs):
        scale = self.scale.real if self.scale.is_complex() else self.scale
        return self.linear(inputs) * scale.to(inputs.dtype)


def test_a_parameter_without_a_dimension_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(BreastCancer, "build_model", lambda self: Scaled())
    # At the task's own rate a product of parameters may overshoot in the last step.
    calm = {"overrides": "task.training.learning_rate=0.05"}
    outcome = simulate(CONFIG | calm | {"output-dir": str(tmp_path / "run")}, 3)
    scale = outcome.state.arrays["scale"]
    assert scale.shape == ()
    assert scale != np.float32(1)
    assert outcome.metrics["accuracy"] > 0.8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("privacy", ["none", "example_central"])
def test_a_dtype_that_is_not_exchanged_is_refused_by_name(monkeypatch, dtype, privacy):
    monkeypatch.setattr(BreastCancer, "build_model", lambda self: Scaled(dtype))
    name = str(dtype).removeprefix("torch.")
    free = (
        "privacy.noise_multiplier=3 privacy.delta=1e-4 privacy.population=4"
        " privacy.sampling_rate=1 privacy.expected_batch_size=400"
    )
    given = CONFIG | {"aggregation": "plain", "privacy": privacy}
    config = load_config(given | ({"overrides": free} if privacy != "none" else {}))
    with pytest.raises(PlanError, match=f"parameter scale is {name}, .* give it one of these"):
        plan_run(config)
    with pytest.raises(ValueError, match=f"parameter scale is {name}"):
        build_workload(config).initial_state()
