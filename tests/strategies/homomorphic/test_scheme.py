"""Encrypt, add, decrypt: against Python's integers, at the corners, and where it must fail."""

import hashlib
import importlib.util

import numpy as np
import pytest

from strategies.homomorphic import scheme as module
from strategies.homomorphic.arithmetic import NUMPY, compiled_arithmetic
from strategies.homomorphic.parameters import Slots
from strategies.homomorphic.public import public_key, public_polynomial
from strategies.homomorphic.scheme import MismatchError, Scheme, draw_key
from strategies.secagg.crypto.prg import word_dtype
from strategies.secagg.server import masked_sum
from tests.strategies.homomorphic import oracle
from tests.strategies.homomorphic.oracle import PRIMES, N
from tests.strategies.homomorphic.world import added
from tests.strategies.secagg.world import stream

NUM_SCALARS = 5
PLAN = hashlib.sha256(b"plan").digest()
HAS_NUMBA = importlib.util.find_spec("numba") is not None
ARITHMETICS = [
    pytest.param(lambda: NUMPY, id="numpy"),
    pytest.param(
        compiled_arithmetic,
        id="numba",
        marks=pytest.mark.skipif(not HAS_NUMBA, reason="the extra numba is not installed"),
    ),
]


def words_of(values: np.ndarray, bits: int) -> np.ndarray:
    """Return signed numbers modulo 2^b."""
    unsigned = values.astype(np.int64).view(np.uint64) & np.uint64(2**bits - 1)
    return unsigned.astype(word_dtype(bits))


