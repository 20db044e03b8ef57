"""How the participants' own accuracies are spread: a histogram over them, under the mask.

No participant's value is seen, only how many are in which bin. It is not a sum over records: a
record moves two counts by one, and so does a participant that leaves. So it is refused where
records are hidden, offered from 100 participants where those are, and without privacy only from
ten, and if each one's policy names it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from workloads.report import ReportTable
from workloads.values import EVAL_PREFIX, NUM_EXAMPLES, SPREAD_PREFIX

Floats = NDArray[np.float64]

#: Its name among the exact sums of a node's policy.
SPREAD = "spread"
#: The score whose values are spread: a share of the records.
SCORE = "accuracy"
#: Fewest participants: without privacy, and where participants are hidden.
FEWEST_EXACT, FEWEST_PRIVATE = 10, 100
_NUM_BINS = 20

#: Names of the counts, in order, as ``Workload.score_names``.
NAMES = tuple(f"{SPREAD_PREFIX}{number}" for number in range(_NUM_BINS))


def own_counts(accuracy: float | None) -> Floats:
    """Return a one in the bin of one's own accuracy, shape (20,); zeros if there is none."""
    counts = np.zeros(_NUM_BINS)
    if accuracy is not None and np.isfinite(accuracy):
        counts[min(_NUM_BINS - 1, max(0, int(accuracy * _NUM_BINS)))] = 1
    return counts


def own_sums(sums: Mapping[str, float]) -> dict[str, float]:
    """Return one participant's counts by name, from its sums over its held-out records."""
    num = sums.get(EVAL_PREFIX + NUM_EXAMPLES, 0.0)
    accuracy = sums[EVAL_PREFIX + SCORE] / num if num > 0 else None
    return dict(zip(NAMES, map(float, own_counts(accuracy)), strict=True))


def counts_of(sums: Mapping[str, float]) -> Floats | None:
    """Return how many participants are in each bin, shape (20,); None if nobody was asked."""
    if NAMES[0] not in sums:
        return None
    return np.array([sums[name] for name in NAMES])


def worst_decile(counts: Floats) -> float:
    """Return the mean accuracy of the worst tenth of the participants.

    Each counts as in the middle of its bin; noisy counts below 0 count as 0. A half where
    nobody is counted.
    """
    kept = np.maximum(counts, 0.0)
    tenth = kept.sum() / 10
    if tenth <= 0:
        return 0.5
    before = np.cumsum(kept) - kept
    taken = np.clip(tenth - before, 0, kept)
    return float(taken @ _middles()) / float(tenth)


def spread_table(counts: Floats, noise: float) -> ReportTable:
    """Return a row for each bin from the first to the last that has participants."""
    there = np.flatnonzero(counts > 3 * noise)
    first, last = (int(there[0]), int(there[-1])) if len(there) else (0, _NUM_BINS - 1)
    rows = [
        [number / _NUM_BINS, (number + 1) / _NUM_BINS, float(counts[number])]
        for number in range(first, last + 1)
    ]
    note = f"standard deviation of each count of participants: {noise:.3g}" if noise else ""
    return ReportTable("participants", [f"{SCORE} from", "to", "participants"], rows, note)


def _middles() -> Floats:
    return (np.arange(_NUM_BINS) + 0.5) / _NUM_BINS
