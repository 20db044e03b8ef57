"""LightGBM's text format, version 4, which needs no package to be written.

Its trees have one number in a leaf: a model of several outputs has a tree for each output in
turn. Categories are split by bit sets.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from app.export.comparisons import comparisons
from tasks.table import Column
from workloads.decisions import Decisions, Leaf, Link, Node, Split, outputs_of

# In decision_type.
_BY_CATEGORY, _MISSING_LEFT, _MISSING_IS_NAN = 1, 2, 8
# More than trees of 20 levels have.
_MOST_LEAVES = 2**21
# LightGBM takes numbers within 1e-35 of 0 for 0: a threshold there is as good further out.
_LEAST = 1e-36
_OBJECTIVES = {
    Link.logistic: ["objective=binary sigmoid:1"],
    Link.softmax: ["objective=multiclass num_class:{}"],
    Link.shares: [],
    Link.number: ["objective=regression"],
}


class TooLargeError(ValueError):
    """A tree that would become far too large. The message is one line."""


def lightgbm_text(model: Decisions) -> bytes:
    """Return a file for ``lightgbm.Booster(model_file=...)``.

    Its ``predict`` says the probability of the second of two classes, shape (n,), or of each
    of more, shape (n, classes); or a number in the label's unit, not yet cut to its bounds.

    Raises
    ------
    TooLargeError
        If a tree has too many leaves.
    """
    for tree in model.trees:
        if (num := _num_leaves(tree, model)) > _MOST_LEAVES:
            raise TooLargeError(
                f"--format lightgbm: a tree has {num} leaves, as it splits a column of numbers"
                " into many parts at once, which Tacet grows no tree by; take --format onnx"
            )
    outputs = [*range(len(model.start))]
    if model.link is Link.shares and len(outputs) == 2:
        # As its own models of two classes.
        outputs = outputs[1:]
    trees = (
        _tree(number, tree, output, model)
        for number, (tree, output) in enumerate(_in_turn(model, outputs))
    )
    lines = [*_head(model, len(outputs)), *trees, "end of trees", "", "pandas_categorical:null"]
    return ("\n".join(lines) + "\n").encode()


def feature_names(columns: Sequence[Column]) -> list[str]:
    """Return the columns' names as LightGBM takes them: no blanks, none of ``",:[]{}``."""
    found: list[str] = []
    for column in columns:
        name = plain = re.sub(r'[\s",:\[\]{}]', "_", column.name)
        number = 1
        while name in found:
            number += 1
            name = f"{plain}_{number}"
        found.append(name)
    return found


def _head(model: Decisions, num_outputs: int) -> list[str]:
    columns = model.table.columns
    infos = [
        ":".join(map(str, range(len(column.categories))))
        if column.is_categorical
        else f"[{column.low:.17g}:{column.high:.17g}]"
        for column in columns
    ]
    return [
        "tree",
        "version=v4",
        f"num_class={num_outputs}",
        f"num_tree_per_iteration={num_outputs}",
        "label_index=0",
        f"max_feature_idx={len(columns) - 1}",
        *(line.format(num_outputs) for line in _OBJECTIVES[model.link]),
        f"feature_names={' '.join(feature_names(columns))}",
        f"feature_infos={' '.join(infos)}",
        "",
    ]


def _in_turn(model: Decisions, outputs: list[int]) -> Iterator[tuple[Node, int]]:
    """Return trees and which of their outputs counts: of each output in turn."""
    told = [(tree, outputs_of(tree)) for tree in model.trees]
    of_each = [[tree for tree, is_told in told if is_told[output]] for output in outputs]
    nothing = Leaf(np.zeros_like(model.start))
    for turn in ([Leaf(model.start)] * len(outputs), *zip_longest(*of_each, fillvalue=nothing)):
        yield from zip(turn, outputs, strict=True)


