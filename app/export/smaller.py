"""A network made smaller before it is written, and what that costs."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.export.network import made_up_inputs
from app.prediction.predictions import PredictionError
from app.prediction.recommendations import ratings_task
from app.prediction.saved_model import SavedModel
from app.results.model_file import GeneratingModel
from tasks.base import Task
from workloads.decisions import NotExportedError

#: The content of a file, and what its user has to know, line by line.
Written = tuple[bytes, list[str]]

# Records of nobody that outputs are compared on.
_NUM_MADE_UP = 100


@dataclass(frozen=True)
class Smaller:
    """What is given up for a smaller file.

    Attributes
    ----------
    prune : float, optional
        The share of weights that become 0, between 0 and 1: those of least magnitude.
    quantize : bool
        Whether weights become int8 with a scale for each output channel, after pruning.
    data : Path, optional
        Rows with a label, as `tacet predict` takes them, to score the network on before and
        after.

    Raises
    ------
    NotExportedError
        If the share is none, or there are rows but nothing is given up.
    """

    prune: float | None = None
    quantize: bool = False
    data: Path | None = None

    def __post_init__(self) -> None:
        if self.prune is not None and not 0 < self.prune < 1:
            raise NotExportedError(
                f"--prune {self.prune:g} is no share between 0 and 1; 0.5 sets half of the"
                " weights to 0"
            )
        if self.data is not None and not self:
            raise NotExportedError(
                f"--data {self.data} tells what --quantize and --prune cost; give one of them,"
                " or leave it out"
            )

    def __bool__(self) -> bool:
        """Return whether anything is given up."""
        return self.prune is not None or self.quantize

    def of(self, model: Any) -> tuple[Any, list[str]]:
        """Return a smaller copy of a network, or of what makes records up, and what was done.

        Raises
        ------
        NotExportedError
            If it has no weights that can be made smaller.
        """
        from tasks.smaller import NotSmallerError, prune_weights, round_weights

        network, lines = deepcopy(_network_of(model)), list[str]()
        try:
            if self.prune is not None:
                num_zeros, num_weights = prune_weights(network, self.prune)
                lines.append(f"pruned: {num_zeros:,} of {num_weights:,} weights are 0")
            if self.quantize:
                num_rounded, num_scales = round_weights(network)
                lines.append(f"int8: {num_rounded:,} weights, with {num_scales:,} scales")
        except NotSmallerError as error:
            asked = "--quantize" if self.prune is None else "--prune"
            raise NotExportedError(f"{asked}: {error}") from None
        if isinstance(model, GeneratingModel):
            return _Generator(model.workload, model.state, network), lines
        return network, lines

    def write(
        self, saved: SavedModel, write: Callable[[Task, Any], Written], whole: bytes
    ) -> Written:
        """Return the file of a smaller network, and its lines with what that costs.

        Parameters
        ----------
        saved : SavedModel
            The model as it is.
        write : callable
            Of the format, see ``app.export.export.Format``.
        whole : bytes
            What it writes of the model as it is.

        Raises
        ------
        NotExportedError
            As of ``of``, or if ``data`` cannot be scored.
        """
        model, done = self.of(saved.model)
        content, lines = write(saved.task, model)
        lines = [*lines, *done, size_line(whole, content)]
        lines.append(cost_line(saved.task, saved.model, model))
        if self.data is not None:
            lines.append(score_line(saved, replace(saved, model=model), self.data))
        return content, lines


@dataclass(frozen=True)
class _Generator(GeneratingModel):
    """What makes records up by a network that is no longer that of its state."""

    changed: Any

    @property
    def network(self) -> Any:
        """Return that network."""
        return self.changed


def size_line(whole: bytes, small: bytes) -> str:
    """Say how many bytes a file has, and how many compressed: zeros are saved there alone."""
    packed = [len(gzip.compress(content, mtime=0)) for content in (whole, small)]
    return (
        f"size: {len(small):,} bytes in place of {len(whole):,}; by gzip {packed[1]:,} in place"
        f" of {packed[0]:,}"
    )


def cost_line(task: Task, whole: Any, small: Any) -> str:
    """Say by how much the outputs of a network differ on records of nobody."""
    from tasks.training.local import outputs_of

    inputs = made_up_inputs(task, whole, _NUM_MADE_UP)
    due, found = (outputs_of(_network_of(model), inputs) for model in (whole, small))
    off, largest = np.abs(found - due).max(), np.abs(due).max()
    return (
        f"outputs of the network: off by {off:.3g} at most, of up to {largest:.3g}, over"
        f" {_NUM_MADE_UP} made-up inputs, which tell no accuracy"
    )


def score_line(whole: SavedModel, small: SavedModel, data: Path) -> str:
    """Say how good a network is on rows with a label, before and after.

    Raises
    ------
    NotExportedError
        If the rows cannot be read or none has a label, or if the model lists items.
    """
    if ratings_task(whole.task) is not None:
        raise NotExportedError(
            f"--data {data}: the model lists items, which `tacet predict` does not score; leave"
            " it out"
        )
    try:
        before, after = whole.predict(data), small.predict(data)
    except PredictionError as error:
        # What was found of each column, and the file's name, which is there once already.
        found = "; ".join(line.strip() for line in str(error).splitlines())
        raise NotExportedError(f"--data {data}: {found.removeprefix(f'{data}: ')}") from None
    if not after.figures:
        raise NotExportedError(
            f"--data {data}: no row has a label to score by; give rows with one, or leave it"
            " out"
        )
    said = ", ".join(
        f"{name} {value:.4f} in place of {before.figures[name]:.4f}"
        for name, value in after.figures.items()
    )
    return f"scored by the label of {after.num_scored} rows of {data}: {said}"


def _network_of(model: Any) -> Any:
    return model.network if isinstance(model, GeneratingModel) else model
