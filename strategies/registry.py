"""Every aggregation by name. A new one has a line here; docs/architecture.md says the rest."""

from strategies.aggregation import Aggregation, AggregationConfig
from strategies.homomorphic.aggregation import HOMOMORPHIC
from strategies.masked.aggregation import SECAGG
from strategies.plain.aggregation import PLAIN

AGGREGATIONS: dict[str, Aggregation] = {
    one.name: one
    for one in (
        PLAIN,
        SECAGG,
        HOMOMORPHIC,
    )
}


def aggregation_of(config: AggregationConfig) -> Aggregation:
    """Return the aggregation that a configuration is of."""
    return next(one for one in AGGREGATIONS.values() if one.config is type(config))


def hiding_options() -> str:
    """Return the options under which the server sees sums only, for a message's mend."""
    names = (one.name for one in AGGREGATIONS.values() if not one.sees_contributions)
    return " or ".join(f"aggregation={name}" for name in names)
