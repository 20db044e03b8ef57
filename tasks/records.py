"""Records as a node holds them: inputs of a model and, in some tasks, rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DataError(ValueError):
    """A node's records that do not fit the task. The message stays on the node."""


@dataclass(frozen=True)
class Examples:
    """Records ready for a model.

    Attributes
    ----------
    inputs : ndarray, shape (n, ...), float32, or int64 tokens
    targets : ndarray, shape (n,), int64 class indices or float32 values
        Of a record with several, shape (n, ...).
        Of a label with a time: float64, shape (n, 2), as ``tasks.table.Table.event`` says.
    columns : ndarray, float64, shape (n, columns), optional
        The same records as rows of the task's table, where it has one. See ``tasks.table``.
    weights : ndarray, float64, shape (n,), optional
        How often each counts, where the task has weights: from 0 to the table's largest.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    columns: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")
        if self.columns is not None and len(self.columns) != len(self.targets):
            raise DataError(f"{len(self.columns)} rows but {len(self.targets)} targets")
        if self.weights is not None and len(self.weights) != len(self.targets):
            raise DataError(f"{len(self.weights)} weights but {len(self.targets)} targets")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: NDArray[np.intp]) -> Examples:
        """Return the examples at these indices."""
        columns = None if self.columns is None else self.columns[indices]
        weights = None if self.weights is None else self.weights[indices]
        return Examples(self.inputs[indices], self.targets[indices], columns, weights)

    def one_by_one(self, indices: NDArray[np.intp]) -> Iterator[Examples]:
        """Yield the example at each index, alone, copied into one and the same memory.

        What is computed from it cannot depend on where the record lies, nor on the others: a
        slice will not do, as its alignment follows from its place. What is yielded is
        overwritten by the next.
        """
        columns = None if self.columns is None else _one_of(self.columns)
        weights = None if self.weights is None else _one_of(self.weights)
        one = Examples(_one_of(self.inputs), _one_of(self.targets), columns, weights)
        for index in indices:
            one.inputs[0], one.targets[0] = self.inputs[index], self.targets[index]
            if columns is not None and self.columns is not None:
                columns[0] = self.columns[index]
            if weights is not None and self.weights is not None:
                weights[0] = self.weights[index]
            yield one


def joined(parts: Sequence[Examples]) -> Examples:
    """Return the records of several parts, all alike in what they have, one after another."""
    columns = [part.columns for part in parts if part.columns is not None]
    weights = [part.weights for part in parts if part.weights is not None]
    return Examples(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate(columns) if columns else None,
        np.concatenate(weights) if weights else None,
    )


def _one_of(many: NDArray[Any]) -> NDArray[Any]:
    return np.empty((1, *many.shape[1:]), many.dtype)


@dataclass(frozen=True)
class LocalData:
    """One node's records, split once and for all rounds in the same way.

    Each part may be empty: its size is random (see ``tasks.partition.hold_out``).

    Attributes
    ----------
    train, test : Examples
        To train on, and held out.
    personal : mapping of ndarray, optional
        The node's own part of the model, where it has one: ``tasks.training.personal``.
    """

    train: Examples
    test: Examples
    personal: Mapping[str, NDArray[Any]] | None = None
