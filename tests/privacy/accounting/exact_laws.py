"""Exact laws of small integer noise and what they reveal: nothing of the accountant's code."""

import math

import numpy as np
from scipy import special, stats

HALF = 60


def log_discrete_gaussian(variance, half=HALF):
    """Log probabilities on -half to half."""
    x = np.arange(-half, half + 1)
    weights = -(x**2) / (2 * variance)
    return weights - special.logsumexp(weights)


def log_sum_of_discrete_gaussians(share_variance, num_shares):
    """By convolution; the ends, which a longer sum would reach, are far below what counts."""
    share = np.exp(log_discrete_gaussian(share_variance))
    total = share
    for _ in range(num_shares - 1):
        total = np.convolve(total, share)
    middle = total.size // 2
    kept = total[middle - HALF : middle + HALF + 1]
    with np.errstate(divide="ignore"):
        return np.log(kept)


def log_skellam(variance):
    x = np.arange(-HALF, HALF + 1)
    return np.log(special.ive(np.abs(x), variance))


def log_discrete_laplace(scale):
    x = np.arange(-HALF, HALF + 1)
    return math.log(math.tanh(0.5 / scale)) - np.abs(x) / scale


def log_difference_of_poissons(more, less):
    """Noise that is not symmetric: the control."""
    x = np.arange(-HALF, HALF + 1)
    size = 2 * math.sqrt(more * less)
    tilt = x / 2 * math.log(more / less)
    return size - more - less + tilt + np.log(special.ive(np.abs(x), size))


def shifted_pair(log_law, shift):
    """Log laws without and with the shift, over all integers where both are known."""
    low, high = np.arange(log_law.size), np.arange(log_law.size) - shift
    inside = (high >= 0) & (high < log_law.size)
    return log_law[low[inside]], log_law[high[inside]]


def product_pair(log_law, shifts):
    """The same for a vector of independent numbers."""
    without, moved = np.zeros(1), np.zeros(1)
    for shift in shifts:
        one, other = shifted_pair(log_law, shift)
        without = np.add.outer(without, one).ravel()
        moved = np.add.outer(moved, other).ravel()
    return without, moved


def mixed(without, moved, rate):
    """Log law where the shift is drawn with a probability."""
    if rate == 1:
        return moved
    return np.logaddexp(math.log1p(-rate) + without, math.log(rate) + moved)


def hockey_stick(log_p, log_q, epsilon):
    """Return delta(epsilon) of p against q."""
    return float(np.maximum(np.exp(log_p) - np.exp(epsilon + log_q), 0).sum())


def renyi(log_p, log_q, order):
    keep = (log_p > -600) & (log_q > -600)
    terms = order * log_p[keep] + (1 - order) * log_q[keep]
    return float(special.logsumexp(terms)) / (order - 1)


def gaussian_deltas(variance, shift, rate, epsilon):
    """Return delta(epsilon) of a sampled continuous Gaussian: with against without, and back.

    In closed form: the likelihood ratio 1 - q + q exp((2 x D - D^2) / (2 v)) grows with x.
    """
    deviation = math.sqrt(variance)

    def threshold(ratio):
        inner = (ratio - 1 + rate) / rate
        return -math.inf if inner <= 0 else shift / 2 + variance * math.log(inner) / shift

    above, below = threshold(math.exp(epsilon)), threshold(math.exp(-epsilon))
    beyond, moved = (stats.norm.sf((above - m) / deviation) for m in (0, shift))
    under, also = (stats.norm.cdf((below - m) / deviation) for m in (0, shift))
    forward = (1 - rate) * beyond + rate * moved - math.exp(epsilon) * beyond
    back = under - math.exp(epsilon) * ((1 - rate) * under + rate * also)
    return float(forward), max(float(back), 0.0)
