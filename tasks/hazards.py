"""Hazards in public intervals of time: their loss and score of each record, and a model."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models import mlp


def hazard_loss(logits: Tensor, targets: Tensor, ends: Sequence[float]) -> Tensor:
    """Return minus the log likelihood of each record in discrete time, shape (n,).

    A hazard h is the chance of the event in an interval, for who was without it at its start
    (Gensheimer and Narasimhan 2019, PeerJ 7:e6257, equations 4 and 5). A record adds
    -log(1 - h) for each interval that it survived, and -log(h) for that of its event. One that
    is censored has survived an interval if it was under observation until its middle.

    Parameters
    ----------
    logits : Tensor, shape (n, intervals)
        log(h / (1 - h)).
    targets : Tensor of float64, shape (n, 2)
        Times above 0, and 1 for the event, 0 for censored.
    ends : sequence of float
        Where each interval ends, ascending; that belongs to it. The first begins at 0.
    """
    survived, has_event = _status(targets, ends)
    losses = functional.softplus(logits) * survived.to(logits.dtype)
    losses = losses + functional.softplus(-logits) * has_event.to(logits.dtype)
    return losses.sum(dim=1)


def brier_scores(logits: Tensor, targets: Tensor, ends: Sequence[float]) -> Tensor:
    """Return each record's mean squared error of survival at the ends, shape (n,), in [0, 1].

    The mean is over the ends at which it is known whether the event had happened: all, or of a
    censored record those that it survived (the administrative Brier score, Kvamme and Borgan
    2023, Stat. Comput. 33). One that is censored before the middle of the first interval counts
    as without the event at its end.
    """
    survived, has_event = _status(targets, ends)
    has_had = has_event.cumsum(dim=1) > 0
    is_known = survived | has_had
    is_known = torch.cat([torch.ones_like(is_known[:, :1]), is_known[:, 1:]], dim=1)
    curves = torch.exp(-functional.softplus(logits).cumsum(dim=1))
    errors = (curves - (~has_had).to(curves.dtype)).square()
    known = is_known.to(curves.dtype)
    return (errors * known).sum(dim=1) / known.sum(dim=1)


def _status(targets: Tensor, ends: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return which intervals each record has survived, and in which its event was.

    Both bool of shape (n, intervals).
    """
    last = torch.tensor(ends, dtype=torch.float64, device=targets.device)
    first = torch.cat([last.new_zeros(1), last[:-1]])
    times, is_event = targets[:, :1], targets[:, 1:] > 0
    survived = torch.where(is_event, last < times, (first + last) / 2 <= times)
    return survived, is_event & (first < times) & (times <= last)


class ProportionalOdds(nn.Module):
    """The odds of the event in each interval, times one factor for each record.

    Cox's model in discrete time (1972, J. R. Stat. Soc. B 34, equation 20): the logit of a
    hazard is a number of the interval and a linear predictor of the record.

    Input shape (n, num_features), output shape (n, num_intervals).
    """

    def __init__(self, num_features: int, num_intervals: int) -> None:
        super().__init__()
        self.predictor = nn.Linear(num_features, 1, bias=False)
        self.baseline = nn.Parameter(torch.full((num_intervals,), _few(num_intervals)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the hazards."""
        return self.predictor(inputs) + self.baseline


def hazard_mlp(num_features: int, num_intervals: int, hidden: int) -> nn.Module:
    """Return a perceptron with a logit for each interval, so that effects change with time.

    Input shape (n, num_features), output shape (n, num_intervals).
    """
    model = mlp(num_features, num_intervals, hidden)
    with torch.no_grad():
        list(model.parameters())[-1].fill_(_few(num_intervals))
    return model


def _few(num_intervals: int) -> float:
    """Return the logit that a model begins with: about one event in all intervals."""
    return -log(num_intervals)
