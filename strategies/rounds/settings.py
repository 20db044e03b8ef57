"""The settings of the round loop."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """The settings of the round loop. See ``RoundsConfig`` and ``EarlyStoppingConfig``."""

    num_rounds: int
    cohort_fraction: float
    min_clients: int
    min_replies: int
    max_attempts: int
    max_silent: int
    stop_on_client_failure: bool
    deadline_seconds: float
    patience: int
    min_delta: float
    #: The first model that counts in what the run gives; 0 for the last model alone.
    average_from: int
    #: Whether more clients may still connect: not in a simulation.
    wait_for_clients: bool
    #: What to change if training diverges, with keys and values.
    divergence_mend: str
    #: Each client is drawn by a coin of its own, and a cohort under this is drawn again; 0 for
    #: cohorts of a fixed size.
    min_poisson_cohort: int = 0
