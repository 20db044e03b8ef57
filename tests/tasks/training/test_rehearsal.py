"""What cannot be trained, or has no bound, is refused on made-up records."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tasks.base import ModelRefusedError
from tasks.models import mlp
from tasks.records import Examples
from tasks.training.rehearsal import rehearse, require_made_up
from tests.kits.three_classes import Three, three


class Cox(Three):
    """A partial likelihood, which compares each record with the others."""

    def per_example_loss(self, outputs, targets):
        risk = outputs[:, 0]
        return torch.logsumexp(risk, dim=0) - risk


class InBatchNegatives(Three):
    def per_example_loss(self, outputs, targets):
        return (outputs @ outputs.T).softmax(dim=1).diagonal()


class Column(Three):
    def per_example_loss(self, outputs, targets):
        return super().per_example_loss(outputs, targets)[:, None]


class Mean(Three):
    def per_example_loss(self, outputs, targets):
        return super().per_example_loss(outputs, targets).mean()[None]


class Remembering(nn.Linear):
    """A layer that adds what it has seen before."""

    def forward(self, inputs):
        seen = getattr(self, "seen", 0.0)
        self.seen = seen + float(inputs.sum())
        return super().forward(inputs) + seen * inputs[:, :3]


class Tuples(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs), inputs


class Cut(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs.squeeze())


class Rooted(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs).sqrt()


def all_frozen() -> nn.Module:
    return nn.Linear(5, 3).requires_grad_(False)


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        (Cox(), mlp(5, 3, 4), "depends on the other records of its batch"),
        (InBatchNegatives(), mlp(5, 3, 4), "depends on the other records of its batch"),
        (Mean(), mlp(5, 3, 4), r"the loss of 4 records has shape \(1,\)"),
        (Column(), mlp(5, 3, 4), r"the loss of 4 records has shape \(4, 1\), not \(4,\)"),
        (Three(), Remembering(5, 3), "keeps something between them"),
        (Three(), Rooted(5, 3), "the gradient of a made-up record, .* is not finite"),
        (Three(), Tuples(5, 3), "the model returns a tuple, not one tensor"),
        (Three(), Cut(5, 3), r"per_example_loss has shape \(\) for one record"),
        (Three(), nn.Embedding(5, 3), "cannot be trained on a made-up record: RuntimeError"),
        (Three(), nn.Linear(4, 3), "cannot be trained on a made-up record: RuntimeError: mat1"),
        (Three(), all_frozen(), "every parameter of the model is frozen"),
        (
            Three(),
            # One number in each group: torch wants more than one of them in a batch.
            nn.Sequential(nn.Linear(5, 8), nn.GroupNorm(8, 8), nn.Linear(8, 3)),
            "cannot be trained on a made-up record: ValueError",
        ),
    ],
)
def test_what_has_no_bound_or_cannot_be_trained_is_refused_in_one_line(task, model, message):
    with pytest.raises(ModelRefusedError, match=message) as refused:
        rehearse(task, model, alone=True)
    assert "\n" not in str(refused.value)


class NoMetric(Three):
    def per_example_metrics(self, outputs, targets):
        return {}


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        (Three(), nn.Linear(4, 3), "cannot be trained on a made-up record: RuntimeError: mat1"),
        (Three(), Tuples(5, 3), "the model returns a tuple"),
        (NoMetric(), mlp(5, 3, 4), "KeyError: 'accuracy'"),
    ],
)
def test_whole_clients_are_rehearsed_too(task, model, message):
    """A loss that compares records is a client's own affair."""
    rehearse(Cox(), mlp(5, 3, 4), alone=False)
    with pytest.raises(ModelRefusedError, match=message):
        rehearse(task, model, alone=False)


@pytest.mark.parametrize(
    "model",
    [
        mlp(5, 3, 4),
        nn.Sequential(nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.LayerNorm(8), nn.Linear(8, 3)),
    ],
)
def test_what_can_be_trained_passes(model):
    rehearse(Three(), model, alone=True)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (three(2, shape=(4,)), r"inputs are float32 of shape \(4,\)"),
        (Examples(three(2).inputs.astype(np.float64), np.zeros(2, np.int64)), "float64"),
        (Examples(three(2).inputs, np.zeros((2, 1), np.int64)), r"targets are int64 of"),
        (Examples(three(2).inputs, np.zeros(2, np.float32)), "targets are float32"),
    ],
)
def test_records_of_another_form_than_those_rehearsed_with_are_refused(examples, message):
    require_made_up(Three(), three(2))
    with pytest.raises(ModelRefusedError, match=message):
        require_made_up(Three(), examples)


def test_importing_opacus_leaves_the_root_logger_alone():
    code = (
        "import logging, tasks.training.dp_sgd as p;"
        "print(logging.root.handlers, logging.root.level == logging.WARNING)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert told.stdout.strip() == b"[] True"


def test_opacus_as_a_whole_is_imported_only_by_who_wants_it():
    code = (
        "import sys, tasks.training.opacus_import as ours;"
        "print('opacus' in sys.modules, 'scipy.stats' in sys.modules);"
        "from opacus import PrivacyEngine;"
        "from opacus.optimizers import DPOptimizer;"
        "print(DPOptimizer is ours.DPOptimizer, PrivacyEngine.__name__)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert told.stdout.split() == [b"False", b"False", b"True", b"PrivacyEngine"]


NUM_TOKENS = 30


class Tokens(Three):
    """Records of five token ids, as docs/adding-a-task.md makes them up."""

    def made_up(self, num_records):
        shape = (num_records, *self.input_shape)
        tokens = np.random.default_rng(0).integers(0, NUM_TOKENS, shape)
        return Examples(tokens.astype(np.float32), self.made_up_targets(num_records))


class TokenModel(nn.Module):
    def __init__(self, num_tokens):
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, 3)

    def forward(self, tokens):
        return self.embedding(tokens.long()).mean(dim=1)


def test_made_up_tokens_are_rehearsed_with():
    rehearse(Tokens(), TokenModel(NUM_TOKENS), alone=True)
    with pytest.raises(ModelRefusedError, match="cannot be trained on a made-up record"):
        rehearse(Tokens(), TokenModel(NUM_TOKENS // 2), alone=True)
