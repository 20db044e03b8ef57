"""How much of what a run adds up is signal, from its public numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from app.builders.step import noise_of_updates
from privacy.mode import Place
from privacy.plan.plan import PrivacyPlan
from privacy.unit import Unit

#: The result is noise where the longest sum is under so many times the noise of the whole run:
#: records' gradients differ, and more so in a model that has learnt; clients' updates, each of
#: many records, point the same way as a rule. (By a model of the run: at 0.3 an AUC of 0.67
#: +- 0.1 on adult, at 1 of 0.88 with equal parts and 0.77 with skewed ones, at 2.7 0.90, 0.87.)
_LEAST = {Unit.EXAMPLE: 3.0, Unit.CLIENT: 1.0}


@dataclass(frozen=True)
class Signal:
    """The longest sum that there can be, over the expected length of its noise.

    Attributes
    ----------
    in_step, in_run : float
        Of one step, and of all steps together: their noise adds up like a root.
    least : float
        Of all steps together; with less the result is noise.
    """

    in_step: float
    in_run: float
    least: float

    @property
    def is_noise(self) -> bool:
        """Whether the result will be noise, whatever the records are."""
        return self.in_run < self.least


def signal_of(plan: PrivacyPlan) -> Signal:
    """Return the signal to noise of a private run whose workload sums a direction.

    A step's terms have length 1 in clip norms, and all pull one way at best. Its noise has the
    length z sqrt(d); noise that each node adds by itself is as much from each of them. An
    update whose L1 norm is bounded has a length of 1 / sqrt(d), its numbers being alike. Where
    k of N entries are kept, the noise is sqrt(N / k) times as long; what is left out, which is
    in proportion to the signal, is not in it.
    """
    terms = plan.terms
    if terms.unit is Unit.CLIENT:
        update = 1 / sqrt(terms.dimension) if terms.bounds_l1 else 1.0
        in_step = update / noise_of_updates(plan)
    else:
        by_node = terms.place is Place.LOCAL
        noise = plan.noise_multiplier * sqrt(plan.kept_scale * terms.dimension)
        in_step = terms.batch_size * (sqrt(terms.population) if by_node else 1) / noise
    steps = terms.num_rounds * terms.num_local_steps
    return Signal(in_step, in_step * sqrt(steps), _LEAST[terms.unit])
