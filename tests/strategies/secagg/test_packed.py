"""Packed shares: what any t of them give back, what t - l tell, and which are false."""

import hashlib
import os
from itertools import combinations

import numpy as np
import pytest

from strategies.secagg.crypto import packed
from strategies.secagg.crypto.decoding import false_places
from strategies.secagg.crypto.packed import PRIME, FalseAnswersError, Packing
from tests.strategies.secagg.world import stream

SMALL = [(2, 1, 2), (3, 2, 3), (3, 1, 2), (5, 2, 4), (6, 3, 5), (7, 2, 5)]


def keys(num_values: int, num_keys: int = 3, most: int = 100) -> list[np.ndarray]:
    rng = np.random.Generator(np.random.PCG64(num_values))
    return [rng.integers(-most, most + 1, num_values).astype(np.int8) for _ in range(num_keys)]


def dealt(values: np.ndarray, packing: Packing, random_bytes=os.urandom) -> dict[int, bytes]:
    shares = packed.deal(values, packing, random_bytes)
    return {i + 1: row.astype("<u4").tobytes() for i, row in enumerate(shares)}


def lagrange(points: list[int], values: list[int], at: int) -> int:
    """Return a polynomial's value, by Python's integers."""
    total = 0
    for x, value in zip(points, values, strict=True):
        for other in points:
            if other != x:
                value = value * (at - other) * pow(x - other, -1, PRIME) % PRIME
        total += value
    return total % PRIME


@pytest.mark.parametrize(("n", "packed_in_one", "t"), SMALL)
@pytest.mark.parametrize("num_values", [1, 7, 20])
def test_any_t_shares_open_the_sum(n, packed_in_one, t, num_values):
    packing = Packing(num_values, packed_in_one, t, n)
    given = keys(num_values)
    shares = [dealt(values, packing) for values in given]
    sums = {i: packed.add_shares([one[i] for one in shares]) for i in range(1, n + 1)}
    for size in range(t, n + 1):
        for chosen in combinations(sums, size):
            found = packed.open_vector({i: sums[i] for i in chosen}, packing, os.urandom)
            np.testing.assert_array_equal(found.values, np.sum(given, axis=0, dtype=np.int64))
            assert found.misfits == ()
    few = {i: sums[i] for i in list(sums)[: t - 1]}
    with pytest.raises(ValueError, match=f"{t - 1} shares where {t} open a vector"):
        packed.open_vector(few, packing, os.urandom)


def test_a_share_is_a_value_of_the_polynomial_through_the_entries():
    packing = Packing(7, 3, 5, 8)
    (values,) = keys(7, 1)
    shares = dealt(values, packing, stream(1))
    table = {i: np.frombuffer(share, "<u4").tolist() for i, share in shares.items()}
    entries = [int(value) % PRIME for value in values] + [0, 0]
    for number in range(3):
        points = [-1, -2, -3, 1, 2]
        here = entries[3 * number : 3 * number + 3] + [table[i][number] for i in (1, 2)]
        assert [lagrange(points, here, i) for i in range(1, 9)] == [
            table[i][number] for i in range(1, 9)
        ]


def test_known_answers():
    """What two versions, or two machines, must agree on: who deals and who opens differ."""
    packing = Packing(8192, 17, 34, 50)
    values = (np.arange(8192) * 31 % 41 - 20).astype(np.int8)
    shares = packed.deal(values, packing, stream(3)).astype("<u4").tobytes()
    assert hashlib.sha256(shares).hexdigest() == KNOWN


KNOWN = "f456d5b601b5af790035107e247929aafbd75cb9a88dbc4eab30e9d2ac4f540e"


def determinant(matrix: list[list[int]]) -> int:
    """Return the determinant modulo the prime."""
    rows, found = [list(row) for row in matrix], 1
    for at in range(len(rows)):
        pivot = next((i for i in range(at, len(rows)) if rows[i][at] % PRIME), None)
        if pivot is None:
            return 0
        rows[at], rows[pivot] = rows[pivot], rows[at]
        found = found * rows[at][at] * (1 if pivot == at else -1) % PRIME
        inverse = pow(rows[at][at], -1, PRIME)
        for i in range(at + 1, len(rows)):
            factor = rows[i][at] * inverse % PRIME
            pairs = zip(rows[i], rows[at], strict=True)
            rows[i] = [(a - factor * b) % PRIME for a, b in pairs]
    return found


@pytest.mark.parametrize(("n", "packed_in_one", "t"), SMALL)
def test_any_t_minus_l_shares_are_uniform_whatever_the_entries(n, packed_in_one, t):
    """They are an invertible map of what is drawn, plus a constant of the entries."""
    size, hidden = packed_in_one, t - packed_in_one
    packing = Packing(size, size, t, n)
    columns = []
    for drawn in range(hidden):
        words = np.zeros(hidden, "<u4")
        words[drawn] = 1
        shares = packed.deal(np.zeros(size, np.int8), packing, lambda _, w=words: w.tobytes())
        columns.append(shares[:, 0].tolist())
    for chosen in combinations(range(n), hidden):
        assert determinant([[column[i] for column in columns] for i in chosen]) != 0


