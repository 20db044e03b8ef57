"""Hold a plan against the cohorts that can be drawn: whether they can be summed."""

from math import ceil

from app.config.load import option_of
from app.config.run import AppConfig
from strategies.codec.codec import Codec


def check_cohorts(config: AppConfig, codec: Codec) -> str:
    """Refuse a run in which no cohort can be summed.

    Returns
    -------
    str
        Why a cohort cannot be summed if all nodes are there; empty if it can, or nobody knows
        how many they are.

    Raises
    ------
    ValueError
        With the reason for the smallest cohort that is not too small in any case.
    """
    private = config.privacy.private
    fewest = _drawn(config, max(config.rounds.min_clients, config.rounds.min_replies))
    if private is not None and config.rounds.cohort_fraction < 1 and private.mode.hides_clients:
        # Drawn by coins.
        fewest = 1
    sizes = _sizes(config, fewest)
    if all(_objection(config, codec, size) for size in sizes):
        # A smaller one is too small in any case.
        why = _objection(
            config, codec, min(max(fewest, config.aggregation.fewest_nodes), sizes[-1])
        )
        raise ValueError(f"aggregation={option_of(config, 'aggregation')}: {why}")
    if private is None:
        return ""
    most = _drawn(config, private.population)
    why = _objection(config, codec, most)
    return f"once {most} nodes are drawn, the run stops: {why}" if why else ""


def _sizes(config: AppConfig, fewest: int) -> range:
    """Return the sizes to be tried, among them one that can be summed if any can."""
    private = config.privacy.private
    # The default thresholds allow what is given from so many nodes on.
    most = 3 * max(fewest, config.aggregation.fewest_nodes)
    if private is not None:
        most = max(fewest, min(most, private.population))
    return range(fewest, most + 1)


def _drawn(config: AppConfig, num_nodes: int) -> int:
    """Return how many of so many connected nodes are drawn."""
    rounds = config.rounds
    asked = max(rounds.min_replies, ceil(rounds.cohort_fraction * num_nodes))
    return min(num_nodes, asked)


def _objection(config: AppConfig, codec: Codec, size: int) -> str:
    """Return why neither a simulation nor a deployment sums so many; empty if one does."""
    private, why = config.privacy.private, ""
    for num_simulated in (private.population if private else size, None):
        try:
            codec.check_fits(size)
            config.aggregation.check_cohort(size, num_simulated)
        except ValueError as error:
            why = str(error)
        else:
            return ""
    return why
