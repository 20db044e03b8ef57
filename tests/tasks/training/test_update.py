"""How far a model has moved from the arrays that it was loaded from."""

import numpy as np
import pytest
import torch
from torch import nn

from tasks.training.local import get_parameters, set_parameters, update_of
from workloads.model_arrays import flatten


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("sent", [np.float32, np.float64])
def test_an_update_is_what_was_trained_minus_what_was_loaded(dtype, sent):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype)
    rng = np.random.default_rng(1)
    named = get_parameters(model)
    # In another order than the model's, and with digits that it has no place for.
    before = {
        name: rng.normal(size=p.shape).astype(sent) for name, p in reversed(named.items())
    }
    set_parameters(model, before)
    loaded = flatten(get_parameters(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.7)
    due = flatten(get_parameters(model)) - loaded
    found = update_of(model, before)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, due)


def test_a_parameter_that_does_not_travel_is_not_in_it():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert update_of(model, get_parameters(model)).tolist() == [0.0] * 6
