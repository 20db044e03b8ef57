"""The discrete Gaussian: its table to the last bit, and what comes out of it."""

from itertools import pairwise

import numpy as np
import pytest

from strategies.homomorphic.sampler import BOUNDARY, TAIL, Keystream, cells, cumulative, sample
from tests.strategies.homomorphic import oracle


class Given:
    """A stream of given bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, num_bytes: int) -> np.ndarray:
        part, self.data = self.data[:num_bytes], self.data[num_bytes:]
        assert len(part) == num_bytes
        return np.frombuffer(bytearray(part), np.uint8)


def drawn(uniform: int) -> int:
    """Return the sample of 128 bits, of which the rest may go unread."""
    first, rest = divmod(uniform, 1 << 112)
    stream = Given(first.to_bytes(2, "little") + rest.to_bytes(14, "little"))
    found = int(sample(1, stream)[0])
    assert (len(stream.data) == 0) == (cells()[first] == BOUNDARY)
    return found


def test_the_table_is_that_of_the_distribution():
    found, expected = cumulative(), oracle.gaussian_bounds()
    assert len(found) == len(expected) == 2 * TAIL + 1
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 1
    assert found[-1] == 2**128
    # The mean is 0 to the last bit.
    assert all(found[i] + found[2 * TAIL - 1 - i] == 2**128 for i in range(TAIL))


def test_each_bound_is_met_exactly():
    bounds = cumulative()
    for at, bound in enumerate(bounds[:-1]):
        if bound:
            below = next(i for i, other in enumerate(bounds) if other > bound - 1)
            assert drawn(bound - 1) == below - TAIL
        if bound == 2**128:
            continue  # beyond 84 the chance is below 2^-129
        above = next(i for i, other in enumerate(bounds) if other > bound)
        assert drawn(bound) == above - TAIL
        assert above > at
    assert drawn(2**128 - 1) <= TAIL


def test_the_cells_that_do_not_decide_are_those_with_a_bound():
    inside = {bound >> 112 for bound in cumulative()[:-1] if bound % 2**112}
    assert set(np.flatnonzero(cells() == BOUNDARY).tolist()) == inside
    assert len(inside) == 56


def test_samples_have_the_distribution():
    """Mean, deviation, both tails and every value; a deviation 1 % too small is seen."""
    num = 2_000_000
    found = sample(num, Keystream(bytes(range(16)))).astype(np.int64)
    bounds = [0, *oracle.gaussian_bounds()]
    chances = [(high - low) / 2**128 for low, high in pairwise(bounds)]
    middle = range(TAIL - 25, TAIL + 26)
    counts = np.bincount(found + TAIL, minlength=2 * TAIL + 1)
    chi = sum((counts[i] - num * chances[i]) ** 2 / (num * chances[i]) for i in middle)
    # 51 cells: above 130 with a chance below 1e-8.
    assert chi < 130
    assert abs(found.mean()) < 6 * 6.4 / num**0.5
    assert abs(found.var() / 6.4**2 - 1) < 6 * (2 / num) ** 0.5
    assert abs(0.99**2 - 1) > 6 * (2 / num) ** 0.5
    for tail in (counts[: TAIL - 25], counts[TAIL + 26 :]):
        expected = num * sum(chances[: TAIL - 25])
        assert abs(tail.sum() - expected) < 6 * expected**0.5 + 1


def test_a_stream_goes_on_where_it_stopped():
    whole = Keystream(bytes(16), bytes([1] * 16)).take(100).tobytes()
    parts = Keystream(bytes(16), bytes([1] * 16))
    assert parts.take(33).tobytes() + parts.take(67).tobytes() == whole


@pytest.mark.parametrize("num", [0, 1, 8192])
def test_as_many_as_are_asked_for(num):
    assert sample(num, Keystream(bytes(16))).shape == (num,)
