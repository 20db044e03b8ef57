"""Sharing, keystreams and keys, each alone."""

import threading

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from strategies.secagg.crypto import hybrid, keys, prg, shamir
from strategies.secagg.crypto.identity import Identity
from strategies.secagg.crypto.keys import Use
from strategies.secagg.crypto.masking import Met, input_masks
from strategies.secagg.server.disputes import Disputes
from tests.strategies.secagg.world import identities, stream

SEEDS = st.binary(min_size=32, max_size=32)


@given(SEEDS, st.integers(1, 12), st.integers(0, 5), st.randoms())
def test_any_threshold_of_shares_gives_the_seed(seed, threshold, extra, random):
    points = random.sample(range(1, 40), threshold + extra)
    shares = dict(zip(points, shamir.split(seed, threshold, points, stream(1)), strict=True))
    chosen = random.sample(points, threshold)
    lagrange = shamir.coefficients(chosen)
    assert shamir.combine(lagrange, [shares[x] for x in chosen]) == seed
    assert all(shamir.is_element(share) for share in shares.values())


@given(st.sets(st.integers(1, 300), min_size=1, max_size=40), st.randoms())
def test_some_points_have_the_coefficients_that_follow_from_those_of_all(points, random):
    every = sorted(points)
    part = random.sample(every, random.randint(1, len(every)))
    whole = shamir.coefficients(every)
    assert shamir.coefficients_of_part(part, every, whole) == shamir.coefficients(part)


def test_there_is_a_share_for_each_coefficient():
    with pytest.raises(ValueError, match="1 shares for 2 coefficients"):
        shamir.combine(shamir.coefficients([1, 2]), [bytes(33)])


@pytest.mark.parametrize("most", [300, 511, 512, 65_535])
def test_many_shares_at_points_far_apart_give_the_seed(most):
    """Where several differences of points have a product that just fits 63 bits."""
    points = [1, *range(most - 150, most + 1)]
    shares = shamir.split(b"\xa5" * 32, len(points), points, stream(4))
    assert shamir.combine(shamir.coefficients(points), shares) == b"\xa5" * 32


@given(SEEDS, SEEDS)
def test_shares_below_the_threshold_fit_every_seed(seed, other):
    """Two of three shares plus a well-chosen third give any seed: they exclude nothing."""
    shares = shamir.split(seed, 3, [1, 2, 3], stream(2))
    lagrange = shamir.coefficients([1, 2, 3])
    known = sum(
        c * int.from_bytes(s, "big") for c, s in zip(lagrange[:2], shares, strict=False)
    )
    third = (int.from_bytes(other, "big") - known) * pow(lagrange[2], -1, shamir.PRIME)
    forged = (third % shamir.PRIME).to_bytes(33, "big")
    assert shamir.combine(lagrange, [*shares[:2], forged]) == other


def test_prime_is_prime_and_holds_every_seed():
    assert all(pow(base, shamir.PRIME - 1, shamir.PRIME) == 1 for base in (2, 3, 5, 7, 11))
    top = b"\xff" * 32
    shares = shamir.split(top, 2, [1, 2], stream(3))
    assert shamir.combine(shamir.coefficients([1, 2]), shares) == top
    assert not shamir.is_element(shamir.PRIME.to_bytes(33, "big"))
    assert not shamir.is_element(bytes(32))
    # A secret of 2^256 or more is no seed.
    forged = (2**256).to_bytes(33, "big")
    assert shamir.combine([1], [forged]) is None


@pytest.mark.parametrize(
    ("seed", "threshold", "points"),
    [
        (b"x", 1, [1]),
        (bytes(32), 0, [1]),
        (bytes(32), 2, [1]),
        (bytes(32), 1, [1, 1]),
        (bytes(32), 1, [0, 1]),
    ],
)
def test_bad_sharing_is_refused(seed, threshold, points):
    with pytest.raises(ValueError):
        shamir.split(seed, threshold, points, stream(4))


def test_coefficients_refuse_repeated_points():
    with pytest.raises(ValueError, match="distinct"):
        shamir.coefficients([1, 1])


