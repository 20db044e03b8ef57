"""Integer noise: discrete Laplace, discrete Gaussian, Skellam, sampled without floating noise.

The discrete Gaussian is exact: ``privacy.noise.gaussian``. For the others a proposal is drawn
in integer arithmetic, so that every integer can come out and neighbours are equally likely to
be proposed at any scale; floating point only decides how often a proposal is kept. Inverting a
floating-point logarithm instead would leave holes once the scale nears 2**53, and the holes
would tell where the noise began.

Rejections depend on the noise alone, never on the data that it is added to; so does the time.

Error of Laplace and Skellam: a coin is a 53-bit uniform compared with a float64 ``exp``, so the
probability of any one integer is off by a factor within 1 +- 1e-12 out to 40 standard
deviations. Skellam below ``variance`` 2**17 uses numpy's Poisson sampler, whose factor is
within 1 +- 1e-9.
"""

from __future__ import annotations

import math

import numpy as np

from privacy.noise.gaussian import gaussian
from privacy.noise.rejection import Floats, Integers, collect, from_laplace, laplace_attempts
from privacy.noise.words import Words
from privacy.plan.release import LARGEST_SCALE, SMALLEST_SCALE

# numpy's Poisson subtracts terms of size mean * log(mean): at this mean it is off by 1e-10.
_LARGEST_NUMPY_MEAN = 2.0**16


def discrete_laplace(scale: float, size: int, rng: np.random.Generator) -> Integers:
    """Sample P(x) proportional to exp(-abs(x) / scale) over the integers.

    Canonne, Kamath, Steinke 2020 (arXiv 2004.00010), algorithm 2, which wants a rational scale.
    A float64 *is* one, a numerator below 2**53 over a power of two: the scale is not rounded.

    Guarantees
    ----------
    Unit: whoever moves the integer vector, a record or a client, by at most ``D`` in L1.
    Neighbours: any relation with that L1 sensitivity D; for ``client_local`` D is that of
    replacing the contribution, twice the clipped norm and what rounding adds. Adding one
    independent sample to each coordinate is (D / scale)-DP. Assumes that ``rng`` is unknown to
    the adversary and used for nothing else, and that sums do not wrap.

    Parameters
    ----------
    scale : float
        The b of the Laplace distribution, in [2**-10, 2**45], in steps of the grid.
    size : int
        How many samples.
    rng : np.random.Generator
        From ``secure_generator``.

    Raises
    ------
    ValueError
        If the scale is out of range or not finite, or the size negative.
    """
    _check("scale", scale, SMALLEST_SCALE, LARGEST_SCALE)
    numerator, denominator = float(scale).as_integer_ratio()
    shift = denominator.bit_length() - 1
    return collect(size, lambda num: laplace_attempts(num, numerator, shift, rng))


def discrete_gaussian(
    standard_deviation: float, size: int, rng: np.random.Generator
) -> Integers:
    """Sample P(x) proportional to exp(-x**2 / (2 standard_deviation**2)) over the integers.

    Exactly, by ``privacy.noise.gaussian``. For small scales the variance is a little below
    ``standard_deviation**2``: the parameter is what privacy needs.

    Guarantees
    ----------
    Unit: whoever moves the integer vector by at most ``D`` in L2. Neighbours: any relation with
    that L2 sensitivity D. One independent sample on each coordinate is
    (D**2 / (2 standard_deviation**2))-zCDP (the paper's theorem 4 and section 2). Assumes that
    ``rng`` is unknown to the adversary and used for nothing else, and that sums do not wrap. A
    *sum* of shares is not a discrete Gaussian: Kairouz et al. 2021 (arXiv 2102.06387) bound the
    difference by their tau, which the accountant adds.

    Parameters
    ----------
    standard_deviation : float
        The parameter sigma, in [2**-10, 2**45], in steps of the grid.
    size : int
        How many samples.
    rng : np.random.Generator
        From ``secure_generator``.

    Raises
    ------
    ValueError
        If the standard deviation is out of range or not finite, or the size negative.
    """
    _check("standard_deviation", standard_deviation, SMALLEST_SCALE, LARGEST_SCALE)
    sigma = float(standard_deviation)
    return gaussian(sigma, size, Words(rng))


