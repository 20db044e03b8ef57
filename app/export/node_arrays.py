"""The attributes that both operators of ONNX for trees have: one entry for each node."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from app.export.comparisons import Comparisons, comparisons, comparisons_of_positions
from workloads.decisions import Decisions, Floats, Leaf, Node, Split, outputs_of


class _Entry(NamedTuple):
    """A node; values that are at most the threshold go to ``done``, others to ``on``."""

    tree: int
    number: int
    column: int = 0
    threshold: float = 0.0
    takes_missing: bool = False
    done: int = 0
    on: int = 0
    is_leaf: bool = True


class _Weight(NamedTuple):
    tree: int
    number: int
    output: int
    value: float


class NodeArrays:
    """The nodes of all trees of a model.

    A split of categories is a chain of comparisons, whose two children are shared: onnxruntime
    takes this, and asks that a node be shared as the child of those that are done.

    Parameters
    ----------
    model : Decisions
    num_before : int
        Outputs before those of the model, which are 0.
    """

    def __init__(self, model: Decisions, num_before: int = 0) -> None:
        self._model, self._num_before = model, num_before
        self._entries: list[_Entry] = []
        self._weights: list[_Weight] = []
        self._tree, self._begin = 0, 0
        # As a tree: of two base values, onnxruntime leaves out the first.
        start = Leaf(model.start)
        for self._tree, root in enumerate((start, *model.trees)):
            self._begin = len(self._entries)
            # A tool takes outputs that no leaf has for none at all: the first tree has all.
            told = np.append(np.zeros(num_before, bool), outputs_of(root))
            self._outputs = told | (self._tree == 0)
            self._place(root)

    def attributes(self, what: str) -> dict[str, Any]:
        """Return the attributes; ``what`` a leaf's outputs are called: class or target."""
        entries, weights = self._entries, self._weights
        return {
            "nodes_treeids": [entry.tree for entry in entries],
            "nodes_nodeids": [entry.number for entry in entries],
            "nodes_featureids": [entry.column for entry in entries],
            "nodes_values_as_tensor": doubles([entry.threshold for entry in entries]),
            "nodes_missing_value_tracks_true": [int(entry.takes_missing) for entry in entries],
            "nodes_truenodeids": [entry.done for entry in entries],
            "nodes_falsenodeids": [entry.on for entry in entries],
            "nodes_modes": ["LEAF" if entry.is_leaf else "BRANCH_LEQ" for entry in entries],
            f"{what}_treeids": [weight.tree for weight in weights],
            f"{what}_nodeids": [weight.number for weight in weights],
            f"{what}_ids": [weight.output for weight in weights],
            f"{what}_weights_as_tensor": doubles([weight.value for weight in weights]),
        }

    def _new(self) -> int:
        number = len(self._entries) - self._begin
        self._entries.append(_Entry(self._tree, number))
        return number

    def _place(self, node: Node) -> int:
        """Append a node and all below it; return its number within its tree."""
        number = self._new()
        if isinstance(node, Leaf):
            values = np.append(np.zeros(self._num_before), node.values)
            for output in np.flatnonzero(self._outputs).tolist():
                weight = _Weight(self._tree, number, output, float(values[output]))
                self._weights.append(weight)
            return number
        found = self._comparisons(node)
        numbers = [number, *(self._new() for _ in found.chain[1:])]
        sides = {True: self._place(node.left), False: self._place(node.right)}
        after = [*numbers[1:], sides[found.rest_goes_left]]
        for own, on, comparison in zip(numbers, after, found.chain, strict=True):
            self._entries[self._begin + own] = _Entry(
                self._tree,
                own,
                node.column,
                comparison.threshold,
                comparison.takes_missing,
                sides[comparison.goes_left],
                on,
                is_leaf=False,
            )
        return number

    def _comparisons(self, split: Split) -> Comparisons:
        if self._model.table.columns[split.column].is_categorical:
            return comparisons_of_positions(split)
        return comparisons(split, self._model.cuts[split.column])


def doubles(values: list[float] | Floats) -> Any:
    """Return a tensor of float64; its operator takes it instead of a list of float32."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(values, np.float64))