def test_a_dispute_names_a_pair_and_only_a_crowd_of_them_a_liar():
    disputes = Disputes(max_colluding=1)
    everyone = dict.fromkeys(range(6), ())
    assert disputes.sitting_out(everyone) == frozenset()
    disputes.add(3, 0)
    # Both sit out, whichever complains and whatever their ids.
    assert disputes.sitting_out({**everyone, 3: (0,)}) == {0, 3}
    assert disputes.sitting_out({**everyone, 0: (3,)}) == {0, 3}
    # The same peer again shows no more.
    disputes.add(3, 0)
    assert disputes.liars == {}
    disputes.add(3, 1)
    assert set(disputes.liars) == {3}
    assert disputes.sitting_out({**everyone, 3: (0, 1)}) == {3}
    assert disputes.sitting_out({**everyone, 1: (3,)}) == {3}
    # A complaint about a node that sent no input leaves everyone in.
    assert disputes.sitting_out({0: (9,), 1: ()}) == {3}


def test_one_dispute_makes_no_liar_even_if_nobody_may_collude():
    disputes = Disputes(max_colluding=0)
    disputes.add(1, 2)
    assert disputes.liars == {}


@pytest.mark.parametrize("bits", [8, 16, 24, 32, 40, 64])
@pytest.mark.parametrize("size", [0, 1, 5, 70_000])
def test_masks_are_the_aes_ctr_keystream_and_cancel(bits, size):
    dtype, key = prg.word_dtype(bits), bytes(range(16))
    vector = np.arange(size).astype(dtype)
    prg.apply_masks([vector], [(key, True)])
    raw = (
        Cipher(algorithms.AES(key), modes.CTR(bytes(16)))
        .encryptor()
        .update(bytes(size * dtype.itemsize))
    )
    expected = np.arange(size).astype(dtype) + np.frombuffer(raw, dtype)
    np.testing.assert_array_equal(vector, expected)
    prg.apply_masks([vector], [(key, False)])
    np.testing.assert_array_equal(vector, np.arange(size).astype(dtype))


@pytest.mark.parametrize("first", [1, 15, 16, 70_001])
def test_segments_take_one_keystream_after_the_other(first):
    """Also where the first one ends within a block of the cipher."""
    key, segments = bytes(range(16)), [np.zeros(first, np.uint8), np.zeros(5, np.uint64)]
    prg.apply_masks(segments, [(key, True)])
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    assert b"".join(part.tobytes() for part in segments) == stream.update(bytes(first + 40))


def test_many_masks_equal_one_after_the_other():
    many = [(i.to_bytes(16, "big"), i % 3 == 0) for i in range(600)]
    together, apart = np.zeros(300, np.uint32), np.zeros(300, np.uint32)
    prg.apply_masks([together], many)
    for mask in many:
        prg.apply_masks([apart], [mask])
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_part_the_masks_among_them(threads, monkeypatch):
    """Vectors long enough for threads are the same with as many as there may be."""
    masks = [(i.to_bytes(16, "big"), i % 3 == 0) for i in range(300)]
    apply, used = prg._Worker.apply, set[int]()

    def spied(worker, part, streams, counters, at):
        used.add(threading.get_ident())
        apply(worker, part, streams, counters, at)

    def total() -> list[prg.Vector]:
        segments = [np.zeros(70_001, np.uint8), np.zeros(100_000, np.uint32)]
        prg.apply_masks(segments, masks)
        return segments

    monkeypatch.setattr(prg._Worker, "apply", spied)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = total()
    assert len(used) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    for one, expected in zip(total(), alone, strict=True):
        np.testing.assert_array_equal(one, expected)
    # A thread may be so quick that it takes the next one's work.
    assert 2 <= len(used) <= threads


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("1", 1),
        (" 3 ", 3),
        ("4,2", 4),
        ("99", 8),
        ("9" * 5000, 5),
        ("0", 5),
        ("-2", 5),
        ("", 5),
    ],
)
def test_threads_are_as_many_as_openmp_would_start_but_few(told, expected, monkeypatch):
    """What OpenMP takes for no number is none here, and no error."""
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(prg.sys, "platform", "other")
    monkeypatch.setattr(prg.os, "cpu_count", lambda: 5)
    assert prg._num_threads() == expected


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros((2, 2), np.uint32),
        np.zeros(4, np.int32),
        np.zeros(8, np.uint32)[::2],
        np.zeros(4, ">u4"),
    ],
)
def test_unfit_vectors_are_refused(vector):
    with pytest.raises(ValueError):
        prg.apply_masks([vector], [(bytes(16), True)])


