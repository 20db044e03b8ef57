"""The small models that the tasks share. With ``svm`` and training, the modules with torch.

None has buffers or batch statistics, so that each is admissible for per-example clipping and
its parameters are all there is to exchange.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Channels that are normalised together.
CHANNELS_IN_GROUP = 4


def linear(num_features: int, num_outputs: int) -> nn.Module:
    """Return a linear model; the loss makes it logistic or linear regression, or an SVM.

    Input shape (n, num_features), output shape (n, num_outputs).
    """
    return nn.Linear(num_features, num_outputs)


class CentredLinear(nn.Module):
    """A linear model of what inputs differ from a centre by, brought to length 1.

    Inputs that have much in common are hard to tell apart by small steps, and every gradient
    goes that way; the centre is what they have in common. See ``tasks.base.Task.centre``.

    Input shape (n, num_features), output shape (n, num_outputs).
    """

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(num_features))
        self.weights = nn.Linear(num_features, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs; the centre is a constant here."""
        apart = inputs - self.centre.detach()
        return self.weights(functional.normalize(apart, dim=1))


def mlp(num_features: int, num_outputs: int, hidden: int) -> nn.Module:
    """Return a perceptron with one hidden layer.

    Input shape (n, num_features), output shape (n, num_outputs).
    """
    return nn.Sequential(
        nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, num_outputs)
    )


def policy(num_features: int, num_actions: int, hidden: int) -> nn.Module:
    """Return a perceptron with two hidden layers, for what to do and what will come of it.

    Input shape (n, num_features), output shape (n, num_actions + 1): a logit for each action,
    and a value. At first every action is about as likely.
    """
    last = nn.Linear(hidden, num_actions + 1)
    with torch.no_grad():
        last.weight *= 0.1
        last.bias.zero_()
    first = nn.Linear(num_features, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()
    return nn.Sequential(*first, last)


class SmallCNN(nn.Module):
    """Two convolutions, one pooling after each but the first for tiny images, one linear layer.

    Input shape (n, 1, side, side), output shape (n, num_classes).
    """

    def __init__(
        self, side: int, num_classes: int, channels: tuple[int, int] = (16, 32)
    ) -> None:
        super().__init__()
        pools_first = side >= 16
        self.features = nn.Sequential(
            nn.Conv2d(1, channels[0], 3, padding=1),
            nn.ReLU(),
            # Over single pixels it would change nothing, and take an eighth of the training.
            nn.MaxPool2d(2) if pools_first else nn.Identity(),
            nn.Conv2d(channels[0], channels[1], 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        width = side // (4 if pools_first else 2)
        self.classifier = nn.Linear(channels[1] * width * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.features(images).flatten(1))


class NormedCNN(nn.Module):
    """Three convolutions of images, each normalised and pooled, and one linear layer.

    Channels are normalised within a record, four by four (Wu and He 2018, arXiv 1803.08494),
    so that no record has a say in another's scores.

    Input shape (n, channels, side, side), side at least 8, output shape (n, num_outputs).
    """

    def __init__(self, side: int, channels: int, num_outputs: int, width: int) -> None:
        super().__init__()
        widths = channels, width, 2 * width, 4 * width
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [
                nn.Conv2d(inner, outer, 3, padding=1),
                nn.GroupNorm(outer // CHANNELS_IN_GROUP, outer),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        places = min(4, side // 8)
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(places))
        self.classifier = nn.Linear(widths[-1] * places * places, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.features(images).flatten(1))
