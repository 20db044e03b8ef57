"""What the groups of the configuration require of each other. Checked when it is composed."""

from app.config.privacy import PrivacyConfig, PrivateConfig
from strategies.aggregation import AggregationConfig
from strategies.registry import aggregation_of, hiding_options
from tasks.schema import require
from workloads.base import WorkloadConfig


def check_privacy(
    privacy: PrivacyConfig,
    aggregation: AggregationConfig,
    algorithm: WorkloadConfig,
    patience: int,
) -> None:
    """Refuse combinations that give no guarantee, or none of what they say.

    Raises
    ------
    ValueError
        Naming the values and the mend.
    """
    private = privacy.private
    if private is None:
        return
    if private.mode.is_distributed:
        _check_distributed(private, aggregation)
    require(
        aggregation.promised_survivors <= private.population,
        f"aggregation.min_survivors={aggregation.promised_survivors} is more than"
        f" privacy.population={private.population}: no round could end",
    )
    if private.mode.sums_gradients:
        algorithm.check_one_step()
    require(
        not patience or bool(private.metrics.every),
        f"early_stopping.patience={patience}: it looks at metrics of protected records, and"
        " privacy.metrics.every=0 releases none; release some, or take patience=0",
    )


def _check_distributed(privacy: PrivateConfig, aggregation: AggregationConfig) -> None:
    chosen = aggregation_of(aggregation)
    require(
        not chosen.sees_contributions,
        f"aggregation={chosen.name}: distributed noise protects a masked sum only, each share"
        f" alone is too little; take {hiding_options()}, or a local or central privacy option",
    )
    survivors, colluding = aggregation.promised_survivors, aggregation.promised_colluding
    require(
        survivors > 0,
        "aggregation.min_survivors=0: distributed noise is made of the shares of so many nodes"
        " and must be constant; give T, e.g. two thirds of privacy.population="
        f"{privacy.population}",
    )
    require(
        survivors > colluding,
        f"aggregation.min_survivors={survivors}, max_colluding={colluding}: nobody's noise is"
        " left that colluders do not know; raise the first or lower the second",
    )