def _tree(number: int, root: Node, output: int, model: Decisions) -> str:
    """Return the text of a tree of one output."""
    scale, shift = 1.0, 0.0
    if model.link is Link.number:
        low, high = model.table.label.low, model.table.label.high
        # The first tree is where the sum starts.
        scale, shift = (high - low) / 2, (low + high) / 2 if number == 0 else 0.0
    made = _Tree(model, output)
    made.place(root)
    lines = [f"Tree={number}", f"num_leaves={len(made.leaves)}", f"num_cat={len(made.sets)}"]
    if made.nodes:
        columns, thresholds, types, left, right = zip(*made.nodes, strict=True)
        lines += [
            f"split_feature={_joined(columns)}",
            f"split_gain={_joined([0] * len(columns))}",
            f"threshold={_joined(thresholds)}",
            f"decision_type={_joined(types)}",
            f"left_child={_joined(left)}",
            f"right_child={_joined(right)}",
        ]
    lines.append(f"leaf_value={_joined([scale * value + shift for value in made.leaves])}")
    if made.sets:
        ends = np.cumsum([0, *map(len, made.sets)]).tolist()
        words = [word for words in made.sets for word in words]
        lines += [f"cat_boundaries={_joined(ends)}", f"cat_threshold={_joined(words)}"]
    return "\n".join([*lines, "is_linear=0", "shrinkage=1", "", ""])


def _num_leaves(node: Node, model: Decisions) -> int:
    """Return how many leaves a tree has where each of a split's parts has its own child."""
    if isinstance(node, Leaf):
        return 1
    left, right = _num_leaves(node.left, model), _num_leaves(node.right, model)
    if model.table.columns[node.column].is_categorical:
        return left + right
    found = comparisons(node, model.cuts[node.column])
    sides = [*(one.goes_left for one in found.chain), found.rest_goes_left]
    return sum(left if side else right for side in sides)


def _joined(values: Sequence[float]) -> str:
    return " ".join(f"{value:.17g}" for value in values)


@dataclass
class _Tree:
    """A tree of one output as LightGBM has it.

    Attributes
    ----------
    nodes : list of tuple
        Column, threshold, decision type, and both children: a node's number, or that of a leaf,
        less than 0.
    leaves : list of float
        Their values.
    sets : list of list of int
        The categories that go left, as bits of 32-bit words.
    """

    model: Decisions
    output: int
    nodes: list[tuple[int, float, int, int, int]] = field(default_factory=list)
    leaves: list[float] = field(default_factory=list)
    sets: list[list[int]] = field(default_factory=list)

    def place(self, node: Node) -> int:
        """Append a node and all below it; return what its parent calls it."""
        if isinstance(node, Leaf):
            self.leaves.append(float(node.values[self.output]))
            return ~(len(self.leaves) - 1)
        if self.model.table.columns[node.column].is_categorical:
            return self._place_categories(node)
        return self._place_numbers(node)

    def _place_categories(self, split: Split) -> int:
        # What is in no set goes right, missing values as well.
        goes_left, left, right = split.goes_left, split.left, split.right
        if goes_left[-1]:
            goes_left, left, right = ~goes_left, right, left
        chosen = np.flatnonzero((goes_left & split.reached)[:-1])
        words = [0] * (int(chosen.max()) // 32 + 1)
        for position in chosen.tolist():
            words[position // 32] |= 1 << position % 32
        self.sets.append(words)
        number = self._new()
        kind, place = _BY_CATEGORY | _MISSING_IS_NAN, float(len(self.sets) - 1)
        children = self.place(left), self.place(right)
        self.nodes[number] = (split.column, place, kind, *children)
        return number

    def _place_numbers(self, split: Split) -> int:
        found = comparisons(split, self.model.cuts[split.column])
        sides = {True: split.left, False: split.right}
        numbers = [self._new() for _ in found.chain]
        for place, comparison in enumerate(found.chain):
            is_last = place + 1 == len(numbers)
            done = self.place(sides[comparison.goes_left])
            on = self.place(sides[found.rest_goes_left]) if is_last else numbers[place + 1]
            kind = _MISSING_IS_NAN | (_MISSING_LEFT if comparison.takes_missing else 0)
            threshold = _threshold(comparison.threshold)
            self.nodes[numbers[place]] = (split.column, threshold, kind, done, on)
        return numbers[0]

    def _new(self) -> int:
        self.nodes.append((0, 0.0, 0, 0, 0))
        return len(self.nodes) - 1


def _threshold(value: float) -> float:
    """Return a threshold that does the same and that LightGBM can read."""
    if abs(value) < _LEAST:
        return float(np.copysign(_LEAST, value))
    # Its text has no infinity. Only missing values, and infinite ones with them, are above.
    return min(value, sys.float_info.max)