def test_short_keys_are_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        prg.apply_masks([np.zeros(1, np.uint8)], [(bytes(15), True)])


def test_both_sides_agree_and_every_use_and_context_gives_another_key():
    one, two = (keys.KeyPair(bytes([i] * 32), hybrid=False) for i in (1, 2))
    agreed = one.agree(two.public)
    assert agreed == two.agree(one.public)
    plan, other, part = bytes(32), bytes([9] * 32), bytes([5] * 32)
    found = [
        keys.pair_mask_keys(plan)(agreed, part, 1, 2),
        keys.pair_mask_keys(other)(agreed, part, 1, 2),
        keys.pair_mask_keys(plan)(agreed, part, 1, 3),
        keys.pair_mask_keys(plan)(agreed, other, 1, 2),
        keys.pair_mask_keys(plan)(agreed + part, part, 1, 2),
        keys.self_mask_key(agreed, plan, 1),
        keys.self_mask_key(agreed, plan, 2),
        keys.share_key(agreed, plan, 1, 2)[:16],
        keys.share_key(agreed, plan, 2, 1)[:16],
        keys.share_key(agreed, other, 1, 2)[:16],
    ]
    assert len(set(found)) == len(found)
    both = [keys.pair_mask_keys(plan)(agreed, part, *ends) for ends in ((1, 2), (2, 1))]
    assert both[0] == both[1]
    # Of two equal constants Python makes one, which only its names show.
    assert len(Use) == len(Use.__members__)
    assert keys.bind(Use.SHARE, b"ab", b"c") != keys.bind(Use.SHARE, b"a", b"bc")


def test_low_order_keys_are_those_that_agreement_refuses():
    pair = keys.KeyPair(bytes(range(32)), hybrid=False)
    low = [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18, 2**255, 2**255 + 1]
    for number in low:
        point = number.to_bytes(32, "little")
        assert keys.is_low_order(point)
        with pytest.raises(ValueError):
            pair.agree(point)
    assert not keys.is_low_order(pair.public)


def test_one_key_has_one_form():
    """X25519 ignores the top bit, so that one key could be shown as two nodes'."""
    public = keys.KeyPair(bytes(32), hybrid=False).public
    assert keys.is_public_key(public, hybrid=False)
    same = public[:31] + bytes([public[31] ^ 128])
    other = keys.KeyPair(bytes([1] * 32), hybrid=False)
    assert other.agree(same) == other.agree(public)
    assert not keys.is_public_key(same, hybrid=False)
    assert not keys.is_public_key((2**255 - 19 + 9).to_bytes(32, "little"), hybrid=False)


def test_sealed_shares_open_only_for_their_roster_pair_and_key():
    key, roster, nonce = bytes([3] * 32), bytes(32), bytes(12)
    part = bytes([6] * 32)
    sealed = keys.seal(key, roster, (1, 2), b"text", nonce, part)
    assert keys.unseal(key, roster, (1, 2), sealed, part) == b"text"
    assert keys.unseal(key, roster, (2, 1), sealed, part) is None
    assert keys.unseal(key, bytes([1] * 32), (1, 2), sealed, part) is None
    assert keys.unseal(key, roster, (1, 2), sealed, bytes(32)) is None
    assert keys.unseal(bytes([4] * 32), roster, (1, 2), sealed, part) is None
    assert keys.unseal(key, roster, (1, 2), b"", part) is None
    for at in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[at] ^= 1
        assert keys.unseal(key, roster, (1, 2), bytes(damaged), part) is None


def test_a_hybrid_pair_is_of_one_seed_and_needs_both_parts():
    pair = keys.KeyPair(bytes(32), hybrid=True)
    classical = keys.KeyPair(bytes(32), hybrid=False)
    assert pair.public[:32] == classical.public
    assert keys.is_public_key(pair.public, hybrid=True)
    assert not keys.is_public_key(pair.public, hybrid=False)
    assert not keys.is_public_key(classical.public, hybrid=True)
    assert not keys.is_public_key(bytes(32) + pair.public[32:], hybrid=True)
    fresh, text = keys.encapsulate(pair.kem_public)
    assert pair.decapsulate(text) == fresh
    assert pair.decapsulate(text[1:]) is None
    assert keys.encapsulate(classical.kem_public) == (b"", b"")
    assert classical.decapsulate(text) is None


