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
from tasks.training.dp_sgd import metric_vectors
from tasks.training.record_gradients import clipped_gradients
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
        (Three(), Remembering(5, 3), "keeps something between records, in seen"),
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


@pytest.mark.slow
def test_importing_opacus_leaves_the_root_logger_alone():
    code = (
        "import logging, tasks.training.dp_sgd as p;"
        "print(logging.root.handlers, logging.root.level == logging.WARNING)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert told.stdout.strip() == b"[] True"


@pytest.mark.slow
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


class LargestSoFar(nn.Linear):
    """A layer that scales by the largest input that it has seen, at least 1."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.most = 1.0

    def forward(self, inputs):
        self.most = max(self.most, float(inputs.detach().abs().max()))
        return super().forward(inputs / self.most)


class Listing(nn.Linear):
    """A layer that keeps what it has seen in a list, and goes by how much that is."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.seen = []

    def forward(self, inputs):
        self.seen.append(float(inputs.detach().sum()))
        return super().forward(inputs * len(self.seen))


class InPlace(nn.Linear):
    """A layer that adds to a tensor of its own."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.total = torch.zeros(5)

    def forward(self, inputs):
        self.total += inputs.detach().sum(dim=0)
        return super().forward(inputs + self.total)


MEMORIES = {"most": LargestSoFar, "seen": Listing, "total": InPlace}


@pytest.mark.parametrize("name", MEMORIES)
def test_a_model_that_remembers_is_refused_by_the_name_of_what_it_keeps(name):
    with pytest.raises(
        ModelRefusedError, match=f"keeps something between records, in 1.{name}:"
    ):
        rehearse(Three(), nn.Sequential(nn.Linear(5, 5), MEMORIES[name]()), alone=True)


@pytest.mark.parametrize("name", MEMORIES)
def test_what_a_model_remembers_moves_no_other_records_term(name):
    """Also where no rehearsal has noticed: one huge record in front moves the sum by C."""
    torch.manual_seed(0)
    model, examples = MEMORIES[name](), three(64)
    examples.inputs[0] *= 1e6
    others = examples.take(np.arange(1, 64))
    rng = np.random.default_rng(0)
    sums = [
        np.sum(
            [
                vector.copy()
                for vector in clipped_gradients(
                    Three(), model, part, np.arange(len(part)), 1.0, rng
                )
            ],
            axis=0,
        )
        for part in (examples, others)
    ]
    assert np.linalg.norm(sums[0] - sums[1]) <= 1 + 1e-9


def test_a_model_that_remembers_elsewhere_is_refused_too():
    seen = []

    class Elsewhere(nn.Linear):
        def forward(self, inputs):
            seen.append(1)
            return super().forward(inputs * len(seen))

    with pytest.raises(ModelRefusedError, match="another one after other records were seen"):
        rehearse(Three(), Elsewhere(5, 3), alone=True)


def test_scores_are_not_moved_by_what_a_model_remembers():
    torch.manual_seed(0)
    model, examples = LargestSoFar(), three(64)
    # So sure of itself that its losses differ by far from those of a model that sees nothing.
    model.weight.data *= 30
    examples.inputs[0] *= 1e6
    scored = [
        sum(metric_vectors(Three(), model, part, 5.0))
        for part in (examples, examples.take(np.arange(1, 64)))
    ]
    assert np.abs(scored[0] - scored[1]).max() <= 1 + 1e-9


class Detached(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs).detach() + 0 * self.bias


class Centred(nn.Linear):
    """A layer that takes off the mean of its batch, in training only."""

    def forward(self, inputs):
        found = super().forward(inputs)
        return found - found.mean(dim=0) if self.training else found


class Scaled(nn.Linear):
    """A layer that divides by the largest of its batch, in training only."""

    def forward(self, inputs):
        found = super().forward(inputs)
        return found / (1 + found.detach().abs().max()) if self.training else found


def test_a_model_that_learns_nothing_is_refused():
    with pytest.raises(ModelRefusedError, match="gradient of every made-up record is 0"):
        rehearse(Three(), Detached(5, 3), alone=True)


@pytest.mark.parametrize("layer", [Centred, Scaled])
def test_a_loss_that_couples_records_in_training_only_is_refused(layer):
    with pytest.raises(ModelRefusedError, match="depends on the other records of its batch"):
        rehearse(Three(), layer(5, 3), alone=True)


def test_dropout_is_no_coupling():
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    rehearse(Three(), model, alone=True)
