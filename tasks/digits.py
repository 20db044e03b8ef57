"""scikit-learn's 1,797 real handwritten digits, 8x8 pixels: small enough for a demo."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tasks.base import Classification, DataSource
from tasks.partition import local_part
from tasks.records import Examples, LocalData
from tasks.schema import TaskConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass
class DigitsConfig(TaskConfig):
    """The keys of every task, without others."""


@cache
def _digits() -> Examples:
    from sklearn.datasets import load_digits

    images, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
    pixels = (images / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    return Examples(pixels, labels.astype(np.int64))


class Digits(Classification):
    """Classification of 8x8 images by digit."""

    Config = DigitsConfig
    num_classes = 10

    def load(self, source: DataSource) -> LocalData:
        """Return this node's part of the images."""
        return local_part(
            _digits(), source, self.config.partition, self.config.test_fraction, self.seed
        )

    @property
    def has_images(self) -> bool:
        """Return True."""
        return True

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of an image with one channel."""
        return (1, 8, 8)

    def build_model(self) -> nn.Module:
        """Return a small CNN."""
        from tasks.models import SmallCNN

        return SmallCNN(side=8, num_classes=self.num_classes)