def test_an_ml_kem_key_is_the_one_whose_hash_the_public_key_has():
    pair, other = (keys.KeyPair(bytes([i] * 32), hybrid=True) for i in (1, 2))
    assert keys.is_kem_key(pair.public, pair.kem_public)
    assert len(pair.public) == 64
    assert not keys.is_kem_key(pair.public, other.kem_public)
    assert not keys.is_kem_key(pair.public, b"")
    assert not keys.is_kem_key(pair.public, pair.kem_public + b"\0")
    # Coefficients of an ML-KEM key are below 3329: 12 set bits are none (FIPS 203, 7.2).
    bad = bytes([255]) * 1184
    assert not keys.is_kem_key(pair.public[:32] + keys._hash_kem_key(bad), bad)
    classical = keys.KeyPair(bytes(32), hybrid=False)
    assert keys.is_kem_key(classical.public, b"")
    assert not keys.is_kem_key(classical.public, pair.kem_public)


def test_masks_and_shares_need_both_secrets_of_a_pair():
    pair, other = (keys.KeyPair(bytes([i] * 32), hybrid=False) for i in (1, 2))
    plan, zeros, ones = bytes(32), bytes(32), bytes([1] * 32)

    def masks(of: keys.KeyPair, secret: bytes, part: bytes) -> tuple[object, ...]:
        return tuple(input_masks(1, pair, zeros, [Met(2, of.public, secret, part)], plan))[1]

    found = {masks(of, secret, zeros) for of in (pair, other) for secret in (zeros, ones)}
    found |= {masks(other, zeros, ones), masks(other, b"", zeros)}
    assert len(found) == 6
    agreed = pair.agree(other.public)
    sealed = {keys.share_key(agreed + fresh, plan, 1, 2) for fresh in (b"", zeros, ones)}
    assert len(sealed | {keys.share_key(ones + zeros, plan, 1, 2)}) == 4


def test_either_mask_seed_gives_the_secret_of_a_pair():
    lower, roster, ends = bytes([1] * 32), bytes(32), (3, 8)
    higher = keys.KeyPair(bytes([2] * 32), hybrid=True)
    part = hybrid.seal_pair_secret(lower, higher.kem_public, roster, ends, stream(1))
    secret = hybrid.pair_secret(lower, roster, ends)
    assert hybrid.open_pair_secret(higher, part, roster, ends) == secret
    assert hybrid.is_pair_secret(secret, part, roster, ends)
    elsewhere = ((roster, (3, 9)), (roster, (2, 8)), (bytes([9] * 32), ends))
    assert len({secret, *(hybrid.pair_secret(lower, *where) for where in elsewhere)}) == 4
    assert not hybrid.is_pair_secret(bytes(32), part, roster, ends)
    other = keys.KeyPair(bytes([3] * 32), hybrid=True)
    assert hybrid.open_pair_secret(other, part, roster, ends) is None
    assert hybrid.open_pair_secret(higher, part, bytes([9] * 32), ends) is None
    assert hybrid.open_pair_secret(higher, part, roster, (3, 9)) is None
    assert hybrid.open_pair_secret(higher, b"", roster, ends) is None
    for at in (0, 500, 1088, 1100, 1140, 1179):
        damaged = bytearray(part)
        damaged[at] ^= 1
        assert hybrid.open_pair_secret(higher, bytes(damaged), roster, ends) is None
    classical = keys.KeyPair(bytes([2] * 32), hybrid=False)
    assert hybrid.seal_pair_secret(lower, classical.kem_public, roster, ends, stream(1)) == b""
    assert hybrid.open_pair_secret(classical, b"", roster, ends) == b""


def test_identities_sign_for_themselves_only():
    one, two = identities(2)
    signature = one.sign(b"message")
    assert two.verify(one.fingerprint, signature, b"message")
    assert not two.verify(two.fingerprint, signature, b"message")
    assert not two.verify(one.fingerprint, signature, b"other")
    assert not two.verify(bytes(32), signature, b"message")
    assert not two.verify(one.fingerprint, b"", b"message")
    with pytest.raises(ValueError, match="peers file"):
        Identity(bytes(32), one.peers)
