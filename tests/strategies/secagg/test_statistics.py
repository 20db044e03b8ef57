"""A masked input, and sums of proper subsets, look uniform to the server.

Each test counts a byte's 256 values over N = 2^16 or more masked entries of constant inputs.
Under uniformity the chi-squared statistic has 255 degrees of freedom; by Laurent and
Massart (2000), lemma 1, Pr[X >= 255 + 2 sqrt(255 x) + 2 x] <= exp(-x) for the limit law.
x = 23 gives 1.03e-10 for each of the 24 statistics: under 1e-8 in all, and the discrete law
is closer than a factor of 10 to the limit at 256 expected counts a cell.
"""

import math

import numpy as np
import pytest

from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import MaskedInput
from strategies.secagg.packing import unpack
from tests.strategies.secagg.world import World, attempt, binding_for

X = 23.0
BOUND = 255 + 2 * math.sqrt(255 * X) + 2 * X
SIZE = 1 << 16


def chi_squared(values: np.ndarray) -> float:
    counts = np.bincount(values.astype(np.int64), minlength=256)
    expected = values.size / 256
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.fixture(scope="module")
def masked() -> list[np.ndarray]:
    """Masked inputs of five nodes whose inputs are all zero, modulo 2^24."""
    world = World(ProtocolParameters(min_survivors=4, max_colluding=1), 5, dimension=SIZE)
    for node in world.ids:
        world.inputs[node][:] = 0
    server = world.ready(attempt())
    sent = world.train(server, world.ids, binding_for())
    return [unpack(MaskedInput.decode(data).update, 24, SIZE) for data in sent.values()]


@pytest.mark.parametrize(
    "subset", [(0,), (1,), (4,), (0, 1), (2, 4), (0, 1, 2), (0, 1, 2, 3), (1, 2, 3, 4)]
)
def test_proper_subsets_of_masked_inputs_look_uniform(masked, subset):
    total = sum(masked[i].astype(np.uint64) for i in subset) & np.uint64(2**24 - 1)
    for shift in (0, 8, 16):
        assert chi_squared((total >> np.uint64(shift)) & np.uint64(255)) < BOUND


def test_the_statistic_rejects_what_is_not_uniform(masked):
    """One entry in twenty left unmasked, or the top bit lost, is noticed."""
    values = (masked[0] & 255).astype(np.int64)
    values[::20] = 0
    assert chi_squared(values) > BOUND
    assert chi_squared(masked[0] & 127) > BOUND


def test_two_nodes_and_two_segments_share_no_keystream(masked):
    """Equal entries of two uniform vectors: 65,536 x 2^-24; five or more has odds < 1e-11."""
    for i in range(5):
        for j in range(i):
            assert np.count_nonzero(masked[i] == masked[j]) < 5
