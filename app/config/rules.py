"""What the groups of the configuration require of each other. Checked when it is composed."""

from app.config.privacy import ExamplePrivacyConfig, PrivacyConfig, PrivateConfig
from strategies.aggregation import AggregationConfig
from strategies.registry import aggregation_of, hiding_options
from tasks.schema import TrainingConfig, require
from workloads.base import WorkloadConfig
from workloads.scoring.spread import FEWEST_EXACT, FEWEST_PRIVATE


def check_privacy(
    privacy: PrivacyConfig,
    aggregation: AggregationConfig,
    waits_for_loss: str,
) -> None:
    """Refuse combinations that give no guarantee, or none of what they say.

    ``waits_for_loss`` is the key that ends a run by a held-out loss; empty for none.

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
    require(
        not waits_for_loss or bool(private.metrics.every),
        f"{waits_for_loss}: it looks at metrics of protected records, and"
        " privacy.metrics.every=0 releases none; release some, or take this out",
    )


def check_personal(personal: list[str], privacy: PrivacyConfig) -> None:
    """Refuse a part of the model that stays on each node where single records are hidden.

    See ``workloads.model_update.ModelUpdate``.

    Raises
    ------
    ValueError
        Naming the values and the mend.
    """
    mode = privacy.mode
    if mode is None or not personal:
        return
    require(
        not mode.hides_records,
        f"task.personal=[{', '.join(personal)}] with privacy={mode.unit}_{mode.place}:"
        " a part that a node trains and keeps has no noise, and every later term depends on it,"
        " so that one record would change more than one term; take a client_* option, or take"
        " it out",
    )


def check_spread(privacy: PrivacyConfig, aggregation: AggregationConfig, fewest: int) -> None:
    """Refuse a histogram of the participants' accuracies over too few of them, or of records.

    Parameters
    ----------
    privacy, aggregation
        As configured.
    fewest : int
        Replies that a round needs, where the aggregation promises no number of survivors.

    Raises
    ------
    ValueError
        Naming the value and the mend.
    """
    private, name = privacy.private, "rounds.participant_spread=true"
    if private is None:
        least = aggregation.promised_survivors or fewest
        require(
            least >= FEWEST_EXACT,
            f"{name}: a sum may be over {least} participants, and one among few is soon known;"
            f" take aggregation.min_survivors={FEWEST_EXACT} or more, or, unmasked,"
            " rounds.min_replies",
        )
        return
    require(
        not private.mode.hides_records,
        f"{name}: it is no sum over records, whose presence privacy hides here; take a client_*"
        " privacy option, or leave it out",
    )
    require(
        private.population >= FEWEST_PRIVATE,
        f"{name} with privacy.population={private.population}: the noise would hide it; it"
        f" takes {FEWEST_PRIVATE} participants",
    )
    require(
        bool(private.metrics.every),
        f"{name}: privacy.metrics.every=0 releases no scores; raise it, or leave it out",
    )


def check_same_cohort(
    aggregation: AggregationConfig, cohort_fraction: float, num_rounds: int, what: str
) -> None:
    """Refuse exact sums over cohorts that are drawn anew: nodes would open one or two of them.

    See ``app.node.views``: what a node gave must not stand in the difference of two sums.

    Parameters
    ----------
    aggregation : AggregationConfig
        As configured.
    cohort_fraction : float
        Of ``rounds``.
    num_rounds : int
        Of the run.
    what : str
        What is exact, as configured; empty for nothing.

    Raises
    ------
    ValueError
        Naming the values and the mend.
    """
    changes = bool(what) and aggregation.is_signed and num_rounds > 1
    require(
        cohort_fraction == 1 or not changes,
        f"rounds.cohort_fraction={cohort_fraction:g}: {what} has sums without noise, and nodes"
        " open none whose cohorts differ by a few, as drawn ones soon do; take it out",
    )


def check_one_step(
    algorithm: WorkloadConfig, privacy: PrivacyConfig, training: TrainingConfig
) -> None:
    """Refuse an algorithm that has no effect where each contribution is one step.

    Without privacy an epoch has as many steps as a node has batches, which nobody knows here.

    Raises
    ------
    ValueError
        Naming the value and the mend.
    """
    mode, example = privacy.mode, privacy.example
    if mode is not None and mode.sums_gradients:
        algorithm.check_one_step("a sum of gradients is one step")
    elif training.num_steps == 1:
        algorithm.check_one_step("task.training.num_steps=1 is one step")
    elif example is not None and _is_one_step(example, training):
        algorithm.check_one_step(
            f"task.training.num_epochs={training.num_epochs} with"
            f" privacy.sampling_rate={example.sampling_rate:g} is one step"
        )


def _is_one_step(example: ExamplePrivacyConfig, training: TrainingConfig) -> bool:
    # At a rate next to 0 the steps of an epoch cannot be counted.
    is_short = training.num_epochs < 2 * example.sampling_rate
    return is_short and example.num_local_steps(training) == 1


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