def skellam(variance: float, size: int, rng: np.random.Generator) -> Integers:
    """Sample the difference of two independent Poisson variables of mean ``variance / 2``.

    Agarwal, Kairouz, Liu 2021 (arXiv 2110.04995), section 3.

    Guarantees
    ----------
    Unit: whoever moves the integer vector by at most ``D1`` in L1 and ``D2`` in L2.
    Neighbours: any relation with these sensitivities. One independent sample on each coordinate
    has the Renyi curve of the paper's section 3, which the accountant evaluates. Shares add up
    exactly: a sum of independent samples is Skellam with the sum of the variances. Assumes that
    ``rng`` is unknown to the adversary and used for nothing else, and that sums do not wrap.

    Parameters
    ----------
    variance : float
        In [2**-20, 2**90], in squared steps of the grid.
    size : int
        How many samples.
    rng : np.random.Generator
        From ``secure_generator``.

    Raises
    ------
    ValueError
        If the variance is out of range or not finite, or the size negative.
    """
    _check("variance", variance, SMALLEST_SCALE**2, LARGEST_SCALE**2)
    mean = float(variance) / 2
    if mean <= _LARGEST_NUMPY_MEAN:
        return rng.poisson(mean, size) - rng.poisson(mean, size)
    return _centred_poisson(mean, size, rng) - _centred_poisson(mean, size, rng)


def poisson_log_ratio(offset: Floats, mean: float) -> Floats:
    """Return log p(m + offset) - log p(m) of a Poisson variable, m = floor(mean).

    Loader 2000, "Fast and accurate computation of binomial probabilities": Stirling's series
    for the factorials, and the deviance x log(x/m) + m - x as a series in
    v = (x - m) / (x + m), so that nothing of the size of ``mean`` is ever subtracted. Right to
    about 1e-15 of the result for ``mean`` >= 2**16 and offsets within mean / 8, where
    abs(v) <= 1/15 and the terms left out are below 2**-53 of the first.
    """
    mode = float(math.floor(mean))
    x = mode + offset
    v = offset / (mode + x)
    w = v * v
    series = w / 15
    for k in (13, 11, 9, 7, 5, 3):
        series = w * (1 / k + series)
    deviance = offset * v + 2 * x * v * series
    stirling = 1 / (12 * mode) - 1 / (12 * x)
    fraction = offset * math.log1p((mean - mode) / mode)
    return fraction - deviance - np.log1p(offset / mode) / 2 + stirling


def _centred_poisson(mean: float, size: int, rng: np.random.Generator) -> Integers:
    """Sample a Poisson variable less the whole part of its mean; mean >= 2**16.

    By rejection from a discrete Laplace of scale t just above the standard deviation, as in
    algorithm 3. With z = abs(offset) / sqrt(m), for abs(offset) <= m / 8 the log ratio is at
    most -z^2/2 + (z^3/6 + 2z) / sqrt(m), so log ratio + abs(offset) / t never exceeds the bound
    below and the cost is never negative. Beyond m / 8, more than 32 standard deviations, the
    cost is that at m / 8, at least 400: together these are below e^-400 of the whole.
    """
    mode = math.floor(mean)
    scale = math.isqrt(mode) + 1
    bound = mode / (2 * scale**2) + 4 / math.sqrt(mode)

    def cost(y: Integers) -> Floats:
        offset = np.clip(y.astype(np.float64), -mode / 8, mode / 8)
        return bound - np.abs(offset) / scale - poisson_log_ratio(offset, mean)

    return from_laplace(size, scale, cost, rng)


def _check(name: str, value: float, smallest: float, largest: float) -> None:
    if not (smallest <= value <= largest and math.isfinite(value)):
        raise ValueError(f"{name}={value}: must be finite and in [{smallest}, {largest}]")
