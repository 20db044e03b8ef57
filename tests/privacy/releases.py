"""Releases of so much noise on grids that are fine or coarse: for the tests of accounting."""

from privacy.plan.release import Mechanism, Neighbours, Release
from privacy.unit import Unit

GAUSSIAN, LAPLACE, SKELLAM, DDG = Mechanism
FINE = 2.0**24


def release(mechanism, noise_scale, l2=1.0, l1=None, **rest):
    values = {
        "unit": Unit.EXAMPLE,
        "neighbours": Neighbours.ADD_OR_REMOVE,
        "num_shares": 1,
        "dimension": 1,
        **rest,
    }
    return Release(
        mechanism=mechanism,
        noise_scale=noise_scale,
        l1_sensitivity=l2 if l1 is None else l1,
        l2_sensitivity=l2,
        **values,
    )


def fine(sigma, mechanism=GAUSSIAN, **rest):
    """A release of so many sensitivities' noise on a fine grid."""
    return release(mechanism, sigma * FINE, FINE, **rest)
