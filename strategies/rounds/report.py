"""The report of a closed round: a line for the log, a record for the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, TypeVar

from strategies.rounds.attempt import RoundResult
from workloads.values import EVAL_PREFIX, TRAIN_LOSS

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_MAPPINGS = ("metrics", "failures", "privacy", "stage_seconds", "published")


def frozen(values: Mapping[_Key, _Value]) -> Mapping[_Key, _Value]:
    """Return a read-only copy."""
    return MappingProxyType(dict(values))


@dataclass(frozen=True)
class RoundReport:
    """One line of the history, read-only.

    Attributes
    ----------
    round : int
        The round that closed, counted from 1.
    seconds : float
        Wall time of the round, failed attempts included.
    num_asked, num_replies : int
        Cohort and good replies of the attempt that counted.
    train_loss : float or None
        Mean loss per training example in this round.
    evaluated_round : int
        The round whose model the metrics score; 0 is the initial model.
    metrics : mapping
        ``loss`` and the task's metrics per held-out example; empty if nothing was held out.
    failures : mapping
        Node id to reason.
    privacy : mapping
        What the run has spent so far; empty without differential privacy.
    bytes_down, bytes_up : int or None
        To all nodes and from them in the round, failed attempts included, see ``Traffic``;
        None in the histories of versions that did not count.
    stage_seconds : mapping
        Kind of trip to its seconds; the rest of ``seconds`` is the server's own work.
    took_part : sequence of int
        The nodes whose contributions are in the sum, ascending; empty in the histories of
        versions that did not say.
    published : mapping
        Node id to what the node has published of itself in the round, see
        ``strategies.rounds.published``; empty for most.
    """

    round: int
    seconds: float
    num_asked: int
    num_replies: int
    train_loss: float | None
    evaluated_round: int
    metrics: Mapping[str, float]
    failures: Mapping[int, str] = field(default_factory=dict[int, str])
    privacy: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bytes_down: int | None = None
    bytes_up: int | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    took_part: Sequence[int] = ()
    published: Mapping[int, Mapping[str, float]] = field(
        default_factory=dict[int, Mapping[str, float]]
    )

    def __post_init__(self) -> None:
        for name in _MAPPINGS:
            object.__setattr__(self, name, frozen(getattr(self, name)))
        object.__setattr__(self, "took_part", tuple(self.took_part))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        values: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in _MAPPINGS:
            values[name] = dict(values[name])
        return values

    def line(self, num_rounds: int) -> str:
        """Return the line for the log."""
        width = len(str(num_rounds))
        parts = [f"round {self.round:>{width}}/{num_rounds}", f"{self.seconds:6.2f} s"]
        parts.append(f"{self.num_replies} of {self.num_asked} answered")
        if self.train_loss is not None:
            parts.append(f"train loss {self.train_loss:.4f}")
        if self.metrics:
            parts.append(f"model of round {self.evaluated_round}: {describe(self.metrics)}")
        if self.privacy:
            parts.append(describe_privacy(self.privacy))
        if self.bytes_down is not None and self.bytes_up is not None:
            parts.append(f"{_size(self.bytes_down)} down, {_size(self.bytes_up)} up")
        return " | ".join(parts)


def _size(count: int) -> str:
    """Return a number of bytes as ``12.3 kB``, in powers of a thousand."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} GB"


def describe(metrics: Mapping[str, float]) -> str:
    """Return metrics as ``loss 0.1234, accuracy 0.9876``."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def describe_privacy(spent: Mapping[str, Any]) -> str:
    """Return what was spent, with unit, neighbours, accountant and delta."""
    return (
        f"epsilon {spent['epsilon']:.4f}, model only {spent['epsilon_model_only']:.4f},"
        f" delta {spent['delta']:g} per {spent['unit']}"
        f" ({spent['neighbours']}; {spent['accountant'].upper()})"
    )


def evaluation_metrics(means: Mapping[str, float]) -> dict[str, float]:
    """Return the scores on held-out records, without the prefix of their sums."""
    return {
        name.removeprefix(EVAL_PREFIX): value
        for name, value in means.items()
        if name.startswith(EVAL_PREFIX)
    }


def report_of(
    server_round: int,
    seconds: float,
    result: RoundResult,
    privacy: dict[str, Any],
    traffic: Mapping[str, Any],
    published: Mapping[int, Mapping[str, float]],
) -> RoundReport:
    """Return the report of a round that closed with this result, after this traffic."""
    return RoundReport(
        round=server_round,
        seconds=seconds,
        num_asked=result.num_asked,
        num_replies=result.num_replies,
        train_loss=result.means.get(TRAIN_LOSS),
        evaluated_round=server_round - 1,
        metrics=evaluation_metrics(result.means),
        failures={node: str(reason) for node, reason in result.failures.items()},
        privacy=privacy,
        took_part=result.survivors,
        published=published,
        **traffic,
    )
