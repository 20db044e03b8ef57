"""The samplers draw from the laws they name, at all scales, and the checks can tell.

The samples come from the operating system's randomness, so the statistical checks can fail by
chance: each one for a right sampler with probability below 1e-9 (thresholds of 1e-12, which
leaves room for what is approximate in chi-square and normal tails), all below 1e-7. That a
check lets a scale pass that is 30% off is far less likely still.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy import stats

from privacy.noise import randomness, samplers
from privacy.noise.randomness import secure_generator
from privacy.noise.samplers import discrete_gaussian, discrete_laplace, skellam

NUM = 200_000
P_VALUE = 1e-12
# Two sides of a normal variable beyond this: 2.6e-12.
Z_LIMIT = 7.0


def skellam_of_scale(scale: float, size: int, rng: np.random.Generator):
    return skellam(scale**2, size, rng)


def gaussian_pmf(scale: float, x: np.ndarray) -> np.ndarray:
    weights = np.exp(-0.5 * (x / scale) ** 2)
    return weights / weights.sum()


def laplace_pmf(scale: float, x: np.ndarray) -> np.ndarray:
    return stats.dlaplace.pmf(x, 1 / scale)


def skellam_pmf(scale: float, x: np.ndarray) -> np.ndarray:
    return stats.skellam.pmf(x, scale**2 / 2, scale**2 / 2)


@dataclass(frozen=True)
class Law:
    draw: Callable
    pmf: Callable
    # What it looks like where the grid is too fine to see.
    limit: Callable
    variance: float
    kurtosis: float
    # Beyond so many scales there is less than 1e-16 of it.
    reach: int


LAWS = {
    "gaussian": Law(discrete_gaussian, gaussian_pmf, stats.norm.cdf, 1.0, 3.0, 10),
    "laplace": Law(discrete_laplace, laplace_pmf, stats.laplace.cdf, 2.0, 6.0, 40),
    "skellam": Law(skellam_of_scale, skellam_pmf, stats.norm.cdf, 1.0, 3.0, 10),
}
COARSE = [(name, scale) for name in LAWS for scale in (0.3, 1.0, 4.7, 30.0, 600.5)]
FINE = [(name, scale) for name in LAWS for scale in (3e5 + 0.1, 2.0**44, 2.0**45)]


def chi_square_fits(samples: np.ndarray, x: np.ndarray, pmf: np.ndarray) -> bool:
    """Compare counts in cells of at least 100 expected, the tails in one cell each."""
    expected = pmf * samples.size
    inside = np.flatnonzero(expected >= 100)
    low, high = x[inside[0]], x[inside[-1]]
    cells = np.clip(samples, low - 1, high + 1) - (low - 1)
    counts = np.bincount(cells, minlength=high - low + 3)
    middle = expected[inside[0] : inside[-1] + 1]
    tails = expected[: inside[0]].sum(), expected[inside[-1] + 1 :].sum()
    wanted = np.concatenate([tails[:1], middle, tails[1:]])
    # A tail that hardly ever happens is no chi-square term: its samples join the neighbour.
    while wanted[0] < 20:
        wanted, counts = merge_first(wanted), merge_first(counts)
    while wanted[-1] < 20:
        wanted, counts = merge_first(wanted[::-1])[::-1], merge_first(counts[::-1])[::-1]
    if wanted.size == 1:
        return bool(counts[0] == samples.size)
    statistic = np.sum((counts - wanted) ** 2 / wanted)
    return stats.chi2.sf(statistic, wanted.size - 1) > P_VALUE


def merge_first(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[values[0] + values[1]], values[2:]])


def variance_fits(samples: np.ndarray, variance: float, kurtosis: float) -> bool:
    ratio = np.mean(np.square(samples.astype(float))) / variance
    return abs(ratio - 1) < Z_LIMIT * math.sqrt((kurtosis - 1) / samples.size)


def distribution_fits(samples: np.ndarray, cdf: Callable) -> bool:
    """Kolmogorov and Smirnov, with the bound that holds for any size (Massart 1990)."""
    x = np.sort(samples)
    steps = np.arange(x.size + 1) / x.size
    distance = max(np.max(steps[1:] - cdf(x)), np.max(cdf(x) - steps[:-1]))
    return distance < math.sqrt(math.log(2 / P_VALUE) / (2 * x.size))


@pytest.mark.parametrize(("name", "scale"), COARSE)
def test_counts_and_variance_are_those_of_the_exact_law_and_no_other(name, scale):
    law, rng = LAWS[name], secure_generator()
    half = math.ceil(law.reach * scale) + 40
    x = np.arange(-half, half + 1)
    pmf = law.pmf(scale, x)
    variance = np.sum(pmf * x.astype(float) ** 2)
    kurtosis = np.sum(pmf * x.astype(float) ** 4) / variance**2
    right = law.draw(scale, NUM, rng)
    assert right.dtype == np.int64
    assert right.shape == (NUM,)
    assert chi_square_fits(right, x, pmf)
    assert variance_fits(right, variance, kurtosis)
    for factor in (0.7, 1.3):
        wrong = law.draw(factor * scale, NUM, rng)
        assert not chi_square_fits(wrong, x, pmf)
        assert not variance_fits(wrong, variance, kurtosis)


@pytest.mark.parametrize(("name", "scale"), FINE)
def test_distribution_and_variance_at_large_scales(name, scale):
    law, rng = LAWS[name], secure_generator()

    def cdf(x: np.ndarray) -> np.ndarray:
        return law.limit(x / scale)

    right = law.draw(scale, NUM, rng)
    assert distribution_fits(right, cdf)
    assert variance_fits(right, law.variance * scale**2, law.kurtosis)
    for factor in (0.7, 1.3):
        if factor * scale <= samplers.LARGEST_SCALE:
            wrong = law.draw(factor * scale, NUM, rng)
            assert not distribution_fits(wrong, cdf)
            assert not variance_fits(wrong, law.variance * scale**2, law.kurtosis)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("scale", [2.0**30, 2.0**45 - 0.3])
def test_every_residue_is_as_likely_so_there_are_no_holes(name, scale):
    samples = LAWS[name].draw(scale, NUM, secure_generator())
    for modulus in (2, 3, 256):
        counts = np.bincount(samples % modulus, minlength=modulus)
        assert stats.chisquare(counts).pvalue > P_VALUE
    # The law spans millions of values and more: the same one twice is rare.
    assert np.unique(samples).size > 0.999 * NUM


def test_a_sum_of_skellam_shares_is_skellam_with_the_sum_of_the_variances():
    rng = secure_generator()
    total = sum(skellam(2.5, NUM, rng) for _ in range(4))
    x = np.arange(-200, 201)
    assert chi_square_fits(total, x, stats.skellam.pmf(x, 5, 5))
    assert not chi_square_fits(total, x, stats.skellam.pmf(x, 5 * 1.3**2, 5 * 1.3**2))


def log_factorial(n: int) -> Decimal:
    x = Decimal(n)
    pi = Decimal("3.14159265358979323846264338327950288419716939937510")
    series = 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5)
    return x * x.ln() - x + (2 * pi * x).ln() / 2 + series


@pytest.mark.parametrize("mean", [2.0**16, 2.0**16 + 0.75, 2.0**25 + 0.5, 2.0**52, 2.0**89])
def test_log_ratio_of_poisson_keeps_its_digits(mean):
    mode = math.floor(mean)
    for z in (-32, -20, -5, -1, -0.01, 0, 0.01, 1, 5, 20, 32):
        offset = round(z * math.sqrt(mode))
        with localcontext() as context:
            context.prec = 80
            slope = offset * Decimal(mean).ln()
            exact = float(slope - log_factorial(mode + offset) + log_factorial(mode))
        got = samplers.poisson_log_ratio(np.array([float(offset)]), mean)[0]
        assert got == pytest.approx(exact, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("mean", [2.0**16 + 0.5, 2.0**17 + 0.9, 2.0**19])
def test_proposal_covers_the_poisson_law(mean, monkeypatch):
    seen = []
    monkeypatch.setattr(samplers, "from_laplace", lambda *args: seen.append(args) or 0)
    samplers.skellam(2 * mean, 1, secure_generator())
    _, scale, cost, _ = seen[0]
    y = np.arange(-int(mean / 8), int(mean / 8) + 1)
    assert np.min(cost(y)) >= 0
    assert np.min(cost(y)) < 0.05
    log_pmf = stats.poisson.logpmf(math.floor(mean) + y, mean)
    constant = -np.abs(y) / scale - cost(y) - log_pmf
    # scipy's own logarithms are good to 1e-9 here.
    np.testing.assert_allclose(constant, constant[0], atol=1e-8)
    assert np.min(cost(np.array([-4 * int(mean), 4 * int(mean)]))) > 400


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf, 1e-300, 1e40])
@pytest.mark.parametrize("draw", [discrete_gaussian, discrete_laplace, skellam])
def test_scales_out_of_range_are_refused_by_value(draw, value):
    with pytest.raises(ValueError, match=re.escape(f"={value}:")):
        draw(value, 3, secure_generator())


@pytest.mark.parametrize("draw", [discrete_gaussian, discrete_laplace, skellam])
@pytest.mark.parametrize("scale", [2.0, 2.0**40])
def test_sizes(draw, scale):
    assert draw(scale, 0, secure_generator()).shape == (0,)
    assert draw(scale, 1, secure_generator()).shape == (1,)
    with pytest.raises(ValueError):
        draw(scale, -1, secure_generator())


def test_the_generator_is_chacha20_under_all_the_bits_of_the_key(monkeypatch):
    key = bytes(range(200, 232))
    monkeypatch.setattr(randomness.os, "urandom", lambda num: key[:num])
    raw = secure_generator().bit_generator.random_raw(1000)
    cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()
    assert raw.astype("<u8").tobytes() == cipher.update(bytes(8000))


def test_each_generator_has_a_key_of_its_own():
    first, second = (secure_generator().bit_generator for _ in range(2))
    assert first.random_raw() != second.random_raw()
