"""What Opacus would get wrong is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tasks.base import ModelRefusedError
from tasks.models import mlp
from tasks.schema import GradSampleMode
from tasks.training.clipped_sum import clipped_gradient_sum
from tests.kits.three_classes import Three, Twice, three

# What Opacus would get wrong


class Patches(nn.Module):
    """Each record becomes two rows, and a layer sees the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, inputs):
        rows = torch.stack([inputs, inputs.flip(1)], dim=1).reshape(-1, 5)
        return self.layer(rows).reshape(-1, 2, 3).sum(dim=1)


class TimeFirst(nn.Module):
    """A layer sees (time, records, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.layer(torch.stack([inputs, 2 * inputs, -inputs])).sum(dim=0)


class Borrowed(nn.Module):
    """A layer's weight is used outside of it as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.last(torch.tanh(self.layer(inputs)) @ self.layer.weight)


@pytest.mark.parametrize("mode", list(GradSampleMode))
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Patches, r"layer of layer.weight sees a batch of 2 where there are 1 records"),
        (TimeFirst, r"layer of layer.weight sees a batch of 3 where there are 1 records"),
        (Borrowed, "differ in the gradient of one record"),
    ],
)
def test_models_that_opacus_clips_wrongly_are_refused(kind, message, mode):
    torch.manual_seed(0)
    # 3 records: as many as TimeFirst has moments.
    with pytest.raises(ModelRefusedError, match=message):
        clipped_gradient_sum(Three(), kind(), three(3), np.arange(3), 0.5, mode)


def test_ghost_refuses_a_layer_at_two_places_and_names_the_mend():
    with pytest.raises(ModelRefusedError, match=r"grad_sample_mode=hooks"):
        clipped_gradient_sum(
            Three(), Twice(), three(3), np.arange(3), 0.5, GradSampleMode.ghost
        )


def test_a_model_that_needs_two_records_is_refused():
    # One number in each group: torch wants more than one of them in a batch.
    lonely = nn.Sequential(nn.Linear(5, 8), nn.GroupNorm(8, 8), nn.Linear(8, 3))
    with pytest.raises(ModelRefusedError, match="takes no batch of one record"):
        clipped_gradient_sum(Three(), lonely, three(3), np.arange(3), 0.5)


def test_a_loss_that_is_not_per_record_is_refused():
    class Mean(Three):
        def per_example_loss(self, outputs, targets):
            return super().per_example_loss(outputs, targets)[:, None]

    with pytest.raises(ModelRefusedError, match=r"per_example_loss has shape \(1, 1\)"):
        clipped_gradient_sum(Mean(), mlp(5, 3, 4), three(3), np.arange(3), 0.5)


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
        "from opacus import GradSampleModule, PrivacyEngine;"
        "print(GradSampleModule is ours.GradSampleModule, PrivacyEngine.__name__)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert told.stdout.split() == [b"False", b"False", b"True", b"PrivacyEngine"]
