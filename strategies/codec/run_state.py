"""The codec of a run, and its state over the rounds: clip norm and privacy spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
from flwr.app import ConfigRecord

from privacy.accounting.run_spent import spent_of
from privacy.bounding.clipping import next_clip_norm
from privacy.plan.plan import PrivacyPlan
from strategies.codec.codec import Codec
from strategies.codec.compressed_codec import CompressedCodec, next_ranges
from strategies.codec.last_sum import PREFIX, LastSum
from strategies.codec.private_codec import CLIP_BITS, PrivateCodec
from workloads.model_arrays import hash_state, parted, prefixed
from workloads.values import Aggregate, Arrays, State

#: Where the server says which clip norm a round has, if it is adaptive.
CLIP_NORM = "clip-norm"
#: Where the server says the weight of the last sum, by which a node can take its own part out.
TOTAL_WEIGHT = "total-weight"
#: Where the server says which range each block of a compressed update has, once it knows.
RANGES = "ranges"
_RANGES_KEPT = "compression/ranges"


class RunState:
    """The codec of a run without differential privacy, which never changes.

    ``is_private`` is whether what it decodes has noise in it.

    Parameters
    ----------
    codec : Codec
        Contributions to integers and back.
    scores : bool
        Whether the workload scores its states on held-out records.
    tells_weight : bool
        Whether requests bring the weight of the last sum, which the server has been shown.
    """

    is_private = False

    def __init__(
        self, codec: Codec, scores: bool = True, *, tells_weight: bool = False
    ) -> None:
        self.codec: Codec = codec
        self._scores = scores
        self._tells_weight = tells_weight
        self._last_weight: float | None = None

    @property
    def plan(self) -> PrivacyPlan | None:
        """Return the noise and the schedule of a private run; None without privacy."""
        return None

    def request(self) -> ConfigRecord:
        """Return the record that goes with a request beside the model."""
        if self._last_weight is None:
            return ConfigRecord()
        return ConfigRecord({TOTAL_WEIGHT: self._last_weight})

    def has_metrics(self, server_round: int, *, training: bool) -> bool:
        """Whether the nodes score the model in this trip."""
        return self._scores

    @property
    def scores_last_model(self) -> bool:
        """Whether there is a trip for the last model's metrics."""
        return self._scores

    def note_release(self, server_round: int, *, training: bool) -> None:
        """Note that nodes were asked for contributions, whether or not they answer."""

    def note_drawable(self, num_drawable: int) -> None:
        """Note among how many nodes the cohorts were drawn, see ``Cohorts``."""

    def pays_for(self, server_round: int) -> bool:
        """Whether one attempt at this round is paid for, whatever comes after it."""
        return True

    def shortfall(self, server_round: int) -> str:
        """Return why this round and all after it are not paid for; empty if they are."""
        return ""

    def take(self, aggregate: Aggregate, asked: State) -> None:
        """Take note of a sum, and of the state that it is about."""
        if self._tells_weight:
            self._last_weight = float(aggregate.weight)

    def report(self) -> dict[str, Any]:
        """Return the privacy part of a round's report; empty without privacy."""
        return {}

    def restore(self, report: dict[str, Any]) -> None:
        """Restore the codec and counts from the last report of a resumed run."""

    @property
    def last_sum(self) -> LastSum | None:
        """Return the sum that goes with the next request; None for none."""
        return None

    def export(self) -> Arrays:
        """Return what else a resumed run needs, as arrays for a checkpoint."""
        return {}

    def take_up(self, kept: Arrays) -> Arrays:
        """Restore what ``export`` returned; return the rest of the arrays."""
        return kept


class FollowedRunState(RunState):
    """The codec of exact sums whose next states the nodes work out again.

    So that they can, each request carries the sum of the round before.

    Parameters
    ----------
    codec : Codec
        Contributions to integers and back.
    scores : bool
        Whether the workload scores its states on held-out records.
    loaded_as : type
        What a node takes the numbers of a state for.
    """

    def __init__(self, codec: Codec, scores: bool, loaded_as: type[np.floating]) -> None:
        super().__init__(codec, scores)
        self._loaded_as = loaded_as
        self._last: LastSum | None = None

    def take(self, aggregate: Aggregate, asked: State) -> None:
        """Keep a sum for the next request."""
        self._last = LastSum(hash_state(asked, {}, self._loaded_as), aggregate)

    @property
    def last_sum(self) -> LastSum | None:
        """Return the sum of the round before; None before the first."""
        return self._last

    def export(self) -> Arrays:
        """Return the sum of the last round."""
        return prefixed(PREFIX, self._last.to_arrays()) if self._last else {}

    def take_up(self, kept: Arrays) -> Arrays:
        """Restore the sum of the last round; return the rest of the arrays.

        Raises
        ------
        ValueError
            If what stands there is no such sum.
        """
        own, rest = parted(PREFIX, kept)
        self._last = LastSum.of_arrays(own) if own else None
        return rest


