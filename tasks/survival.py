"""The contract of tasks whose label is a time to an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from tasks.base import ModelRefusedError, Task

if TYPE_CHECKING:
    from torch import Tensor, nn


class Survival(Task):
    """Times under observation, each ended by an event or censored before it.

    Targets are float64 of shape (n, 2), as ``tasks.table.Table.event`` says. A neural model has
    no loss here: the partial likelihood couples records.
    """

    metric = ""
    has_times = True

    def made_up_targets(self, num_records: int) -> NDArray[np.float64]:
        """Return times up to the longest, every other one ended by the event."""
        longest = 1.0 if self.table is None else self.table.label.high
        ends = np.linspace(longest / max(num_records, 1), longest, num_records)
        return np.column_stack([ends, np.arange(num_records) % 2]).astype(np.float64)

    def build_model(self) -> nn.Module:
        """Refuse: there is none."""
        _refuse()

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Refuse: there is none."""
        _refuse()

    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Refuse: there are none."""
        _refuse()


def _refuse() -> NoReturn:
    raise ModelRefusedError(
        "the label is a time to an event, for which no neural model has a loss; take"
        " algorithm=cox or algorithm=kaplan_meier"
    )
