"""Trees as arrays become trees of nodes, without what no record can reach."""

from __future__ import annotations

import numpy as np

from workloads.decisions import Flags, Leaf, Node, split_of
from workloads.histograms.bins import Bins
from workloads.trees.ensemble import Trees


def nodes_of(trees: Trees, bins: Bins, chosen: range) -> tuple[Node, ...]:
    """Return the roots of some trees.

    Parameters
    ----------
    trees : Trees
        As ``Trees.check`` has them.
    bins : Bins
        Of the columns.
    chosen : range
        Which trees.
    """
    goes_left = np.unpackbits(trees.left, axis=1).astype(bool)

    def node(number: int, reached: list[Flags]) -> Node:
        column = int(trees.column[number])
        if column < 0:
            return Leaf(trees.value[number])
        flags, here = goes_left[number][: bins.sizes[column]], reached[column]
        sides: list[Node] = []
        for side, flag in enumerate((flags, ~flags)):
            below = list(reached)
            below[column] = here & flag
            sides.append(node(int(trees.child[number]) + side, below))
        return split_of(column, flags, here, *sides)

    everywhere = [np.ones(size, bool) for size in bins.sizes]
    return tuple(node(int(trees.roots[tree]), everywhere) for tree in chosen)
