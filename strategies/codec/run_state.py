"""The codec of a run and what changes with its rounds: the clip norm, and what was spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from flwr.app import ConfigRecord

from privacy.accounting.epsilon import accountant, epsilon
from privacy.bounding.clipping import next_clip_norm
from privacy.plan.plan import PrivacyPlan
from strategies.codec.fixed_point_codec import Codec
from strategies.codec.private_codec import CLIP_BITS, PrivateCodec
from strategies.contribution import Aggregate

#: Where the server says which clip norm a round has, if it is adaptive.
CLIP_NORM = "clip-norm"


class RunCodec:
    """The codec of a run that promises nothing: always the same.

    Parameters
    ----------
    codec : Codec
        Contributions to integers and back.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec: Codec = codec

    def request(self) -> ConfigRecord:
        """Return what goes with a request beside the model."""
        return ConfigRecord()

    def has_metrics(self, server_round: int, *, training: bool) -> bool:
        """Whether the nodes score the model in this trip."""
        return True

    @property
    def scores_last_model(self) -> bool:
        """Whether there is a trip for the last model's metrics."""
        return True

    def note_release(self, server_round: int, *, training: bool) -> None:
        """Take note that nodes were asked for contributions, whatever comes of it."""

    def take(self, aggregate: Aggregate) -> None:
        """Learn from an aggregate."""

    def report(self) -> dict[str, Any]:
        """Return what a round's report says of privacy; empty for none."""
        return {}

    def restore(self, report: dict[str, Any]) -> None:
        """Go on where the last report of a resumed run stood."""


@dataclass(frozen=True)
class AdaptiveClip:
    """How the clip norm follows the updates (Andrew et al. 2021, arXiv 1905.03871)."""

    target_quantile: float
    learning_rate: float
    expected_cohort: float


class PrivateRunCodec(RunCodec):
    """The codec of a private run, its clip norm, and what the run has spent so far.

    Parameters
    ----------
    codec : PrivateCodec
        With the first clip norm.
    adaptive : AdaptiveClip, optional
        None for a clip norm that stays.
    """

    def __init__(self, codec: PrivateCodec, adaptive: AdaptiveClip | None = None) -> None:
        super().__init__(codec)
        self._adaptive = adaptive
        self._num_updates = self._num_metrics = 0

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
        plan = self._private.plan
        return plan.has_metrics(server_round) if training else self.scores_last_model

    @property
    def scores_last_model(self) -> bool:
        """Whether metrics are released at all."""
        return bool(self._private.plan.terms.metrics_every)

    def note_release(self, server_round: int, *, training: bool) -> None:
        """Count what the nodes may have charged."""
        self._num_updates += training
        self._num_metrics += self.has_metrics(server_round, training=training)

    def take(self, aggregate: Aggregate) -> None:
        """Move the clip norm."""
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
        """Return what was spent, towards whom, and how it is counted."""
        counts = {"num_updates": self._num_updates, "num_metrics": self._num_metrics}
        spent = spent_of(self._private.plan, self._num_updates, self._num_metrics)
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
            self.codec = replace(self._private, clip_norm=float(report["clip_norm"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"the last round's report lacks {error}") from None


@dataclass(frozen=True)
class Spent:
    """What a run has spent.

    Attributes
    ----------
    epsilon : float
        Towards the server with the colluding participants that were assumed. Caps use it.
    epsilon_model_only : float
        Towards those who see the models and nothing else.
    delta : float
        Of both.
    unit, neighbours, accountant : str
        What it means.
    """

    epsilon: float
    epsilon_model_only: float
    delta: float
    unit: str
    neighbours: str
    accountant: str


def spent_of(plan: PrivacyPlan, num_updates: int, num_metrics: int) -> Spent:
    """Return what so many releases of a plan have spent."""
    delta = plan.terms.delta
    schedule = plan.schedule(num_updates, num_metrics=num_metrics)
    release = plan.update_release()
    return Spent(
        epsilon=epsilon(schedule, delta),
        epsilon_model_only=model_only_epsilon(plan, num_updates, num_metrics),
        delta=delta,
        unit=str(release.unit),
        neighbours=str(release.neighbours),
        accountant=str(accountant(schedule)),
    )


def model_only_epsilon(
    plan: PrivacyPlan, num_updates: int | None = None, num_metrics: int | None = None
) -> float:
    """Return what those learn who see models and nothing else; of the whole run by default.

    Nobody's share is known to them, nor who was drawn. What amplification by sampling gains
    can be less than what the chance of an abort takes off delta, so it is left out then.
    """

    def outside(sampled: bool, delta: float) -> float:
        schedule = plan.schedule(
            num_updates, colluding=0, sampled=sampled, num_metrics=num_metrics
        )
        return epsilon(schedule, delta)

    plain = outside(False, plan.terms.delta)
    left = plan.delta_of_models(plain)
    return min(plain, outside(True, left)) if left > 0 else plain
