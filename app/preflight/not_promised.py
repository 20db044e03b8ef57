"""What a run does not promise, in the words of ``docs/secure-aggregation.md``.

A test holds the two against each other.
"""

from __future__ import annotations

from app.config.run import AppConfig
from strategies.registry import aggregation_of

_SUMS = (
    "That sums reveal nothing. A sum or a model may tell a lot about a record. That takes"
    " differential privacy."
)
_POISON = "Robustness against poisoned updates. Nobody can look at a single update."
_METADATA = (
    "Flower's own metadata. Times and sizes of messages, and the run time of each client"
    " process."
)
_SIDE_CHANNELS = (
    "Side channels. How long training takes may depend on the records, and so may caches, power"
    " and memory on a machine that others share."
)
_CHANGING_COHORT = (
    "That a changing cohort hides static numbers. If a client's weight is the same in every"
    " round and cohorts differ by that client, the difference of two weight sums is its weight."
)


def not_promised(config: AppConfig) -> list[str]:
    """Return what a run of this configuration does not protect from, a sentence or two each."""
    is_exact = config.privacy.mode is None
    is_seen = aggregation_of(config.aggregation).sees_contributions
    found = [_SUMS] * is_exact
    found += [_CHANGING_COHORT] * (is_exact and not is_seen)
    found += [_POISON] * (not is_seen)
    return [*found, _METADATA, _SIDE_CHANNELS]
