"""The small models that the tasks share. With ``svm`` and training, the modules with torch.

None has buffers or batch statistics, so that each is admissible for per-example clipping and
its parameters are all there is to exchange.
"""

from torch import Tensor, nn


def linear(num_features: int, num_outputs: int) -> nn.Module:
    """Return a linear model; the loss makes it logistic or linear regression, or an SVM.

    Input shape (n, num_features), output shape (n, num_outputs).
    """
    return nn.Linear(num_features, num_outputs)


def mlp(num_features: int, num_outputs: int, hidden: int) -> nn.Module:
    """Return a perceptron with one hidden layer.

    Input shape (n, num_features), output shape (n, num_outputs).
    """
    return nn.Sequential(
        nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, num_outputs)
    )


class SmallCNN(nn.Module):
    """Two convolutions, one pooling after each but the first for tiny images, one linear layer.

    Input shape (n, 1, side, side), output shape (n, num_classes).
    """

    def __init__(
        self, side: int, num_classes: int, channels: tuple[int, int] = (16, 32)
    ) -> None:
        super().__init__()
        first_pool = 2 if side >= 16 else 1
        self.features = nn.Sequential(
            nn.Conv2d(1, channels[0], 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(first_pool),
            nn.Conv2d(channels[0], channels[1], 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        width = side // first_pool // 2
        self.classifier = nn.Linear(channels[1] * width * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.features(images).flatten(1))
