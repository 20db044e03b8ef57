"""Residual networks under torchvision's names, so that a file of its parameters fits.

He et al. 2016, arXiv 1512.03385, table 1, with the stride of a deep block in its middle
convolution, as in ``torchvision.models.resnet``. Without the last layer: what comes out is an
image's features. torchvision itself is not needed: PyPI's builds of it for Linux are for torch
with CUDA, and do not load beside torch for the CPU.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from tasks.images.backbone_config import Shape

#: Channels of the first convolution, and what a stage has in the middle of a block.
_FIRST_WIDTH = 64


class ResNet(nn.Module):
    """A residual network up to the mean over places.

    Input shape (n, 3, side, side), output shape (n, shape.num_features).

    Parameters
    ----------
    shape : Shape
        How many blocks there are, and of what kind.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _FIRST_WIDTH, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_FIRST_WIDTH)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inner = _FIRST_WIDTH
        for stage, num_blocks in enumerate(shape.num_blocks):
            width = _FIRST_WIDTH * 2**stage
            strides = [1 if stage == 0 else 2, *[1] * (num_blocks - 1)]
            blocks: list[nn.Module] = []
            for stride in strides:
                blocks.append(Block(inner, width, stride, shape))
                inner = width * shape.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images."""
        found = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        for stage in range(1, 5):
            found = self.get_submodule(f"layer{stage}")(found)
        return nn.functional.adaptive_avg_pool2d(found, 1).flatten(1)


class Block(nn.Module):
    """Two convolutions, or three in a deep network, beside which the input goes by."""

    def __init__(self, inner: int, width: int, stride: int, shape: Shape) -> None:
        super().__init__()
        outer = width * shape.expansion
        widths = [inner, width, width, outer] if shape.is_deep else [inner, width, outer]
        sizes = [1, 3, 1] if shape.is_deep else [3, 3]
        strides = [1, stride, 1] if shape.is_deep else [stride, 1]
        self.depth = len(sizes)
        for place, (before, after) in enumerate(pairwise(widths)):
            size = sizes[place]
            layer = nn.Conv2d(
                before, after, size, stride=strides[place], padding=size // 2, bias=False
            )
            self.add_module(f"conv{place + 1}", layer)
            self.add_module(f"bn{place + 1}", nn.BatchNorm2d(after))
        self.downsample = None
        if stride != 1 or inner != outer:
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride=stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the block's outputs, shape (n, outer, side / stride, side / stride)."""
        found = inputs
        for place in range(1, self.depth + 1):
            convolved = self.get_submodule(f"conv{place}")(found)
            found = self.get_submodule(f"bn{place}")(convolved)
            if place < self.depth:
                found = torch.relu(found)
        beside = inputs if self.downsample is None else self.downsample(inputs)
        return torch.relu(found + beside)
