"""From what a server heard in a run to what it knows of each bin, and to records."""

import numpy as np

from benchmarks.reconstruction_attack import Evidence, Ints, Peeling
from benchmarks.reconstruction_paths import Forest
from benchmarks.reconstruction_runs import Heard
from benchmarks.reconstruction_score import Floats, Rows
from workloads.histograms.ebm import Ebm
from workloads.histograms.entries import Layout
from workloads.histograms.schedule import private_shares
from workloads.histograms.summed import FRACTION_BITS
from workloads.trees.ensemble import Trees
from workloads.trees.gbdt import Gbdt

_ONE = 2.0**FRACTION_BITS


def peeled(heard: Heard) -> Peeling:
    """Return the records that the server makes of what it heard."""
    workload = heard.workload
    if isinstance(workload, Ebm):
        return Peeling(_of_curves(heard, workload)).run()
    assert isinstance(workload, Gbdt)
    if heard.workload.setup.mode is not None:
        assert heard.state is not None
        classes = _whole(heard.state.arrays["slots"])
        none = np.zeros((0, len(workload.growth.bins)), np.int64)
        return Peeling(Evidence(workload.growth.bins, classes, none, none)).run()
    return _of_trees(heard, workload)


def weights_of(heard: Heard, others: Rows, num_records: int) -> Floats:
    """Return how much likelier each value is by noisy histograms than in the population.

    The mean of what the histograms may be, if those of the records are the population's but for
    chance, and the noise is as large as it looks.

    Parameters
    ----------
    heard : Heard
        Of a private run.
    others : Rows
        Of the population.
    num_records : int
        All that were summed.

    Returns
    -------
    ndarray, shape (n, columns)
        For each value of the rows.
    """
    workload = heard.workload
    assert isinstance(workload, Ebm | Gbdt)
    assert heard.state is not None
    bins = workload.bins
    places, labels = bins.places(others.columns), others.labels.astype(np.intp)[:, np.newaxis]
    slots, due = heard.state.arrays["slots"], np.zeros((2, len(bins)))
    np.add.at(due, (labels, places), num_records / len(labels))
    gaps = slots - due
    noise = max(float((gaps**2 - due).mean()), np.finfo(np.float64).tiny)
    likely = np.maximum(1 + gaps / (due + noise), 0)
    return likely[labels, places]


def _of_curves(heard: Heard, workload: Ebm) -> Evidence:
    """Return the histograms of the label, and those of the residuals in all rounds."""
    layout, setup = workload.layout, workload.setup
    none = np.zeros((0, len(layout.bins)), np.int64)
    residuals = [none]
    assert heard.state is not None
    for number, total in sorted(heard.sums.items()):
        part, weight = layout.split(total)[2], 1 / _ONE
        if setup.mode is not None:
            weight = layout.weights(private_shares(number, setup.num_rounds)).residuals
        if number > 1 and weight and part.any():
            residuals.append(np.rint(part / (weight * _ONE)).astype(np.int64))
    classes = _whole(_first_slots(heard, layout))
    return Evidence(layout.bins, classes, none, np.concatenate(residuals))


def _first_slots(heard: Heard, layout: Layout) -> Floats:
    """Return the records by class and bin: the victim's, or under noise the mean of rounds."""
    assert heard.state is not None
    if heard.workload.setup.mode is not None:
        return heard.state.arrays["slots"]
    return layout.split(heard.sums[1])[0] / _ONE


def _of_trees(heard: Heard, workload: Gbdt) -> Peeling:
    """Return the records by the sums of all nodes of the trees that are grown to the end."""
    last = heard.state
    assert last is not None
    trees = _complete(Trees.of(last.arrays), last.header["complete"])
    bins, loss = workload.growth.bins, workload.growth.loss
    asked: dict[int, int] = {}
    blocks: list[Ints] = []
    for number, total in sorted(heard.sums.items()):
        state = heard.states[number]
        nodes = Trees.of(state.arrays).open_nodes
        if len(nodes) and nodes.max() < len(trees.column):
            asked |= {int(node): len(asked) + i for i, node in enumerate(nodes)}
            blocks.append(np.rint(total).astype(np.int64).reshape(3, len(nodes), len(bins)))
    sums = np.concatenate(blocks, axis=1).swapaxes(0, 1)
    sums[:, 2] >>= FRACTION_BITS
    intercept = last.arrays["intercepts"]
    own = loss.residuals(np.arange(2), loss.predicted(np.tile(intercept, (2, 1))))
    zero, one = np.rint(own[:, 0] * _ONE).astype(np.int64)
    root = sums[asked[0]]
    ones = (root[0] - root[2] * zero) // (one - zero)
    classes = np.stack([root[2] - ones, ones])
    numbers = np.concatenate([sums[:, 0], sums[:, 1]])
    evidence = Evidence(bins, classes, sums[:, 2], numbers)
    forest = Forest(bins, loss, float(intercept[0]), trees, asked, sums)

    def follow(place: int) -> list[Ints]:
        labels = [0] * int(classes[0, place]) + [1] * int(classes[1, place])
        found: list[Ints] = []
        for walker in forest.follow(place, labels) or ():
            own = forest.print_of(walker)
            label = np.arange(2) == walker.label
            found.append(np.concatenate([label, own[:, 2], own[:, 0], own[:, 1]]))
        return found

    return Peeling(evidence, follow).run()


def _complete(trees: Trees, num: int) -> Trees:
    """Return the first trees; they have the first nodes, for nodes are appended."""
    end = int((trees.owners() < num).sum())
    return Trees(
        trees.roots[:num],
        trees.column[:end],
        trees.child[:end],
        trees.left[:end],
        trees.value[:end],
    )


def _whole(counts: Floats) -> Ints:
    return np.rint(np.maximum(counts, 0)).astype(np.int64)
