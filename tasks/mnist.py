"""MNIST: 70,000 handwritten digits, 28x28 pixels, from the original IDX files."""

from __future__ import annotations

import gzip
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base import Classification, DataSource
from tasks.files import keep_until_changed
from tasks.partition import partition
from tasks.records import DataError, Examples, LocalData
from tasks.scattering import ImageModel, num_features, scattering_features
from tasks.schema import PartitionConfig, TaskConfig

if TYPE_CHECKING:
    from torch import nn

_LOGGER = logging.getLogger("flwr.tacet")

_SIDE = 28
_NUM_CLASSES = 10
_IMAGE_SHAPE = (_SIDE, _SIDE)
_MAGIC = {"images": 0x803, "labels": 0x801}
_NUM_DIMENSIONS = {"images": 3, "labels": 1}


@dataclass
class MnistConfig(TaskConfig):
    """The keys of every task, and the model.

    ``test_fraction`` is not used: MNIST has a test set of its own, spread evenly at random over
    the clients whatever the scheme.

    Attributes
    ----------
    model : ImageModel
        ``cnn`` or ``scattering``.
    """

    model: ImageModel = ImageModel.cnn

    def idle_keys(self) -> dict[str, str]:
        """Return ``test_fraction``."""
        return {"test_fraction": "MNIST has a test set of its own; take it out"}


class Mnist(Classification):
    """Classification of 28x28 images by digit."""

    Config = MnistConfig
    num_classes = _NUM_CLASSES

    def load(self, source: DataSource) -> LocalData:
        """Return this node's part of the training and of the test images."""
        what = "a directory with train-images-idx3-ubyte[.gz] and MNIST's other three files"
        directory = source.require_data_path(what)
        return LocalData(
            self._part(directory, "train", source, self.config.partition),
            self._part(directory, "t10k", source, PartitionConfig(min_examples=1)),
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of an image with one channel, or the number of its features."""
        if self.config.model is ImageModel.scattering:
            return (num_features(1, _SIDE),)
        return (1, *_IMAGE_SHAPE)

    @property
    def has_images(self) -> bool:
        """Return whether inputs are the images themselves, and not their features."""
        return self.config.model is ImageModel.cnn

    @property
    def centre(self) -> str:
        """Return the parameter of the model of features."""
        return "centre" if self.config.model is ImageModel.scattering else ""

    def build_model(self) -> nn.Module:
        """Return the model that ``task.model`` names."""
        from tasks.models import CentredLinear, SmallCNN

        if self.config.model is ImageModel.scattering:
            return CentredLinear(num_features(1, _SIDE), self.num_classes)
        return SmallCNN(side=_SIDE, num_classes=self.num_classes)

    def _part(
        self, directory: Path, stem: str, source: DataSource, config: PartitionConfig
    ) -> Examples:
        images_file, labels_file = (_find(directory, stem, kind) for kind in _MAGIC)
        images, labels = _images_and_labels(images_file, labels_file, self.is_private)
        own = partition(labels, source.num_partitions, config, self.seed)[source.partition_id]
        if self.config.model is ImageModel.scattering:
            how = images_file, labels_file, self.is_private, own.tobytes()
            return Examples(_features(*how), labels[own])
        return Examples(_pixels(images[own]), labels[own])


# The training and the test set, each in two ways.
@keep_until_changed(4)
def _images_and_labels(
    images_file: Path, labels_file: Path, is_private: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a file pair's images, as bytes to save memory, and its labels.

    In a private run, in which no record may cause a refusal, an image whose label is no digit
    is left out.
    """
    images, labels = _read_idx(images_file, "images"), _read_idx(labels_file, "labels")
    if images.shape[1:] != _IMAGE_SHAPE:
        raise DataError(
            f"{images_file}: images of {images.shape[1]}x{images.shape[2]}, expected"
            f" {_SIDE}x{_SIDE}"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{labels_file}: {len(labels)} labels, expected {len(images)} as in {images_file}"
        )
    if len(labels) == 0:
        raise DataError(f"{images_file}: no images, expected at least 1")
    fits = labels < _NUM_CLASSES
    if not fits.all():
        told = f"{labels_file}: label {labels.max()}, expected 0 to {_NUM_CLASSES - 1}"
        if not is_private:
            raise DataError(told)
        _LOGGER.warning("%s; %d images are left out", told, np.count_nonzero(~fits))
        images, labels = images[fits], labels[fits]
    return images, labels.astype(np.int64)


# The training and the test part of ten nodes that one process simulates; together they are no
# more than the data set. Features take a millisecond an image.
@keep_until_changed(20)
def _features(
    images_file: Path, labels_file: Path, is_private: bool, places: bytes
) -> NDArray[np.float32]:
    """Return the features of the images at these places, int64 one after another."""
    images, _ = _images_and_labels(images_file, labels_file, is_private)
    return scattering_features(_pixels(images[np.frombuffer(places, np.intp)]))


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pixels from 0 to 1, shape (n, 1, side, side)."""
    return images[:, np.newaxis].astype(np.float32) / np.float32(255)


def _find(directory: Path, stem: str, kind: str) -> Path:
    """Return the file under any of its usual names."""
    dimensions = _NUM_DIMENSIONS[kind]
    plain = [f"{stem}-{kind}{mark}idx{dimensions}-ubyte" for mark in "-."]
    names = [name + ending for name in plain for ending in ("", ".gz")]
    for name in names:
        if (directory / name).is_file():
            return directory / name
    raise DataError(f"{directory}: none of {', '.join(names)} is there, expected one")


def _read_idx(file: Path, kind: str) -> NDArray[np.uint8]:
    """Return the array of an IDX file: magic number, sizes (both big-endian), bytes."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: {error}; expected a whole file") from error
    header_size = 4 * (1 + _NUM_DIMENSIONS[kind])
    if len(data) < header_size:
        raise DataError(f"{file}: {len(data)} bytes, expected a header of {header_size}")
    magic, *shape = (int(n) for n in np.frombuffer(data[:header_size], dtype=">u4"))
    if magic != _MAGIC[kind]:
        raise DataError(f"{file}: magic number {magic}, expected {_MAGIC[kind]} for {kind}")
    expected = header_size + int(np.prod(shape, dtype=object))
    if len(data) != expected:
        raise DataError(
            f"{file}: {len(data)} bytes, expected {expected} for a shape of {shape}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header_size).reshape(shape)
