"""Training that diverges: what the losses of a run say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strategies.rounds.report import RoundReport
from workloads.values import EVAL_PREFIX, TRAIN_LOSS

#: A loss of so many times that of the untrained model is no step on the way to a good one.
_TIMES_WORSE = 1000.0
_EVAL_LOSS = EVAL_PREFIX + "loss"


class LossWatch:
    """Compare the losses of a run with that of its untrained model.

    Under masks a contribution that is too large is clipped and not refused, so that training
    can diverge though every number is finite. For losses without noise: noise on a small count
    of records makes any loss out of a few of them.
    """

    def __init__(self) -> None:
        self._untrained: float | None = None

    def resume(self, reports: Sequence[RoundReport]) -> None:
        """Take the untrained model's loss from the first report of a resumed run."""
        if reports:
            first = reports[0]
            self._begin(first.metrics.get("loss"), first.train_loss)

    def objection(self, means: Mapping[str, float]) -> str | None:
        """Return which loss of a round says that training has diverged; None if none does.

        Parameters
        ----------
        means : mapping
            ``RoundResult.means``; those of the first round score the untrained model.
        """
        scored, trained = means.get(_EVAL_LOSS), means.get(TRAIN_LOSS)
        if self._untrained is None:
            self._begin(scored, trained)
        least = self._untrained
        # A loss that may be below 0 has no scale to be compared by.
        if least is None or least <= 0:
            return None
        for loss in (scored, trained):
            if loss is not None and loss > _TIMES_WORSE * least:
                return f"a loss of {loss:.4g}, where the untrained model has {least:.4g}"
        return None

    def _begin(self, scored: float | None, trained: float | None) -> None:
        """Note the first loss; that of training where no record is held out to score."""
        self._untrained = trained if scored is None else scored
