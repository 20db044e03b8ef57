"""The stage of private codecs: the rounding with noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.rounding import conditional, dithered
from privacy.noise.draw import draw
from privacy.noise.randomness import secure_generator
from privacy.plan.plan import PrivacyPlan
from strategies.codec.fixed_point import to_signed
from strategies.codec.stages import Passing, SumContext


@dataclass(frozen=True)
class RoundWithNoise:
    """Round to whole steps of the plan's grid and add this node's noise, then the server's.

    Guarantees
    ----------
    What ``plan.update_release`` says, for a vector that was bounded by one clip norm.

    Attributes
    ----------
    plan : PrivacyPlan
        Grid and noise.
    """

    plan: PrivacyPlan

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return whole numbers with this node's noise in them, int64."""
        plan, terms = self.plan, self.plan.terms
        scaled = passing.vector / plan.step
        rng = secure_generator()
        if terms.is_rounded_in_bounds:
            integers = conditional(scaled, plan.max_rounded_norm, rng)
        else:
            integers = dithered(scaled, rng)
        if plan.node_noise_scale:
            integers += draw(terms.mechanism, plan.node_noise_scale, len(integers), rng)
        return replace(passing, vector=integers)

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum in clip norms; under central noise, with the server's noise."""
        if self.plan.terms.mode.is_central:
            values = self._with_server_noise(passing.vector)
        else:
            values = passing.vector.astype(np.float64)
        return replace(passing, vector=values * self.plan.step)

    def _with_server_noise(self, signed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Add the server's noise on its finer grid, and reduce modulo 2^b once more.

        Without this reduction one unit could move a sum at the edge of the modulus by the
        whole modulus. With it the result is a function of the exact noisy sum modulo 2^b.
        """
        plan, terms = self.plan, self.plan.terms
        fine = plan.refinement
        scale = plan.noise_multiplier / plan.step * fine
        noise = draw(terms.mechanism, scale, len(signed), secure_generator())
        whole, rest = divmod(noise, fine)
        reduced = to_signed((signed + whole).view(np.uint64), terms.modulus_bits)
        # Of two exact floats the sum is rounded once: post-processing of the exact integer.
        return reduced.astype(np.float64) + rest / fine
