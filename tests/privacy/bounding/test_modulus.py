"""The step of the grid and the chance that a sum passes the modulus."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from privacy.bounding.modulus import grid_step, wrap_probability


@given(
    bits=st.integers(8, 32),
    deviations=st.floats(1, 6),
    norm=st.floats(0.1, 1e4),
    block=st.integers(1, 2**20),
    n=st.integers(1, 1000),
    share=st.floats(0, 100),
)
def test_step_solves_the_equation(bits, deviations, norm, block, n, share):
    step = grid_step(bits, deviations, norm, block, n, share)
    spread = math.sqrt(norm**2 / block + n * (step**2 / 4 + share**2))
    assert step * 2**bits == pytest.approx(2 * deviations * spread)


def test_step_is_the_papers():
    """The closed form of the reference code: a scale, one over the step."""
    bits, k, n, d, share = 16, 4.0, 100, 2**20, 0.09
    scale = math.sqrt(2.0 ** (2 * bits) - n * k**2)
    scale /= 2 * k * math.sqrt(n**2 / d + n * share**2)
    assert grid_step(bits, k, n, d, n, share) == pytest.approx(1 / scale, rel=1e-12)


def test_more_of_anything_makes_the_grid_coarser():
    base = {
        "modulus_bits": 16,
        "deviations": 4.0,
        "signal_norm": 10.0,
        "block": 1024,
        "num_contributions": 10,
        "share_deviation": 0.3,
    }
    start = grid_step(**base)
    more = {"deviations": 5.0, "signal_norm": 20.0, "num_contributions": 20}
    more["share_deviation"] = 0.4
    for name, value in more.items():
        assert grid_step(**base | {name: value}) > start
    for name, value in {"modulus_bits": 17, "block": 2048}.items():
        assert grid_step(**base | {name: value}) < start


def test_too_few_bits_are_refused_with_the_mend():
    with pytest.raises(ValueError, match=r"modulus_bits=5 .* 100 .*take more bits"):
        grid_step(5, 4.0, 1.0, 1, 100, 0.1)
    # 4^b = n k^2 exactly.
    with pytest.raises(ValueError, match="modulus_bits=6"):
        grid_step(6, 4.0, 1.0, 1, 256, 0.1)
    assert grid_step(6, 4.0, 1.0, 1, 255, 0.1) > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modulus_bits", 0),
        ("deviations", 0.0),
        ("signal_norm", math.inf),
        ("block", 0),
        ("num_contributions", 0),
        ("share_deviation", -1.0),
    ],
)
def test_values_out_of_range(name, value):
    good = {
        "modulus_bits": 16,
        "deviations": 4.0,
        "signal_norm": 1.0,
        "block": 4,
        "num_contributions": 3,
        "share_deviation": 0.1,
    }
    with pytest.raises(ValueError, match=f"{name}={value}"):
        grid_step(**good | {name: value})


def test_wrap_bound_is_above_the_exact_tail_of_skellam():
    """One contribution of next to no signal: the tail is that of the noise, a step nearer."""
    for deviation in (0.5, 3.0, 40.0):
        for bits in (4, 6, 8):
            bound = wrap_probability(bits, 1.0, 1e-9, 1, 1, 1, deviation)
            half = 2 ** (bits - 1) - 1
            exact = 2 * special.ive(np.arange(half, half + 400), deviation**2).sum()
            assert exact <= bound * (1 + 1e-9)
            # Chernoff's bound loses a factor of about deviations times the root of 2 pi.
            if 1e-100 < bound < 0.1:
                assert bound < exact * 200


def test_wrap_bound_holds_in_a_simulation():
    """Signs flipped at random, rotated, rounded at random, Gaussian noise: 2,000 sums."""
    rng = np.random.default_rng(7)
    block, n, bits, share = 64, 5, 7, 2.0
    hadamard = np.array([[1.0]])
    while len(hadamard) < block:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    # One spike, the worst signal for a single number without a rotation.
    signal, norm, step = np.zeros(block), 60.0, 1.0
    signal[0] = norm
    wrapped = 0
    for _ in range(2_000):
        rotated = hadamard @ (signal * rng.choice([-1, 1], block)) / math.sqrt(block)
        total = np.zeros(block)
        for _ in range(n):
            total += np.floor(rotated / n + rng.random(block))
            total += np.rint(rng.normal(0, share, block))
        wrapped += bool(np.any(np.abs(total) >= 2 ** (bits - 1)))
    bound = wrap_probability(bits, step, norm, block, block, n, share)
    assert bound < 1e-2
    assert wrapped / 2_000 <= bound


def test_wrap_bound_at_its_ends():
    # The papers' own settings: a million numbers at four deviations do wrap.
    d, n = 2**20, 100
    step = grid_step(16, 4.0, 100.0, d, n, 0.09)
    assert wrap_probability(16, step, 100.0, d, d, n, 0.09) == 1.0
    step = grid_step(16, 8.0, 100.0, d, n, 0.09)
    assert wrap_probability(16, step, 100.0, d, d, n, 0.09) < 1e-6
    # More roundings than the modulus holds.
    assert wrap_probability(4, 1.0, 1.0, 1, 1, 8, 0.0) == 1.0
    assert wrap_probability(62, 1e-3, 1e-9, 1, 1, 2, 0.0) == 0.0
    with pytest.raises(ValueError, match="step=0"):
        wrap_probability(16, 0.0, 1.0, 1, 1, 1, 0.0)
    with pytest.raises(ValueError, match="dimension=0"):
        wrap_probability(16, 1.0, 1.0, 1, 0, 1, 0.0)


@given(bits=st.integers(6, 40), share=st.floats(0.01, 50), n=st.integers(1, 20))
def test_wrap_bound_falls_with_room(bits, share, n):
    bounds = [wrap_probability(b, 1.0, 5.0, 4, 10, n, share) for b in (bits, bits + 1)]
    assert 0 <= bounds[1] <= bounds[0] <= 1
