"""Private sums of which a part is kept: bound, noise, mean, bytes and books."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

import strategies.codec.private_stages as private_stages
from app.config.load import load_config
from app.results.run_folder import RunFolderError
from app.results.verify import verify
from app.simulation.in_process import make_clients, simulate
from privacy.bounding.bounded_sum import one_term, sum_of_terms
from privacy.bounding.projection import kept_entries
from privacy.bounding.rotation import Rotation
from strategies.codec import compression
from strategies.codec.private_codec import PrivateCodec
from strategies.masked.messages import unwrap
from strategies.secagg.crypto.prg import reduce_modulus
from strategies.secagg.messages import MaskedInput
from tests.kits.codec_kit import bounded, codec_of, context, zeros
from tests.kits.killed_runs import resumed
from tests.kits.private_kit import (
    LEGAL,
    composing,
    planned_epsilon,
    run_config_of,
    run_with_ledgers,
    sent_by,
)
from tests.kits.traced import Traced, kind_of, reports_of
from workloads.values import NoisedUpdate, PrivateContribution

HALF = "aggregation.codec.keep_fraction=0.5"
#: Of the promised noise, in clip norms.
Z = 2.0
#: A power of two: nothing is padded.
N, K = 1024, 256
QUARTER = "aggregation.codec.keep_fraction=0.25"
SUMMED = [
    ("example_distributed", ""),
    ("example_central", ""),
    ("client_distributed", ""),
    ("client_distributed", "privacy.mechanism=skellam"),
    ("client_central", ""),
    ("client_local", ""),
    ("client_local", "privacy.mechanism=laplace"),
]


@lru_cache
def coded(option: str, free: str = "", fraction: str = QUARTER) -> PrivateCodec:
    config = load_config(composing(option, LEGAL[option][-1], f"{fraction} {free}"))
    return codec_of(config, N)


def seed(number: int) -> bytes:
    return number.to_bytes(32, "little")


@pytest.fixture
def no_noise(monkeypatch):
    """Draw zeros, and round any two vectors by the same dither."""
    monkeypatch.setattr(private_stages, "draw", lambda kind, scale, n, rng: np.zeros(n, int))
    monkeypatch.setattr(private_stages, "secure_generator", lambda: np.random.default_rng(7))


def integers(codec: PrivateCodec, contribution, number: int) -> np.ndarray:
    """Return what is sent, as signed whole numbers of any size."""
    sent, _ = codec.encode(contribution, context(4, seed=seed(number)))
    words = sent.astype(object)
    return np.where(words >= 2**31, words - 2**32, words).astype(float)


def turned_back(codec: PrivateCodec, places: np.ndarray, number: int) -> np.ndarray:
    """Return a direction that lies, once it is rotated, in these places alone."""
    there = np.zeros(N)
    there[places] = np.random.default_rng(number).choice([-1.0, 1.0], len(places))
    back = there
    if codec.plan.terms.is_rotated:
        back = Rotation(N, seed(number)).inverse(there)
    return back / np.linalg.norm(back)


def one_more(codec: PrivateCodec, direction: np.ndarray) -> tuple[list, float]:
    """Return two neighbouring contributions, the second with one unit in that direction.

    And how far its bound lets the unit move a sum, in clip norms.
    """
    terms, clip = codec.plan.terms, codec.clip_norm
    term = direction * clip * 10
    if terms.unit == "example":
        others = [*np.random.default_rng(3).normal(size=(5, N))]
        pair = [sum_of_terms(rows, N, clip) for rows in (others, [*others, term])]
        return [PrivateContribution(one) for one in pair], 1.0
    laplace = terms.bounds_l1
    before = np.zeros(N) if terms.place != "local" else -term
    pair = [one_term(one, clip, l1=laplace).bounded for one in (before, term)]
    return [PrivateContribution(one) for one in pair], 2.0 if terms.place == "local" else 1.0


@pytest.mark.parametrize(("option", "free"), SUMMED)
@pytest.mark.parametrize("places", ["drawn", "chosen"])
@pytest.mark.usefixtures("no_noise")
def test_one_unit_moves_what_is_kept_by_no_more_than_is_accounted_for(
    monkeypatch, option, free, places
):
    """Also one that lies in the kept entries alone, and entries that somebody has chosen."""
    codec = coded(option, free)
    chosen = np.arange(K) * 3
    if places == "chosen":
        monkeypatch.setattr(compression, "kept_entries", lambda *_: chosen)
    release = codec.plan.update_release()
    fine, step = codec.plan.refinement, codec.plan.step
    for number in range(4):
        kept = kept_entries(seed(number), N, K) if places == "drawn" else chosen
        pair, moves = one_more(codec, turned_back(codec, kept, number))
        first, second = (integers(codec, one, number) for one in pair)
        assert len(first) == K
        apart = second - first
        if codec.plan.terms.bounds_l1:
            assert np.abs(apart).sum() <= release.l1_sensitivity / fine
            assert np.abs(apart).sum() >= 0.99 * moves / step
        else:
            assert np.linalg.norm(apart) <= release.l2_sensitivity / fine
            # The bound is met: a term that were any longer would pass it.
            assert np.linalg.norm(apart) >= 0.99 * moves / step


def due_variance(codec: PrivateCodec, num_nodes: int) -> float:
    """Return the variance of an entry of a sum, in clip norms: by the promise alone."""
    terms = codec.plan.terms
    shares = {"central": 1.0, "local": num_nodes, "distributed": num_nodes / 2}[terms.place]
    steep = 2.0 if terms.mechanism == "laplace" else 1.0
    return steep * shares * Z**2 * N / K


@pytest.mark.parametrize(("option", "free"), SUMMED)
def test_the_noise_of_what_is_kept_is_that_of_the_plan(option, free):
    """Of sums of zeros, each multiplied by N / k: the variance N / k times the promised one."""
    codec, num_nodes, trials = coded(option, free), 3, 12
    found = []
    for number in range(trials):
        shared, total = context(4, num_nodes, seed(number)), np.zeros(K, np.uint64)
        for _ in range(num_nodes):
            sent, scalars = codec.encode(zeros(codec), shared)
            total += sent
        small = total.astype(sent.dtype)
        reduce_modulus(small, codec.modulus_bits)
        opened = codec.decode(small, scalars, shared, has_metrics=False)
        found.append(opened.total / codec.clip_norm)
        due = due_variance(codec, num_nodes)
        assert opened.noise >= codec.clip_norm * np.sqrt(due) * 0.999
    # A sum of k squares; tails of 5e-10, and heavier than a Gaussian's for Laplace noise.
    count = trials * K / (1.6 if "laplace" in free else 1.0)
    low, high = chi2.ppf([5e-10, 1 - 5e-10], count) / count
    ratio = float(np.mean(np.square(found))) / due
    assert low <= ratio <= high
    # Noise that were 30 % smaller or larger would be told from it.
    assert not low <= ratio * 0.7**2 <= high
    assert not low <= ratio * 1.3**2 <= high


@pytest.mark.parametrize("option", ["example_distributed", "client_central"])
@pytest.mark.usefixtures("no_noise")
def test_the_sum_is_right_on_average_and_errs_by_what_the_plan_says(option):
    codec, trials = coded(option), 300
    rng = np.random.default_rng(5)
    updates = rng.normal(size=(3, N)) + 2 * rng.normal(size=N)
    updates *= 0.9 * codec.clip_norm / np.linalg.norm(updates, axis=1)[:, None]
    given_, due = [bounded(codec, one) for one in updates], updates.sum(0)
    found = []
    for number in range(trials):
        shared = context(4, 3, seed(number))
        total = sum(codec.encode(one, shared)[0].astype(np.uint64) for one in given_)
        small = total.astype(np.uint32)
        scalars = np.zeros(0, np.uint64)
        found.append(codec.decode(small, scalars, shared, has_metrics=False).total)
    errors = np.array(found) - due
    assert np.abs(errors.mean(0) / (errors.std(0) / np.sqrt(trials))).max() < 6
    assert np.linalg.norm(errors.mean(0)) < 0.15 * np.linalg.norm(due)
    squares = (errors**2).sum(1) / (due**2).sum()
    assert abs(squares.mean() - (N / K - 1)) < 0.1
    # And the sum is that of what the same entries of all nodes are, none of one's alone.
    shared = context(4, 3, seed(0))
    parts = sum(codec.part_of(one, shared) for one in updates)
    np.testing.assert_allclose(found[0], parts, atol=1e-4 * np.abs(due).max())


def test_what_is_private_before_it_is_summed_is_kept_in_part_like_all_else():
    """Its account is that of its local steps, whatever is kept afterwards."""
    codec = coded("example_local")
    whole = coded("example_local", fraction="")
    assert codec.plan.update_release() == whole.plan.update_release()
    update = np.random.default_rng(1).normal(size=N)
    sent = PrivateContribution(NoisedUpdate(update))
    shared = context(1, 1, seed(9))
    vector, scalars = codec.encode(sent, shared)
    assert len(vector) == codec.length(N) == K
    found = codec.decode(vector, scalars, shared, has_metrics=False).total
    kept = kept_entries(seed(9), N, K)
    due = np.zeros(N)
    due[kept] = update[kept] * N / K
    np.testing.assert_allclose(found, due, atol=1e-6)


def test_a_kept_part_has_the_bounds_of_its_own_length_and_no_more_wraps():
    plan, whole = (
        coded("client_distributed").plan,
        coded("client_distributed", fraction="").plan,
    )
    assert (plan.num_kept, plan.kept_scale, plan.update_release().dimension) == (K, N / K, K)
    assert (whole.num_kept, whole.kept_scale) == (N, 1)
    # As fine a grid, as much noise; and fewer entries that rounding moves.
    assert (plan.step, plan.node_noise_scale) == (whole.step, whole.node_noise_scale)
    assert plan.max_rounded_norm < whole.max_rounded_norm
    assert plan.wrap_probability < whole.wrap_probability
    one = coded("example_distributed", fraction="aggregation.codec.keep_fraction=1e-9").plan
    assert one.num_kept == 1
    # What float64 loses of the whole rotated vector may all be in the entry that is kept.
    assert one.update_release().l2_sensitivity >= 1 / one.step + 1 + np.sqrt(N) * 2.0**-10


@settings(deadline=None, max_examples=50)
@given(*[st.floats(1e-6, 1.0)] * 2)
def test_the_hash_that_masks_are_bound_to_tells_fractions_apart(one, other):
    codec = coded("client_distributed")
    hashes = [
        replace(
            codec,
            plan=replace(codec.plan, terms=replace(codec.plan.terms, keep_fraction=fraction)),
        ).hash()
        for fraction in (one, other)
    ]
    assert (hashes[0] == hashes[1]) == (one == other)


@pytest.mark.parametrize("option", ["client_distributed", "client_central"])
def test_an_honest_sum_of_what_is_kept_is_possible_and_a_longer_one_is_not(option):
    """All nodes pull one way, and lie in the kept entries: N / k times their length."""
    codec, shared = coded(option), context(4, 4, seed(2))
    direction = turned_back(codec, kept_entries(seed(2), N, K), 2)
    term = PrivateContribution(one_term(direction * 9, codec.clip_norm).bounded)
    total, none = np.zeros(K, np.uint64), np.zeros(0, np.uint64)
    for _ in range(4):
        total += codec.encode(term, shared)[0]
    small = total.astype(np.uint32)
    found = codec.decode(small, none, shared, has_metrics=False)
    assert np.linalg.norm(found.total) > 0.9 * 4 * N / K * codec.clip_norm
    assert codec.objection(found, 4) is None
    assert "of norm" in codec.objection(replace(found, total=2 * found.total), 4)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["client_distributed", "example_distributed"])
def test_a_masked_run_sends_half_and_all_books_agree(tmp_path, option):
    traced, nodes = run_with_ledgers(tmp_path, option, "secagg", HALF)
    plan, reports = traced.plan(), traced.reports()
    # 31 parameters, padded to 32.
    assert plan.modulus["padded_dimension"] == 2 * plan.modulus["num_kept"] == 32
    assert plan.bytes_up == 16 * 4
    masked = [
        MaskedInput.decode(unwrap(reply.content))
        for message, reply in traced.messages
        if kind_of(message) == "train"
    ]
    assert len(masked) == 4 * 3
    assert {len(one.update) for one in masked} == {plan.bytes_up}
    expected = planned_epsilon(plan)
    assert traced.summary()["privacy"]["epsilon"] == pytest.approx(expected, rel=0, abs=1e-9)
    for node in range(4):
        assert nodes.spent(node).epsilon == pytest.approx(expected, rel=0, abs=1e-9)
        assert nodes.spent(node).num_charges == 3
    assert any("worked out anew" in line for line in verify(traced.folder).lines)
    other = {"output-dir": str(tmp_path / "whole"), "simulation-nodes": ""}
    words = traced.run_config["overrides"].replace(HALF, "")
    whole = Traced({**traced.run_config, **other, "overrides": words}, 4)
    saved = whole.reports()[0]["bytes_up"] - reports[0]["bytes_up"]
    assert saved == 4 * 16 * 4


@pytest.mark.slow
def test_a_node_that_keeps_another_part_is_in_no_sum(tmp_path):
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", HALF)
    clients = make_clients(run_config, 4)
    words = run_config["overrides"].replace(HALF, "aggregation.codec.keep_fraction=0.51")
    clients |= {1003: make_clients(run_config | {"overrides": words}, 4)[1003]}
    simulate(run_config, 4, clients)
    for line in reports_of(run_config["output-dir"]):
        assert line["num_replies"] == 3
        assert {*line["failures"]} <= {"1003"}
    assert reports_of(run_config["output-dir"])[0]["failures"]


def test_a_run_is_not_resumed_with_another_part(tmp_path):
    run_config = run_config_of(tmp_path, "client_local", "plain", HALF, num_rounds=1)
    Traced(run_config, 4)
    words = run_config["overrides"].replace(HALF, QUARTER)
    more = resumed(run_config, **{"num-rounds": 2, "overrides": words})
    assert sent_by(more, 4, RunFolderError, "keep_fraction was 0.5, now 0.25") == []
