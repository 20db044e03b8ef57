"""What a sum says once it is open: whether it can be one, and what the log is told of it."""

import logging

from strategies.codec.codec import Codec
from strategies.codec.compression import CLIPPED_SHARE
from strategies.codec.stages import NUM_CLIPPED, NUM_DIVERGED, NUM_WITHHELD
from strategies.rounds.attempt import DivergedError, RunStoppedError
from workloads.values import Aggregate

log = logging.getLogger("flwr.tacet")


def check_sum(
    server_round: int, aggregate: Aggregate, num_survivors: int, codec: Codec
) -> None:
    """Stop the run where a sum is none of honest contributions, or holds none.

    Raises
    ------
    DivergedError
        If nobody's contribution is finite.
    RunStoppedError
        Naming the round and the value. The attempt cannot be repeated: nodes help to open a
        sum once for each model.
    """
    objection = codec.objection(aggregate, num_survivors)
    if objection:
        raise RunStoppedError(
            f"round {server_round}: a participant's contribution is not possible: {objection};"
            " under masks nobody can tell whose, and the model of the round before stands"
        )
    if round(aggregate.sums.get(NUM_DIVERGED, 0)) >= num_survivors:
        raise DivergedError("on every client")


def report_counts(server_round: int, aggregate: Aggregate, num_survivors: int) -> None:
    """Log how many entries were clipped and how many clients diverged."""
    counted = aggregate.sums
    clipped, diverged = counted.get(NUM_CLIPPED, 0), counted.get(NUM_DIVERGED, 0)
    # Of few values some are always out of their ranges, which the next ranges follow.
    if clipped and CLIPPED_SHARE not in counted:
        log.warning(
            "round %d: %d of %d entries out of aggregation.codec.clip_range were clipped",
            server_round,
            clipped,
            num_survivors * max(1, aggregate.total.size),
        )
    if withheld := counted.get(NUM_WITHHELD, 0):
        log.warning(
            "round %d: %d clients added zeros, for too few of their records would have carried"
            " what was asked",
            server_round,
            withheld,
        )
    if diverged:
        log.warning("round %d: %d clients diverged and went in as zero", server_round, diverged)
