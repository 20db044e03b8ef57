"""Classes of images, learnt from the participants' own folders. See docs/your-own-images.md."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base import Classification, DataSource, Inspection, inspected
from tasks.images.backbone_config import SHAPES
from tasks.images.reading import (
    NO_LABEL,
    Entry,
    Images,
    Kept,
    Pixels,
    entries_of,
    read_images,
    told,
)
from tasks.images.schema import ImagesConfig, Model
from tasks.new_rows import Given, NewRows
from tasks.partition import hold_out
from tasks.records import DataError, Examples, LocalData
from tasks.scattering import num_features, scattering_features

if TYPE_CHECKING:
    from torch import nn

    from tasks.images.backbone import Backbone

_LOGGER = logging.getLogger("flwr.tacet")


class ImageFolders(Classification):
    """A class for each image, by the folder that it is in.

    A record is a file. In a private run one that does not fit is left out, as the refusal of a
    folder would tell of it; without privacy it is refused, with its name and the mend.
    """

    Config = ImagesConfig
    config: ImagesConfig
    is_shared = False
    is_split = False

    def __init__(self, config: ImagesConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.num_classes = len(config.classes)
        if config.model is Model.backbone:
            self.base = Path(config.backbone.weights).expanduser()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the folders."""
        return tuple(self.config.classes)

    def load(self, source: DataSource) -> LocalData:
        """Return this node's images; they are decoded once, and again when a file changes."""
        folder = self._folder(source)
        found = _read(folder, self._entries(folder, labelled=True), self._reading())
        if found.images.misfits and not self.is_private:
            raise DataError(self._refusal(folder, found.images.misfits))
        return self._split(found)

    def inspect(self, source: DataSource) -> Inspection:
        """Return all that does not fit, file by file; a backbone is not asked."""
        lines: list[str] = []
        try:
            folder = self._folder(source)
            entries = self._entries(folder, labelled=True)
            found = _read(folder, entries, self._reading(counts_only=True))
        except DataError as error:
            return Inspection(objection=str(error))
        lines += told(folder, found.images, self.config.classes)
        lines += (f"misfit: {place}: {why}" for place, why in found.images.misfits)
        if found.images.misfits and not self.is_private:
            num, files = len(found.images.misfits), len(found.images.places)
            return Inspection(
                tuple(lines), objection=f"{num} of {num + files} files do not fit"
            )
        return inspected(lines, self._split(found))

    def new_rows(self, given: Given) -> NewRows:
        """Return the images of a folder; those in the folder of a class have its label."""
        if not isinstance(given, Path):
            raise DataError("images to predict are given as the path of a folder")
        entries = self._entries(given, labelled=False)
        found = _read(given, entries, self._reading())
        images = found.images
        named = [f"misfit: {place}: {why}" for place, why in images.misfits]
        objection = "" if images.places else "there are no images"
        if named:
            objection = f"{len(named)} of {len(entries)} files do not fit"
            objection += "; mend them or take them out"
        return NewRows(
            header=["file"],
            rows=[[place] for place in images.places],
            lines=list(range(1, len(images.places) + 1)),
            delimiter=",",
            examples=found.examples,
            places=np.arange(len(images.places)),
            is_labelled=images.labels != NO_LABEL,
            findings=[f"{given}: {len(entries)} files, {len(images.places)} images", *named],
            objection=objection,
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of an image, or the number of its features."""
        config = self.config
        if config.model is Model.cnn:
            return (config.channels, config.side, config.side)
        return (self._num_features(),)

    @property
    def centre(self) -> str:
        """Return the parameter of the model of features."""
        return "" if self.config.model is Model.cnn else "centre"

    @property
    def before_inputs(self) -> str:
        """Return by which features an image is known."""
        return {
            Model.cnn: "",
            Model.scattering: "images to wavelet features",
            Model.backbone: f"images to features by {self.config.backbone.name.value}",
        }[self.config.model]

    def build_model(self) -> nn.Module:
        """Return the model that ``task.model`` names.

        Raises
        ------
        DataError
            If it is of the features of a backbone that is not on this machine.
        """
        from tasks.models import CentredLinear, NormedCNN

        config = self.config
        num_outputs = self.num_classes if self.num_classes > 2 else 1
        if config.model is Model.cnn:
            return NormedCNN(config.side, config.channels, num_outputs, config.width)
        if config.model is Model.backbone:
            # So that a server refuses a wrong file before it asks anything of a node.
            self._backbone()
        return CentredLinear(self._num_features(), num_outputs)

    def _num_features(self) -> int:
        config = self.config
        if config.model is Model.scattering:
            return num_features(config.channels, config.side)
        return SHAPES[config.backbone.name].num_features

    def _backbone(self) -> Backbone:
        from tasks.images.backbone import backbone_of

        return backbone_of(self.base, self.config.backbone)

    def _folder(self, source: DataSource) -> Path:
        return source.require_data_path("a folder with a folder of images for each class")

    def _entries(self, folder: Path, *, labelled: bool) -> tuple[Entry, ...]:
        return entries_of(folder, self.config.classes, labelled=labelled)

    def _reading(self, *, counts_only: bool = False) -> _Reading:
        kept = None
        if self.config.model is Model.backbone:
            kept = _NOTHING if counts_only else self._features()
        return _Reading(repr(self.config), self.is_private, kept, self.config)

    def _features(self) -> Kept:
        return Kept(self.input_shape, self._backbone().features)

    def _split(self, found: _Read) -> LocalData:
        # By what is the same on every machine, and needs no backbone.
        contents = found.images.contents if self.config.model is Model.backbone else None
        return hold_out(found.examples, self.config.test_fraction, self.seed, contents)

    def _refusal(self, folder: Path, misfits: Sequence[tuple[str, str]]) -> str:
        place, why = misfits[0]
        more = f" ({len(misfits) - 1} more; `tacet data check` tells all)" * (len(misfits) > 1)
        return f"{folder / place}: {why}{more}"


def _of_no_use(_: Pixels) -> Pixels:
    return np.zeros(0, np.float32)


#: Of images that are only counted.
_NOTHING = Kept((0,), _of_no_use)


@dataclass(frozen=True)
class _Reading:
    """How a folder is read, as the key of a cache."""

    config_text: str
    is_private: bool
    kept: Kept | None
    # A configuration cannot be hashed; config_text stands for it.
    config: ImagesConfig = field(compare=False)


@dataclass(frozen=True)
class _Read:
    """Images, and the same as records."""

    images: Images
    examples: Examples


@lru_cache(maxsize=32)
def _read(folder: Path, entries: tuple[Entry, ...], how: _Reading) -> _Read:
    """Decode a folder's images; kept, as a run asks for them in each round.

    The entries have each file's size and time of writing, so that what changes is read again.
    """
    images = read_images(folder, entries, how.config, how.kept)
    if images.misfits and how.is_private:
        _LOGGER.warning(
            "%s: %d files do not fit and are left out; `tacet data check --private` names them",
            folder,
            len(images.misfits),
        )
    return _Read(images, Examples(_inputs(images.pixels, how.config), images.labels))


def _inputs(pixels: NDArray[np.float32], config: ImagesConfig) -> NDArray[np.float32]:
    if config.model is Model.scattering:
        return scattering_features(pixels)
    return pixels
