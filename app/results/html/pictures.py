"""Pictures that a run's model makes up: a grid with a row for each class."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import cast

import numpy as np
from numpy.typing import NDArray

from app.results.html.gather import RunData
from app.results.html.parts import Section
from app.results.html.svg import Figure
from app.results.model_file import GeneratingModel, load_model, model_file_of
from workloads.registry import WORKLOADS

_PER_CLASS, _MOST_CLASSES = 8, 10
#: Shades of ink; each pixel has one of them, or is left out.
_SHADES = 8
# Between the pictures, in their own pixels, and of the labels, in parts of a picture.
_GAP, _LABEL = 1, 0.6
# CSS pixels of the grid, about.
_WIDTH = 560
_KEY, _TITLE = "pictures", "What the generator makes up"


def pictures_section(data: RunData) -> Section:
    """Return a grid of pictures by the model that the folder has now; empty of other runs.

    The seed is one and the same: only another model makes other pictures.
    """
    kind = WORKLOADS.get(data.option("algorithm"))
    file = model_file_of(data.folder)
    if kind is None or not kind.generates() or not file.exists():
        return Section(_KEY, _TITLE)
    task, model = load_model(file)
    if not task.has_images:
        return Section(_KEY, _TITLE)
    num_classes = task.scored_classes or 1
    rng = np.random.default_rng(0)
    made = cast(GeneratingModel, model).generate(_PER_CLASS * num_classes, rng).inputs
    # Each class in turn; channels are seen together.
    images = made.mean(axis=1).reshape(_PER_CLASS, num_classes, *made.shape[2:])
    return Section(
        _KEY, _TITLE, texts=[_words(data)], figures=[figure_of(images[:, :_MOST_CLASSES])]
    )


def _words(data: RunData) -> str:
    if data.option("privacy") == "none":
        return (
            "Made up by the model as it stands. The run has no differential privacy: a"
            " generator may show what it has learnt by heart."
        )
    return (
        "Made up by the model as it stands. However many are made, they reveal no more of a"
        " record than the epsilon of this run allows."
    )


def figure_of(images: NDArray[np.floating]) -> Figure:
    """Return the figure of pictures, shape (columns, classes, height, width), from 0 to 1.

    As paths in the page's own ink, as there are no more than so many shades: a picture is then
    right in light, in dark and in print, and nothing has to be loaded.
    """
    num_columns, num_classes, height, width = images.shape
    shades = np.clip(np.rint(images * _SHADES), 0, _SHADES).astype(np.int64)
    whole = np.zeros((num_classes * (height + _GAP), num_columns * (width + _GAP)), np.int64)
    for (column, row), own in zip(
        np.ndindex(num_columns, num_classes), _each(shades), strict=True
    ):
        top, left = row * (height + _GAP), column * (width + _GAP)
        whole[top : top + height, left : left + width] = own
    alt = f"{num_columns} pictures of each class, 0 to {num_classes - 1} from top to bottom"
    margin, size = _LABEL * width, 0.35 * height
    labels = "".join(
        f'<text x="0" y="{(row + 0.5) * (height + _GAP) + size / 3:.1f}"'
        f' font-size="{size:.1f}" fill="var(--muted)">{row}</text>'
        for row in range(num_classes)
    )
    box = f"0 0 {margin + whole.shape[1]:.1f} {whole.shape[0]}"
    # A run of pixels is a line as wide as a pixel, through their middles.
    paths = "".join(_paths(whole))
    element = (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box}">{labels}'
        f'<g transform="translate({margin:.1f} 0.5)" stroke="var(--ink)"'
        f' shape-rendering="crispEdges">{paths}</g></svg>'
    )
    return Figure("A row for each class", alt, element, width=_WIDTH)


def _each(shades: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for column in shades:
        yield from column


def _paths(pixels: NDArray[np.int64]) -> Iterator[str]:
    """Yield a path for each shade: its runs of pixels, row by row."""
    for shade in range(1, _SHADES + 1):
        edges = np.diff(np.pad((pixels == shade).astype(np.int8), ((0, 0), (1, 1))), axis=1)
        rows, starts = np.nonzero(edges == 1)
        _, ends = np.nonzero(edges == -1)
        runs = zip(starts, rows, ends - starts, strict=True)
        lines = "".join(f"M{x} {y}h{length}" for x, y, length in runs)
        if lines:
            yield f'<path stroke-opacity="{shade / _SHADES:g}" d="{lines}"/>'
