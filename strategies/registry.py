"""Every aggregation by name. A new one is one line here, one package beside, one YAML."""

from strategies.aggregation import Aggregation, AggregationConfig
from strategies.masked.aggregation import SECAGG
from strategies.plain.aggregation import PLAIN

AGGREGATIONS: dict[str, Aggregation] = {
    "plain": PLAIN,
    "secagg": SECAGG,
}


def aggregation_of(config: AggregationConfig) -> Aggregation:
    """Return the aggregation that a configuration is of."""
    return next(one for one in AGGREGATIONS.values() if one.config is type(config))
