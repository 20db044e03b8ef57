"""Epsilon of a run from its public numbers alone: shares no code with what it checks.

Written from privacy.md, the papers and the theorems, with numpy and scipy; nothing here imports
``privacy``. Figures by privacy losses are estimates, not bounds: right to a part in 1,000.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, special

# The grid of losses: 2^18 steps, from -52 to 52.
_STEP, _SIZE = 4e-4, 2**18

Cdf = Callable[[np.ndarray], np.ndarray]


def rounded_norm(norm: float, step: float, dimension: int, beta: float = math.exp(-0.5)):
    """The papers' bound of a rounded vector's length, in the units of ``norm``."""
    length, root = norm / step, math.sqrt(dimension)
    spread = math.sqrt(2 * math.log(1 / beta)) * (length + root / 2)
    return step * math.sqrt(min((length + root) ** 2, length**2 + dimension / 4 + spread))


def sampled_gaussian(sensitivity, deviation, rate, steps, delta):
    """The larger epsilon of the two directions of a Poisson sampled continuous Gaussian."""
    r = sensitivity / deviation

    def where(losses):
        """Where, in deviations, the loss ln(1 - q + q exp(r x - r^2/2)) is that."""
        inner = np.expm1(losses) / rate + 1
        logs = np.log(np.maximum(inner, 1e-300))
        return np.where(inner > 0, (logs + r * r / 2) / r, -np.inf)

    def present(losses):
        x = where(losses)
        return (1 - rate) * special.ndtr(x) + rate * special.ndtr(x - r)

    def absent(losses):
        return special.ndtr(-where(-losses))

    return max(from_losses(cdf, steps, delta) for cdf in (present, absent))


def laplace(sensitivity, scale, steps, delta):
    """Epsilon of continuous Laplace noise, which is its own mirror image."""
    most = sensitivity / scale

    def cdf(losses):
        return np.where(losses >= most, 1, np.exp((losses - most) / 2) / 2) * (losses >= -most)

    return from_losses(cdf, steps, delta)


def from_losses(cdf: Cdf, steps: int, delta: float) -> float:
    """Epsilon of so many losses that are added: powers of a Fourier transform."""
    losses = (np.arange(_SIZE) - _SIZE // 2) * _STEP
    edges = np.append(losses - _STEP / 2, losses[-1] + _STEP / 2)
    masses = np.diff(cdf(edges))
    transformed = np.fft.rfft(np.fft.ifftshift(masses)) ** steps
    total = np.fft.fftshift(np.fft.irfft(transformed, _SIZE))

    def excess(epsilon):
        beyond = losses > epsilon
        return float((total[beyond] * -np.expm1(epsilon - losses[beyond])).sum()) - delta

    return float(optimize.brentq(excess, 0, 50)) if excess(0) > 0 else 0.0


def sampled_skellam(l1, l2, variance, rate, steps, delta):
    """Epsilon by Renyi divergences; lengths and variance in steps of the grid."""
    bounds = {}
    for a in range(2, 130):
        extra = ((2 * a - 1) * l2**2 + 6 * l1) / (4 * variance**2)
        bounds[a] = a * l2**2 / (2 * variance) + min(extra, 3 * l1 / (2 * variance))
    return min(
        steps * _drawn(a, rate, bounds)
        + math.log1p(-1 / a)
        - (math.log(delta) + math.log(a)) / (a - 1)
        for a in bounds
    )


def _drawn(a, rate, bounds):
    if rate == 1:
        return bounds[a]
    logs = [(a - 1) * math.log1p(-rate) + math.log1p((a - 1) * rate)]
    for count in range(2, a + 1):
        ways = math.log(math.comb(a, count)) + (a - count) * math.log1p(-rate)
        logs.append(ways + count * math.log(rate) + (count - 1) * bounds[count])
    return float(special.logsumexp(logs)) / (a - 1)