class CompressedRunState(RunState):
    """The codec of updates in few bits, whose ranges follow from the last sum.

    Parameters
    ----------
    codec : CompressedCodec
        Contributions to integers and back.
    scores, tells_weight
        See ``RunState``.
    """

    def __init__(
        self, codec: CompressedCodec, scores: bool = True, *, tells_weight: bool = False
    ) -> None:
        super().__init__(codec, scores, tells_weight=tells_weight)
        self._margin = 1.0

    @property
    def _compressed(self) -> CompressedCodec:
        return cast(CompressedCodec, self.codec)

    def request(self) -> ConfigRecord:
        """Return the ranges of this round, where there are some."""
        told = super().request()
        if self._compressed.ranges:
            told[RANGES] = list(self._compressed.ranges)
        return told

    def take(self, aggregate: Aggregate, asked: State) -> None:
        """Take the ranges of the next round from a sum."""
        super().take(aggregate, asked)
        if self._compressed.value_bits:
            ranges, self._margin = next_ranges(self._compressed, aggregate.sums, self._margin)
            self.codec = self._compressed.with_ranges(ranges)

    def export(self) -> Arrays:
        """Return ranges and margin."""
        return {_RANGES_KEPT: np.array([self._margin, *self._compressed.ranges])}

    def take_up(self, kept: Arrays) -> Arrays:
        """Restore ranges and margin; return the rest of the arrays.

        Raises
        ------
        ValueError
            If what stands there is none of this codec's.
        """
        rest = dict(kept)
        told = rest.pop(_RANGES_KEPT, None)
        if told is not None:
            margin, *ranges = map(float, np.asarray(told, np.float64).reshape(-1))
            self.codec = self._compressed.with_ranges(tuple(ranges))
            self._margin = max(1.0, margin)
        return rest


@dataclass(frozen=True)
class AdaptiveClip:
    """The adaptation of the clip norm to updates (Andrew et al. 2021, arXiv 1905.03871)."""

    target_quantile: float
    learning_rate: float
    expected_cohort: float


class PrivateRunState(RunState):
    """The codec of a private run, its clip norm, and what the run has spent so far.

    Parameters
    ----------
    codec : PrivateCodec
        The codec with the first clip norm.
    adaptive : AdaptiveClip, optional
        None for a clip norm that stays.
    """

    is_private = True

    def __init__(self, codec: PrivateCodec, adaptive: AdaptiveClip | None = None) -> None:
        super().__init__(codec)
        self._adaptive = adaptive
        self._num_updates = self._num_metrics = 0
        self._num_drawable = codec.plan.terms.population

    @property
    def plan(self) -> PrivacyPlan:
        """Return the noise and the schedule of the run."""
        return self._private.plan

    @property
    def _private(self) -> PrivateCodec:
        return cast(PrivateCodec, self.codec)

    def request(self) -> ConfigRecord:
        """Return the clip norm of this round, if it is adaptive."""
        if self._adaptive is None:
            return ConfigRecord()
        return ConfigRecord({CLIP_NORM: self._private.clip_norm})

    def has_metrics(self, server_round: int, *, training: bool) -> bool:
        """Whether this trip's metrics were planned and paid for."""
        return self._private.plan.has_metrics(server_round, training)

    @property
    def scores_last_model(self) -> bool:
        """Whether metrics are released at all."""
        return bool(self._private.plan.terms.metrics_every)

    def note_release(self, server_round: int, *, training: bool) -> None:
        """Count what the nodes may have charged."""
        self._num_updates += training
        self._num_metrics += self.has_metrics(server_round, training=training)

    def note_drawable(self, num_drawable: int) -> None:
        """Keep the fewest nodes that a cohort was drawn among: cohorts amplify by so many."""
        self._num_drawable = min(self._num_drawable, num_drawable)

    def pays_for(self, server_round: int) -> bool:
        """Whether the plan pays for one attempt at this round, whatever comes after it."""
        terms = self._private.plan.terms
        metrics = self._num_metrics + self.has_metrics(server_round, training=True)
        return self._num_updates < terms.num_updates and metrics <= terms.num_metric_releases

    def shortfall(self, server_round: int) -> str:
        """Return why the plan does not pay for this round and all after it, with the mend."""
        terms = self._private.plan.terms
        updates, metrics = terms.releases_from(server_round)
        updates, metrics = updates + self._num_updates, metrics + self._num_metrics
        if updates <= terms.num_updates and metrics <= terms.num_metric_releases:
            return ""
        return (
            f"privacy.spare_attempts={terms.spare_attempts} are used up: {self._num_updates}"
            f" updates and {self._num_metrics} metrics may have been charged, it would be"
            f" {updates} and {metrics} by the end of the run, and the plan pays for"
            f" {terms.num_updates} and {terms.num_metric_releases}; resume the run, which then"
            " ends earlier, or begin a new one with more of them"
        )

    def take(self, aggregate: Aggregate, asked: State) -> None:
        """Update the clip norm."""
        if self._adaptive is None or CLIP_BITS not in aggregate.sums:
            return
        moved = next_clip_norm(
            self._private.clip_norm,
            aggregate.sums[CLIP_BITS],
            self._adaptive.expected_cohort,
            self._adaptive.target_quantile,
            self._adaptive.learning_rate,
        )
        self.codec = replace(self._private, clip_norm=moved)

    def report(self) -> dict[str, Any]:
        """Return epsilon and delta, what they hold against, and the counts of releases."""
        counts = {
            "num_updates": self._num_updates,
            "num_metrics": self._num_metrics,
            "num_drawable": self._num_drawable,
        }
        spent = spent_of(self._private.plan, **counts)
        return {**asdict(spent), **counts, "clip_norm": self._private.clip_norm}

    def restore(self, report: dict[str, Any]) -> None:
        """Go on where the last report of a resumed run stood.

        Raises
        ------
        ValueError
            If the report is not of a private run.
        """
        try:
            self._num_updates = int(report["num_updates"])
            self._num_metrics = int(report["num_metrics"])
            self._num_drawable = int(report["num_drawable"])
            self.codec = replace(self._private, clip_norm=float(report["clip_norm"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"the last round's report lacks {error}") from None
