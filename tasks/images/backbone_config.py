"""The configuration of a backbone: which network, and which file of its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tasks.schema import require, require_sha256


class Network(Enum):
    """A network that turns an image into features, by torchvision's name of it."""

    resnet18 = "resnet18"
    resnet34 = "resnet34"
    resnet50 = "resnet50"
    resnet101 = "resnet101"
    resnet152 = "resnet152"


@dataclass(frozen=True)
class Shape:
    """How a residual network is made.

    Attributes
    ----------
    num_blocks : tuple of int
        Blocks of each stage.
    is_deep : bool
        Whether a block has three convolutions, and four times as many channels at its end.
    """

    num_blocks: tuple[int, int, int, int]
    is_deep: bool

    @property
    def expansion(self) -> int:
        """Return how many channels a block ends with for each in its middle."""
        return 4 if self.is_deep else 1

    @property
    def num_features(self) -> int:
        """Return how many features an image has."""
        return 512 * self.expansion


#: He et al. 2016, arXiv 1512.03385, table 1.
SHAPES = {
    Network.resnet18: Shape((2, 2, 2, 2), is_deep=False),
    Network.resnet34: Shape((3, 4, 6, 3), is_deep=False),
    Network.resnet50: Shape((3, 4, 6, 3), is_deep=True),
    Network.resnet101: Shape((3, 4, 23, 3), is_deep=True),
    Network.resnet152: Shape((3, 8, 36, 3), is_deep=True),
}


@dataclass
class BackboneConfig:
    """A network that stays as it is, and gives the features of each image.

    Attributes
    ----------
    name : Network
        Which network.
    weights : str
        The file of its parameters on the server's machine and in a simulation: a state_dict of
        torchvision's, as safetensors or as ``torch.save`` writes it. In a deployment each node
        names its own copy, as ``base-model`` in its node config.
    sha256 : str
        SHA-256 of that file in 64 hexadecimal digits, so that all have the same features.
    """

    name: Network = Network.resnet18
    weights: str = ""
    sha256: str = ""

    def require_file(self) -> None:
        """Raise ``ValueError`` unless a file and its SHA-256 are given."""
        require(
            bool(self.weights),
            f"task.backbone.weights: give the file of the parameters of {self.name.value}, for"
            " task.model=backbone",
        )
        require_sha256("task.backbone", self.sha256, "weights", self.weights)

    def require_none(self, model: str) -> None:
        """Raise ``ValueError`` if a file is given that a model does not look at."""
        for key, value in (("weights", self.weights), ("sha256", self.sha256)):
            require(
                not value,
                f"task.backbone.{key}={value} has no effect with task.model={model}; take"
                " task.model=backbone, or take it out",
            )