def numbers_for(scheme: Scheme, seed: int) -> list[np.ndarray]:
    """Return an update of each participant, whose sums fill the range, at its ends too."""
    slots = scheme.slots
    rng = np.random.Generator(np.random.PCG64(seed))
    half, n = 2 ** (slots.modulus_bits - 1), slots.num_contributions
    found = [
        rng.integers(-(half // n), (half - 1) // n + 1, slots.num_values) for _ in range(n)
    ]
    for i, values in enumerate(found):
        values[:1] = -(half // n)
        values[1:2] = (half - 1) // n
        if i == 0 and len(values) > 3:
            # One participant alone may reach both ends.
            values[2:4] = -half, half - 1
        elif len(values) > 3:
            values[2:4] = 0
    return found


def scalars_for(seed: int) -> np.ndarray:
    """Return any words at all: negative numbers and sums that wrap are among them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    found = rng.integers(0, 2**64, NUM_SCALARS, dtype=np.uint64)
    found[:2] = 2**63, 2**64 - 1
    return found


def encrypted(scheme, numbers, seed=0, plan=PLAN, arithmetic=NUMPY):
    """Return a key, a ciphertext and its scalars, of each."""
    bits = scheme.slots.modulus_bits
    found = []
    for i, values in enumerate(numbers):
        key, beside = draw_key(stream(seed + i)), scalars_for(seed + i)
        contribution = words_of(values, bits), beside
        text = scheme.encrypt(key, contribution, plan, stream(500 + seed + i), arithmetic)
        found.append((key, text, beside))
    return found


def key_sum(pairs) -> np.ndarray:
    return np.sum([key for key, *_ in pairs], axis=0, dtype=np.int64)


def opened(scheme, pairs, plan=PLAN, arithmetic=NUMPY):
    """Return the sum of the numbers, after a look at that of the scalars."""
    texts = [text for _, text, _ in pairs]
    found, beside = added(scheme, texts, arithmetic).opened(key_sum(pairs), plan)
    expected = np.zeros(NUM_SCALARS, np.uint64)
    for _, _, one in pairs:
        expected += one
    np.testing.assert_array_equal(beside, expected)
    return found


def is_sound(scheme: Scheme, text: bytes) -> bool:
    """Say whether something is added, by either arithmetic."""
    found = {scheme.new_sum(one.values[0]()).add(0, text) for one in ARITHMETICS[:1]}
    if HAS_NUMBA:
        found.add(scheme.new_sum(compiled_arithmetic()).add(0, text))
    (answer,) = found
    return answer


def small(num_values: int = 300, bits: int = 16, n: int = 3) -> Scheme:
    return Scheme(Slots.of(num_values, bits, n), NUM_SCALARS)


@pytest.mark.parametrize("bits", [8, 16, 24, 31, 32, 48, 63])
@pytest.mark.parametrize(("n", "length"), [(3, "1"), (7, "some"), (3, "kN + 1")])
def test_the_sum_is_exact(bits, n, length):
    full = Slots.of(10, bits, n).values_in_full
    size = {"1": 1, "some": 1000, "kN - 1": full - 1, "kN + 1": full + 1}[length]
    scheme = Scheme(Slots.of(size, bits, n), NUM_SCALARS)
    numbers = numbers_for(scheme, bits)
    pairs = encrypted(scheme, numbers)
    assert all(is_sound(scheme, text) for _, text, _ in pairs)
    assert {len(text) for _, text, _ in pairs} == {scheme.num_bytes}
    np.testing.assert_array_equal(opened(scheme, pairs), words_of(sum(numbers), bits))


def test_the_sum_is_exact_over_many_and_over_any_survivors():
    scheme = small(200, 32, 40)
    numbers = numbers_for(scheme, 1)
    pairs = encrypted(scheme, numbers)
    for chosen in (range(40), range(0, 40, 3), (4, 39)):
        found = opened(scheme, [pairs[i] for i in chosen])
        np.testing.assert_array_equal(found, words_of(sum(numbers[i] for i in chosen), 32))


@pytest.mark.parametrize(
    ("bits", "size"), [(8, 50), pytest.param(48, 3 * N + 5, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_ciphertext_is_what_its_definition_says(monkeypatch, arithmetic, bits, size):
    """Bytes of c_j = a_j s + T e_j + P_j, by Kronecker products and Python's integers."""
    scheme = Scheme(Slots.of(size, bits, 3), NUM_SCALARS)
    slots, drawn = scheme.slots, []

    def noting(num, bits_of):
        drawn.append(module_sample(num, bits_of))
        return drawn[-1].copy()

    module_sample = module.sample
    monkeypatch.setattr(module, "sample", noting)
    words = words_of(numbers_for(scheme, 5)[0], bits)
    key, beside = draw_key(stream(9)), scalars_for(9)
    text = scheme.encrypt(key, (words, beside), PLAN, stream(10), arithmetic())
    secret, *errors, last = (values.astype(np.int64).tolist() for values in drawn)
    assert key.tolist() == secret
    expected = b""
    for number in range(slots.num_polynomials):
        length, public = slots.length(number), oracle.public_points(PLAN, number)
        start = number * slots.values_in_full
        part = words[start : start + slots.values_in_full].tolist()
        plain = oracle.plaintexts(part, bits, slots.num_slots, length)
        for i, prime in enumerate(PRIMES):
            a = backward_checked(i, public[i])
            product = oracle.negacyclic(a, secret, prime)
            scaled = [error << (bits * slots.num_slots) for error in errors[number]]
            rows = zip(product[:length], scaled, plain, strict=True)
            expected += oracle.packed([sum(row) % prime for row in rows])
    # The scalars: the public polynomial is taken as coefficients, and T is 2^80.
    public = oracle.public_points(PLAN, slots.num_polynomials)
    plain = [oracle.signed(word, 64) for word in beside.tolist()] + [0] * 3
    for i, prime in enumerate(PRIMES):
        product = oracle.negacyclic(public[i], secret, prime)
        rows = zip(product, [error << 80 for error in last], plain, strict=False)
        expected += oracle.packed([sum(row) % prime for row in rows])
    assert len(last) == 8
    assert bytes(text) == expected


def backward_checked(number: int, points: list[int]) -> list[int]:
    """Return the coefficients of a polynomial, which has these values where we look."""
    from strategies.homomorphic import ring

    found = ring.backward(number, np.array(points, np.uint32)).tolist()
    place = oracle.point(PRIMES[number], 1234)
    assert oracle.value_at(found, place, PRIMES[number]) == points[1234]
    return found


KNOWN = {
    "public": "dccf865ed71de8b0d670484b79eb29ddb69593d64e152b437315370af84c9cd0",
    "ciphertext": "31173f4189ce1fd35c9acb0c96cceabd811f7d262cb9e7182c397abb55673711",
    "key": "14d42e47a6e64cd221095832a53f41435edda009fafc43f573bd042a93e39d8f",
}


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_known_answers(arithmetic):
    """What two versions, or two machines, must agree on."""
    scheme = Scheme(Slots.of(50_000, 32, 10), NUM_SCALARS)
    values = np.arange(50_000, dtype=np.int64) * 7919 % 200_003 - 100_001
    key, beside = draw_key(stream(1)), np.arange(NUM_SCALARS, dtype=np.uint64)
    contribution = words_of(values, 32), beside
    text = scheme.encrypt(key, contribution, PLAN, stream(2), arithmetic())
    found = {
        "public": public_polynomial(public_key(PLAN), 1).astype("<u4").tobytes(),
        "ciphertext": bytes(text),
        "key": key.tobytes(),
    }
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == KNOWN


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_both_arithmetics_open_the_same(arithmetic):
    for bits, size in ((8, 100), (16, 11 * N + 3), (32, 500), (63, 900)):
        scheme = small(size, bits, 4)
        numbers = numbers_for(scheme, 3)
        pairs = encrypted(scheme, numbers, arithmetic=arithmetic())
        found = opened(scheme, pairs, arithmetic=arithmetic())
        np.testing.assert_array_equal(found, words_of(sum(numbers), bits))


def corner(scheme: Scheme, sign: int, beyond: int = 0):
    """Return words and the sum of a ciphertext with extreme numbers and errors of +-(B + x)."""
    slots = scheme.slots
    bits, k, length = slots.modulus_bits, slots.num_slots, slots.length(0)
    digit = -(2 ** (bits - 1)) if sign < 0 else 2 ** (bits - 1) - 1
    words = [digit % 2**bits] * slots.num_values
    error = sign * (slots.largest_sum + beyond)
    plain = oracle.plaintexts(words, bits, k, length)
    values = [p + (error << (bits * k)) for p in plain]
    text = b"".join(oracle.packed([v % prime for v in values]) for prime in PRIMES)
    return np.array(words, word_dtype(bits)), text + beside(scheme, [error] * 8)


def beside(scheme: Scheme, errors: list[int]) -> bytes:
    """Return a polynomial of scalars that are the lowest there are, with these errors."""
    values = [(error << 80) - 2**63 * scheme.slots.num_contributions for error in errors]
    return b"".join(oracle.packed([v % prime for v in values]) for prime in PRIMES)


@pytest.mark.parametrize("bits", [8, 16, 24, 32, 48, 63])
@pytest.mark.parametrize("n", [3, 1000, 10_000])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_errors_of_b_and_extreme_numbers_open_exactly(monkeypatch, bits, n, sign, arithmetic):
    scheme = small(16 * Slots.of(10, bits, n).num_slots, bits, n)
    words, text = corner(scheme, sign)
    monkeypatch.setattr(Scheme, "_require_spread", lambda *_: None)
    zero = np.zeros(N, np.int64)
    found, scalars = added(scheme, [text], arithmetic()).opened(zero, PLAN)
    np.testing.assert_array_equal(found, words)
    assert scalars.tolist() == [-(2**63) * n % 2**64] * NUM_SCALARS
    _, beyond = corner(scheme, sign, 1)
    with pytest.raises(MismatchError, match="errors is"):
        added(scheme, [beyond], arithmetic()).opened(zero, PLAN)
    # Of the numbers alone, or of the scalars alone.
    for mixed in (text[:-189] + beyond[-189:], beyond[:-189] + text[-189:]):
        with pytest.raises(MismatchError, match="errors is"):
            added(scheme, [mixed], arithmetic()).opened(zero, PLAN)


@pytest.mark.parametrize("error", [0, 13])
def test_errors_that_nobody_draws_are_found_out(error):
    """All of them small, and their mean square is not that of one participant's."""
    scheme = small(1100, 16, 1)
    words, _ = corner(scheme, 1)
    slots = scheme.slots
    plain = oracle.plaintexts(words.tolist(), 16, slots.num_slots, slots.length(0))
    values = [p + (error << (16 * slots.num_slots)) for p in plain]
    text = b"".join(oracle.packed([v % prime for v in values]) for prime in PRIMES)
    text += beside(scheme, [error] * 8)
    with pytest.raises(MismatchError, match="mean square"):
        added(scheme, [text]).opened(np.zeros(N, np.int64), PLAN)


def test_a_slot_more_than_fits_fails():
    """Past capacity what comes out is wrong, whatever the checks make of so few."""
    fitting = Slots.of(100, 31, 1000)
    too_full = Slots(100, 31, 1000, fitting.num_slots + 1, fitting.largest_sum)
    scheme = Scheme(too_full, NUM_SCALARS)
    words, text = corner(scheme, 1)
    try:
        found, _ = added(scheme, [text]).opened(np.zeros(N, np.int64), PLAN)
    except MismatchError:
        return
    assert (found != words).mean() > 0.1


def test_sums_of_ten_thousand_keys_and_errors_stay_within_b():
    """By a Gaussian with their variance: of a million none is beyond, and B is not idle."""
    rng = np.random.Generator(np.random.PCG64(3))
    largest = np.abs(np.rint(rng.standard_normal(1_000_000) * 6.4 * 100)).max()
    most = Slots.of(1_000_000, 32, 10_000).largest_sum
    assert 0.4 * most < largest <= most


def test_a_wrap_damages_its_slot_and_the_next_by_one_step():
    scheme = small(11, 16, 2)
    numbers = [np.zeros(11, np.int64) for _ in range(2)]
    numbers[0][4] = numbers[1][4] = 20_000
    found = opened(scheme, encrypted(scheme, numbers)).view(np.int16)
    assert found[4:6].tolist() == [40_000 - 65_536, 1]
    assert not found[:4].any()
    assert not found[6:].any()


def test_the_server_sees_integers_and_not_one_wrap():
    """The plaintexts are not reduced modulo T: a negative top slot borrows from the errors."""
    scheme = small(11, 16, 2)
    low = np.full(11, -(2**15), np.int64)
    pairs = encrypted(scheme, [low, np.zeros(11, np.int64)])
    np.testing.assert_array_equal(opened(scheme, pairs), words_of(low, 16))


def test_every_key_and_every_error_is_drawn_anew():
    scheme = small()
    nothing = np.zeros(300, np.uint16), np.zeros(NUM_SCALARS, np.uint64)
    keys = [draw_key() for _ in range(20)]
    assert len({key.tobytes() for key in keys}) == 20
    # Under one key, only to see that the errors differ.
    assert len({bytes(scheme.encrypt(keys[0], nothing, PLAN)) for _ in range(20)}) == 20
    # A key is no function of what the errors are drawn from.
    asked = []
    draw_key(lambda n: asked.append(n) or bytes(n))
    scheme.encrypt(keys[0], nothing, PLAN, lambda n: asked.append(n) or bytes([1] * n))
    assert asked == [16, 16]


def test_keys_and_errors_are_as_wide_as_they_must_be():
    """Neither ternary keys nor errors of zero, nor a deviation that is a little smaller."""
    scheme = small(11 * N, 16, 2)
    zero = np.zeros(11 * N, np.uint16), np.zeros(NUM_SCALARS, np.uint64)
    drawn = [draw_key() for _ in range(4)]
    keys = np.stack(drawn).astype(float)
    assert abs(keys.var() / 6.4**2 - 1) < 6 * (2 / keys.size) ** 0.5
    for key in drawn:
        text = scheme.encrypt(key, zero, PLAN)
        # Alone, with its own key, the errors are seen: their mean square is checked in there.
        assert not added(scheme, [text]).opened(key.astype(np.int64), PLAN)[0].any()


def test_the_errors_of_scalars_are_as_wide_as_the_others(monkeypatch):
    scheme = Scheme(Slots.of(0, 16, 2), N)
    text = scheme.encrypt(draw_key(stream(1)), (np.zeros(0, np.uint16), zeros(N)), PLAN)
    seen = []
    monkeypatch.setattr(Scheme, "_require_spread", lambda _, squares, n: seen.append(squares))
    added(scheme, [text]).opened(draw_key(stream(1)).astype(np.int64), PLAN)
    assert abs(seen[0] / N / 6.4**2 - 1) < 6 * (2 / N) ** 0.5


def zeros(num: int) -> np.ndarray:
    return np.zeros(num, np.uint64)


@pytest.mark.parametrize("num_scalars", [1, 8, 9])
def test_scalars_alone_are_opened_too(num_scalars):
    """As of an evaluation, whose update is empty."""
    scheme = Scheme(Slots.of(0, 32, 3), num_scalars)
    given = [np.arange(num_scalars, dtype=np.uint64) - np.uint64(i) for i in range(3)]
    keys = [draw_key(stream(i)) for i in range(3)]
    texts = [
        scheme.encrypt(key, (np.zeros(0, np.uint32), one), PLAN)
        for key, one in zip(keys, given, strict=True)
    ]
    total = np.sum(keys, axis=0, dtype=np.int64)
    update, found = added(scheme, texts).opened(total, PLAN)
    assert not len(update)
    np.testing.assert_array_equal(found, given[0] * np.uint64(3) - np.uint64(3))
    assert len(texts[0]) == scheme.num_bytes == -(-num_scalars // 8) * 189
    with pytest.raises(MismatchError):
        added(scheme, texts[:2]).opened(total, PLAN)


@pytest.mark.parametrize("num_scalars", [0, N + 1])
def test_other_numbers_of_scalars_than_a_polynomial_has_are_refused(num_scalars):
    with pytest.raises(ValueError, match=f"{num_scalars} scalars: .* from 1 to 8192"):
        Scheme(Slots.of(0, 32, 3), num_scalars)


def test_honest_errors_are_within_their_range_and_the_range_is_not_idle():
    """Of few errors, as an evaluation has, and of many: by sums of squares of Gaussians."""
    rng = np.random.Generator(np.random.PCG64(5))
    for num_scalars, reach in ((8, 7.0), (4000, 0.2)):
        scheme = Scheme(Slots.of(0, 32, 3), num_scalars)
        for ratio in rng.chisquare(num_scalars, 2000) / num_scalars:
            scheme._require_spread(ratio * num_scalars * 3 * 6.4**2, 3)
        with pytest.raises(MismatchError, match="mean square"):
            scheme._require_spread((1 + reach * 1.3) * num_scalars * 3 * 6.4**2, 3)


def test_the_plan_decides_the_public_polynomials():
    scheme = small()
    pairs = encrypted(scheme, numbers_for(scheme, 1))
    with pytest.raises(MismatchError):
        opened(scheme, pairs, plan=hashlib.sha256(b"another").digest())


@pytest.mark.parametrize(
    "damage", ["bit", "short", "long", "residue", "last residue", "scalar"]
)
def test_what_is_no_ciphertext_is_not_sound(damage):
    scheme = small(700, 24, 3)
    _, text, _ = encrypted(scheme, numbers_for(scheme, 1))[0]
    length = scheme.slots.length(0)
    rows = oracle.unpacked(bytes(text[:-189]), 7 * length)
    last = oracle.unpacked(bytes(text[-189:]), 7 * 8)
    if damage == "bit":
        # Every residue below its prime stays a ciphertext: the signature sees such a change.
        text[0] ^= 1
        assert is_sound(scheme, text)
        return
    if damage == "short":
        text = text[:-1]
    elif damage == "long":
        text = text + b"\0"
    elif damage == "scalar":
        last[8] = PRIMES[1]
        text = text[:-189] + oracle.packed(last)
        last[8] -= 1
        assert is_sound(scheme, text[:-189] + oracle.packed(last))
    else:
        at = 3 * length if damage == "residue" else 7 * length - 1
        rows[at] = PRIMES[at // length]
        beside = bytes(text[-189:])
        text = oracle.packed(rows) + beside
        below = oracle.packed([*rows[:at], rows[at] - 1, *rows[at + 1 :]])
        assert is_sound(scheme, below + beside)
    assert not is_sound(scheme, text)


def no_room(*_) -> None:
    raise OSError("no room")


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_what_is_no_ciphertext_or_sits_out_leaves_the_sum_as_it_was(
    monkeypatch, arithmetic, in_memory
):
    monkeypatch.setattr(masked_sum, "MEMORY_BYTES", 1 << 40 if in_memory else 1)
    scheme = small(5 * N + 100, 32, 5)
    numbers = numbers_for(scheme, 1)
    pairs = encrypted(scheme, numbers)
    total = scheme.new_sum(arithmetic())
    wrong = bytearray(pairs[4][1])
    # In the second of three polynomials, so that the first is in the sum already.
    at = scheme.slots.length(0) * 7 * 27 // 8
    wrong[at : at + 4] = b"\xff\xff\xff\xff"
    for node in (1, 0, 2):
        assert not total.add(node, bytes(wrong))
        assert total.add(node, pairs[node][1])
    full = pytest.MonkeyPatch()
    with full.context() as patched:
        patched.setattr(masked_sum.Kept, "add", no_room)
        with pytest.raises(OSError, match="no room"):
            total.add(3, pairs[3][1])
    total.take_out(1)
    assert total.count == 2
    chosen = [pairs[0], pairs[2]]
    found, _ = total.opened(key_sum(chosen), PLAN)
    np.testing.assert_array_equal(found, words_of(numbers[0] + numbers[2], 32))
    total.close()


@pytest.mark.parametrize("wrong", ["dtype", "length", "shape", "scalars"])
def test_another_update_than_planned_is_refused(wrong):
    scheme = small()
    values = {
        "dtype": np.zeros(300, np.uint32),
        "length": np.zeros(299, np.uint16),
        "shape": np.zeros((300, 1), np.uint16),
        "scalars": np.zeros(300, np.uint16),
    }[wrong]
    beside = np.zeros(NUM_SCALARS + (wrong == "scalars"), np.uint64)
    with pytest.raises(ValueError, match="300 numbers modulo 2\\^16 and 5 scalars belong"):
        scheme.encrypt(draw_key(), (values, beside), PLAN)


def test_the_hash_is_of_every_number():
    base = Slots.of(100_000, 24, 50)
    others = [
        Slots.of(100_001, 24, 50),
        Slots.of(100_000, 25, 50),
        Slots.of(100_000, 24, 51),
        Slots(100_000, 24, 50, base.num_slots - 1, base.largest_sum),
        Slots(100_000, 24, 50, base.num_slots, base.largest_sum + 1),
    ]
    codec = hashlib.sha256(b"codec").digest()
    hashes = {Scheme(slots, 5).bound_to(codec) for slots in [base, *others]}
    hashes.add(Scheme(base, 6).bound_to(codec))
    hashes.add(Scheme(base, 5).bound_to(hashlib.sha256(b"other").digest()))
    assert len(hashes) == 8
    described = Scheme(base, 5).describe()
    assert set(described) > {"name", "version", "degree", "primes", "sigma"}
    assert described["primes"] == PRIMES
