"""The models of sequences that tasks share: recurrent, convolutional, attention.

Each sees what came before a place and nothing after it, and none has buffers: see
``tasks.models``.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.sequences import Reader

#: Of each attention.
_NUM_HEADS = 4


class Recurrent(nn.Module):
    """A GRU (Cho et al. 2014) or LSTM (Hochreiter and Schmidhuber 1997); its outputs alone.

    Input shape (n, length, num_inputs), output shape (n, length, width).
    """

    def __init__(self, cell: Any, num_inputs: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.cells = cell(num_inputs, width, num_layers, batch_first=True)

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the state at each place."""
        return self.cells(sequences)[0]


class Convolution(nn.Module):
    """Dilated convolutions of what came before (Bai et al. 2018, arXiv 1803.01271, section 3).

    Input shape (n, length, num_inputs), output shape (n, length, width). A layer looks at 3
    places, twice as far apart as those of the layer before.
    """

    def __init__(self, num_inputs: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_inputs, width)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, 3, dilation=2**layer) for layer in range(num_layers)
        )

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the state at each place."""
        state = self.first(sequences).transpose(1, 2)
        for number, layer in enumerate(self.layers):
            before = functional.pad(state, (2 * 2**number, 0))
            state = state + functional.relu(layer(before))
        return state.transpose(1, 2)


class Attention(nn.Module):
    """A decoder of a transformer (Vaswani et al. 2017), normalised before each part.

    Input shape (n, length, num_inputs), output shape (n, length, width). Places are told by
    sines; nothing of them is trained.
    """

    def __init__(self, num_inputs: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_inputs, width)
        self.layers = nn.ModuleList(_Block(width) for _ in range(num_layers))
        self.last = nn.LayerNorm(width)

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the state at each place."""
        state = self.first(sequences)
        state = state + _places(state)
        for layer in self.layers:
            state = layer(state)
        return self.last(state)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.normal, self.then = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks, self.answers = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, state: Tensor) -> Tensor:
        num, length, width = state.shape
        parts = self.asks(self.normal(state)).view(num, length, 3, _NUM_HEADS, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        state = state + self.answers(found.transpose(1, 2).reshape(num, length, width))
        return state + self.down(functional.gelu(self.up(self.then(state))))


def _places(state: Tensor) -> Tensor:
    """Return sines and cosines of each place, shape (length, width)."""
    length, width = state.shape[1:]
    place = torch.arange(length, dtype=state.dtype, device=state.device)[:, None]
    columns = torch.arange(0, width, 2, dtype=state.dtype, device=state.device)
    rates = torch.exp(columns * (-9.21 / width))
    found = torch.stack([torch.sin(place * rates), torch.cos(place * rates)], dim=2)
    return found.flatten(1)[:, :width] / sqrt(2)


def reader_of(kind: Reader, num_inputs: int, width: int, num_layers: int) -> nn.Module:
    """Return what reads sequences: shape (n, length, num_inputs) to (n, length, width)."""
    if kind is Reader.tcn:
        return Convolution(num_inputs, width, num_layers)
    if kind is Reader.transformer:
        return Attention(num_inputs, width, num_layers)
    cell = nn.GRU if kind is Reader.gru else nn.LSTM
    return Recurrent(cell, num_inputs, width, num_layers)


class NextToken(nn.Module):
    """A model of what comes next at each place of a sequence of tokens.

    Input int64 of shape (n, length), output shape (n, length, num_tokens).
    """

    def __init__(
        self, kind: Reader, num_tokens: int, embedding: int, width: int, num_layers: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, embedding)
        self.reader = reader_of(kind, embedding, width, num_layers)
        self.head = nn.Linear(width, num_tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next token at each place."""
        return self.head(self.reader(self.embedding(tokens)))


class AtTheEnd(nn.Module):
    """A model of one number at the end of a sequence.

    Input shape (n, length, num_inputs), output shape (n, 1).
    """

    def __init__(self, kind: Reader, num_inputs: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.reader = reader_of(kind, num_inputs, width, num_layers)
        self.head = nn.Linear(width, 1)

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the number."""
        return self.head(self.reader(sequences)[:, -1])
