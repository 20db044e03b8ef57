"""Weights pruned to 0 and rounded to int8, and networks that have none to give."""

import numpy as np
import pytest
import torch
from torch import nn

from tasks.smaller import NotSmallerError, prune_weights, round_weights, rounded
from tasks.training.model_check import fix_model


def test_a_channel_of_zeros_stays_zero():
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        model[0].weight[0] = 0
    assert round_weights(model) == (6, 2)
    outputs = model(torch.ones(1, 3))
    assert outputs[0, 0] == 0
    assert outputs[0, 1] != 0
    # 0 / 0 is no number, and what it is as an int8 is the machine's choice.
    _, scales = rounded(model[0], "weight")
    assert (scales > 0).all()


@pytest.mark.parametrize("smaller", [round_weights, lambda model: prune_weights(model, 0.5)])
def test_a_network_without_weights_of_layers_is_refused(smaller):
    with pytest.raises(NotSmallerError, match="no linear, convolutional, recurrent"):
        smaller(nn.Sequential(nn.LayerNorm(3), nn.Embedding(4, 5)))


@pytest.mark.parametrize("smaller", [round_weights, lambda model: prune_weights(model, 0.5)])
@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_network_with_a_number_that_is_none_is_refused(smaller, name, value):
    broken = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))
    getattr(broken[1], name).data[1] = value
    with pytest.raises(NotSmallerError, match=rf"1\.{name} has a number that is not finite"):
        smaller(broken)


def test_attention_is_made_smaller_but_for_its_biases():
    model = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True).eval()
    inputs = torch.randn(3, 5, 8)
    due = model(inputs, inputs, inputs)[0]
    assert round_weights(model) == (4 * 8 * 8, 4 * 8)
    found = model(inputs, inputs, inputs)[0]
    assert 0 < (found - due).abs().max() < 0.02 * due.abs().max()


def test_a_layer_of_opacus_keeps_no_weight_in_all_digits():
    """Which names the weights of its cells twice."""
    model = fix_model(nn.LSTM(4, 8, batch_first=True)).eval()
    inputs = torch.randn(3, 5, 4)
    due = model(inputs)[0]
    assert round_weights(model) == (32 * 12, 2 * 32)
    found = model(inputs)[0]
    assert 0 < (found - due).abs().max() < 0.02 * due.abs().max()
    kept = [one for one in model.state_dict().values() if one.dtype != torch.int8]
    assert max(one.numel() for one in kept) == 32


@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        (nn.Conv1d(4, 6, 3), 6),
        (nn.Conv2d(4, 6, 3, groups=2), 6),
        (nn.Conv3d(4, 6, 3), 6),
        (nn.ConvTranspose1d(4, 6, 3), 6),
        (nn.ConvTranspose2d(4, 6, 3), 6),
        (nn.ConvTranspose3d(4, 6, 3), 6),
    ],
)
def test_a_convolution_has_a_scale_for_each_output_channel(layer, channels):
    inputs = torch.randn(2, 4, *[7] * (layer.weight.dim() - 2))
    due = layer(inputs)
    # One channel is a thousand times as large as the others, and takes none of their digits.
    with torch.no_grad():
        weight = layer.weight
        (weight[0] if layer.transposed is False else weight[:, 0]).mul_(1000)
    assert round_weights(layer) == (layer.weight.numel(), channels)
    off = (layer(inputs) - due).abs()[:, 1:].max()
    assert 0 < off < 0.02 * due.abs().max()
