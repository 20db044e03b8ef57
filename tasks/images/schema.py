"""The configuration of the ``images`` task: its classes, and how an image is read."""

from dataclasses import dataclass, field
from enum import Enum
from unicodedata import normalize

from tasks.images.backbone_config import BackboneConfig
from tasks.scattering import require_side
from tasks.schema import TaskConfig, require

_LARGEST_SIDE = 512
# As many channels as ``tasks.models.NormedCNN`` normalises together, which loads torch.
_CHANNELS_IN_GROUP = 4


class Model(Enum):
    """What is learned of images.

    ``cnn``: a small network of their pixels. ``scattering``: a linear model of fixed features,
    which learns better under differential privacy. ``backbone``: a linear model of the features
    that a trained network gives, which itself stays as it is.
    """

    cnn = "cnn"
    scattering = "scattering"
    backbone = "backbone"


class Fit(Enum):
    """How an image becomes a square.

    ``crop``: its middle, as large as its shorter side. ``pad``: the whole, black at both ends
    of its shorter side.
    """

    crop = "crop"
    pad = "pad"


@dataclass
class ImagesConfig(TaskConfig):
    """The meaning of a folder. ``partition`` is not used: each node has its own folder.

    Attributes
    ----------
    classes : list of str
        The folders with the images of each class, and its name. Public: a node that lacks one
        has no image of it, and one that has others leaves them out or is refused.
    side : int
        Pixels of a side, from 8 to 512: images are made squares of that size.
    channels : int
        1 (grey) or 3 (red, green and blue).
    fit : Fit
        ``crop`` or ``pad``.
    max_pixels : int
        An image of more is not decoded.
    model : Model
        ``cnn``, ``scattering`` or ``backbone``.
    width : int
        Channels of the first layer of ``cnn``, a multiple of 4; the others have twice and four
        times as many.
    backbone : BackboneConfig
        The network of ``backbone``, and its file.
    """

    classes: list[str] = field(default_factory=list)
    side: int = 32
    channels: int = 3
    fit: Fit = Fit.crop
    max_pixels: int = 50_000_000
    model: Model = Model.cnn
    width: int = 16
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_classes()
        require(
            8 <= self.side <= _LARGEST_SIDE,
            f"task.side={self.side}: must be from 8 to {_LARGEST_SIDE}",
        )
        require(self.channels in (1, 3), f"task.channels={self.channels}: must be 1 or 3")
        require(self.max_pixels >= 1, f"task.max_pixels={self.max_pixels}: must be at least 1")
        require(
            self.width >= _CHANNELS_IN_GROUP and self.width % _CHANNELS_IN_GROUP == 0,
            f"task.width={self.width}: must be a multiple of {_CHANNELS_IN_GROUP}",
        )
        if self.model is Model.scattering:
            require_side("task.side", self.side)
        if self.model is Model.backbone:
            self._check_backbone()
        else:
            self.backbone.require_none(self.model.value)

    def idle_keys(self) -> dict[str, str]:
        """Return ``width`` and ``backbone`` where there is no such network."""
        model, idle = f"task.model={self.model.value}", dict[str, str]()
        if self.model is not Model.cnn:
            idle["width"] = f"{model} learns no layers that could be wide; take it out"
        if self.model is not Model.backbone:
            idle["backbone"] = f"{model} has no backbone; take it out"
        return idle

    def _check_backbone(self) -> None:
        self.backbone.require_file()
        require(
            self.channels == 3,
            f"task.channels={self.channels}: must be 3 for task.model=backbone; grey images are"
            " the same in all three",
        )
        rank = self.adapters.rank
        require(
            rank == 0,
            f"task.adapters.rank={rank} with task.model=backbone: the backbone stays as it is"
            " and what is trained is linear; take the adapters out",
        )

    def _check_classes(self) -> None:
        require(
            len(self.classes) >= 2,
            f"task.classes={self.classes}: must name at least two classes, as their folders are"
            " named",
        )
        for name in self.classes:
            require(
                bool(name.strip(" .")) and name[0] != "." and not set(name) & set("/\\\0"),
                f"task.classes: {name!r} cannot be the name of a folder of images",
            )
        # Some file systems do not tell them apart.
        folded = [normalize("NFC", name).casefold() for name in self.classes]
        pairs = zip(self.classes, folded, strict=True)
        twice = [name for name, fold in pairs if folded.count(fold) > 1]
        require(not twice, f"task.classes: {', '.join(twice)} are one name; each must differ")