def test_what_is_drawn_is_uniform_and_asked_of_the_operating_system():
    """The one word that is no element is drawn again."""
    asked = []

    def random_bytes(size: int) -> bytes:
        asked.append(size)
        word = [0x7FFFFFFF, 0xFFFFFFFF] if len(asked) == 1 else [0x80000005]
        return np.resize(np.array(word, "<u4"), size // 4).tobytes()

    assert packed._uniform(4, random_bytes).tolist() == [5] * 4
    assert asked == [16, 16]
    shares = packed.deal(np.zeros(10, np.int8), Packing(10, 2, 4, 5), os.urandom)
    assert len(np.unique(shares)) == shares.size


def test_products_of_matrices_are_exact_at_their_largest():
    size = 10_000
    one = np.full((1, size), PRIME - 1, np.uint64)
    assert packed.multiply(one, one.T).tolist() == [[size % PRIME]]
    rng = np.random.Generator(np.random.PCG64(1))
    a, b = (rng.integers(0, PRIME, shape, np.uint64) for shape in ((3, 50), (50, 4)))
    expected = [
        [
            sum(x * y for x, y in zip(row, column, strict=True)) % PRIME
            for column in b.T.tolist()
        ]
        for row in a.tolist()
    ]
    assert packed.multiply(a, b).tolist() == expected


def test_sums_of_ten_thousand_are_exact():
    share = np.array([PRIME - 1, 5], "<u4").tobytes()
    total = packed.add_shares([share] * 10_000)
    assert np.frombuffer(total, "<u4").tolist() == [-10_000 % PRIME, 50_000]


@pytest.mark.parametrize("num_false", [1, 2, 3])
@pytest.mark.parametrize("num_answers", [10, 11, 12, 15])
def test_false_shares_are_found_up_to_half_of_what_is_more_than_t(num_answers, num_false):
    packing = Packing(30, 3, 9, 15)
    (values,) = keys(30, 1)
    shares = dealt(values, packing)
    rng = np.random.Generator(np.random.PCG64(num_answers))
    chosen = sorted((rng.permutation(15)[:num_answers] + 1).tolist())
    false = sorted(rng.permutation(chosen)[:num_false].tolist())
    given = {i: shares[i] for i in chosen}
    for place, i in enumerate(false):
        words = np.frombuffer(given[i], "<u4").copy()
        # Each in another polynomial: no single one shows them all.
        words[place] ^= 1
        given[i] = words.tobytes()
    if 2 * num_false <= num_answers - 9:
        found = packed.open_vector(given, packing, os.urandom)
        assert list(found.misfits) == false
        np.testing.assert_array_equal(found.values, values)
    else:
        with pytest.raises(FalseAnswersError, match=f"the {num_answers} shares do not fit"):
            packed.open_vector(given, packing, os.urandom)


def test_of_two_vectors_that_both_fit_half_of_the_shares_neither_is_opened():
    packing = Packing(4, 1, 2, 6)
    one, two = (dealt(values, packing) for values in keys(4, 2))
    given = {i: (one if i <= 3 else two)[i] for i in one}
    with pytest.raises(FalseAnswersError):
        packed.open_vector(given, packing, os.urandom)


def test_decoding_says_nothing_of_a_word_that_is_true_or_too_false():
    points, word = list(range(1, 9)), [3 + 5 * x + 7 * x * x for x in range(1, 9)]
    assert false_places(points, word, 3, PRIME) == frozenset()
    wrong = [word[0] + 1, word[1], word[2] + 9, *word[3:]]
    assert false_places(points, wrong, 3, PRIME) == {0, 2}
    far = [value + 11 * at for at, value in enumerate(word[:-2])] + [1, 2]
    assert len(false_places(points, far, 3, PRIME)) <= 2


@pytest.mark.parametrize("change", ["short", "long", "prime", "largest"])
def test_what_is_a_share(change):
    packing = Packing(5, 2, 4, 5)
    share = dealt(keys(5, 1)[0], packing)[3]
    assert packed.is_share(share, packing)
    last = {"prime": PRIME, "largest": PRIME - 1}.get(change, 0)
    changed = {"short": share[:-4], "long": share + bytes(4)}.get(
        change, share[:-4] + last.to_bytes(4, "little")
    )
    assert packed.is_share(changed, packing) is (change == "largest")


@pytest.mark.parametrize(("size", "t", "n"), [(0, 2, 3), (2, 2, 3), (1, 4, 3)])
def test_numbers_that_do_not_fit_are_refused(size, t, n):
    with pytest.raises(ValueError, match=f"{size} entries a polynomial, threshold {t} and {n}"):
        Packing(8, size, t, n)
