"""Support vector machines: the hinge loss, and public random features for an RBF kernel.

The outputs are margins: their signs and order are those of classes, but they are no log-odds.
"""

from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models import linear

# Keeps the features' random numbers apart from whatever else the run's seed draws.
_STREAM = 0x52464


def hinge_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the hinge loss of each example, shape (n,); 0 beyond a margin of 1.

    Two classes: max(0, 1 - y f) with y in {-1, 1} (Cortes and Vapnik 1995). More classes:
    max(0, 1 + m - f) of the own class's output f and the largest m of the others' (Crammer and
    Singer 2001, JMLR 2). Where the loss begins to be 0, its sub-gradient is taken as 0; of
    others that are equally large, one counts.

    Parameters
    ----------
    outputs : Tensor, shape (n, 1) for two classes, else (n, classes)
        Margins.
    targets : Tensor of int64, shape (n,)
        Classes, from 0.
    """
    if outputs.shape[1] == 1:
        signs = 2 * targets.to(outputs.dtype) - 1
        return functional.relu(1 - signs * outputs.squeeze(1))
    own = outputs.gather(1, targets[:, None]).squeeze(1)
    is_own = functional.one_hot(targets, outputs.shape[1]).bool()
    best_other = outputs.masked_fill(is_own, -torch.inf).max(dim=1).values
    return functional.relu(1 + best_other - own)


class RandomFourierFeatures(nn.Module):
    """Features z(x) = sqrt(2/D) cos(W x + b) whose inner products are near an RBF kernel.

    Rahimi and Recht (2007, NIPS 20, algorithm 1): with rows of W from N(0, 2 gamma I) and b
    uniform in [0, 2 pi], the mean of z(x)'z(y) is exp(-gamma |x - y|^2), and its error falls as
    1/sqrt(D). Of each record |z(x)| is at most sqrt(2).

    Input shape (n, num_inputs), output shape (n, num_features). W and b follow from the seed
    and are never trained: frozen parameters, which nobody exchanges. numpy keeps the numbers of
    a ``RandomState`` the same in all versions, so that a model file keeps its meaning.

    Parameters
    ----------
    num_inputs : int
        Numbers of a record.
    num_features : int
        D, at least 1.
    gamma : float
        Of the kernel; above 0.
    seed : int
        Public, at least 0.
    """

    def __init__(self, num_inputs: int, num_features: int, gamma: float, seed: int) -> None:
        super().__init__()
        bits = np.random.MT19937(np.random.SeedSequence([_STREAM, seed]))
        rng = np.random.RandomState(bits)
        frequencies = rng.standard_normal((num_features, num_inputs)) * sqrt(2 * gamma)
        phases = rng.uniform(0, 2 * pi, num_features)
        self.frequencies = _frozen(frequencies)
        self.phases = _frozen(phases)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the features."""
        angles = functional.linear(inputs, self.frequencies, self.phases)
        return angles.cos() * sqrt(2 / len(self.phases))


def rbf(
    num_inputs: int, num_outputs: int, *, num_features: int, gamma: float, seed: int
) -> nn.Module:
    """Return a linear model of random Fourier features.

    Input shape (n, num_inputs), output shape (n, num_outputs).
    """
    return nn.Sequential(
        RandomFourierFeatures(num_inputs, num_features, gamma, seed),
        linear(num_features, num_outputs),
    )


def _frozen(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values.astype(np.float32)), requires_grad=False)
