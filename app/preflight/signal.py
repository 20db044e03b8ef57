"""How much of what a run adds up is signal, from its public numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from privacy.mode import Place
from privacy.plan.plan import PrivacyPlan
from privacy.unit import Unit

#: The result is noise where the longest sum is under so many times the noise of the whole run:
#: a model that still has to learn needs terms that differ.
_LEAST = 3.0


@dataclass(frozen=True)
class Signal:
    """The longest sum that there can be, over the expected length of its noise.

    Attributes
    ----------
    in_step, in_run : float
        Of one step, and of all steps together: their noise adds up like a root.
    """

    in_step: float
    in_run: float

    @property
    def is_noise(self) -> bool:
        """Whether the result will be noise, whatever the records are."""
        return self.in_run < _LEAST


def signal_of(plan: PrivacyPlan) -> Signal:
    """Return the signal to noise of a private run.

    A step's terms have length 1 in clip norms, and all pull one way at best. Its noise has the
    length z sqrt(d); noise that each node adds by itself is as much from each of them.
    """
    terms = plan.terms
    by_node = terms.place is Place.LOCAL
    if terms.unit is Unit.CLIENT:
        longest = terms.population * terms.cohort_fraction
    else:
        longest = terms.batch_size * (terms.population if by_node else 1)
    noise = plan.noise_multiplier * sqrt(terms.dimension)
    noise *= sqrt(terms.population) if by_node else 1
    steps = terms.num_rounds * terms.num_local_steps
    return Signal(longest / noise, longest / noise * sqrt(steps))
