"""Deltas between states: bit for bit, or in steps of eight bits; and what is none."""

import zlib

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from strategies.rounds.deltas import (
    BadDeltaError,
    add_coarse,
    add_exact,
    are_alike,
    coarse_delta,
    digest_of,
    exact_delta,
)
from strategies.rounds.records import ARRAYS, CONFIG, MalformedRequestError, to_arrays
from strategies.rounds.synchronisation import (
    DELTA,
    Delta,
    NotHeldError,
    Synchroniser,
    restored,
)
from workloads.values import State


def state(seed: int, size: float = 1.0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "w": (size * rng.normal(size=(30, 7))).astype(np.float32),
        "b": size * rng.normal(size=5),
        "scalar": np.array(size * rng.normal(), np.float32),
        "none": np.zeros(0, np.float32),
    }


def moved(arrays: dict, size: float) -> dict:
    rng = np.random.default_rng(9)
    return {
        name: (values + size * rng.normal(size=values.shape)).astype(values.dtype)
        for name, values in arrays.items()
    }


def same(one: dict, other: dict) -> bool:
    return digest_of(one) == digest_of(other)


@pytest.mark.parametrize("size", [0.0, 1e-4, 1.0, 1e6])
def test_an_exact_delta_leads_to_the_same_bits(size):
    before = state(0) | {"n": np.arange(4), "f": np.asfortranarray(np.ones((3, 2)))}
    before["w"][0, :4] = [0.0, -0.0, 1e-45, -3e38]
    after = moved(state(0), size) | {"n": np.arange(4) - 2**40, "f": before["f"] * 3}
    after["w"][0, :4] = [-0.0, 0.0, -1e-45, 3e38]
    assert are_alike(before, after)
    delta = exact_delta(before, after)
    assert same(add_exact(before, delta), after)
    if size == 0.0:
        assert sum(map(len, delta.values())) < 0.3 * sum(a.nbytes for a in after.values())


def test_a_coarse_delta_is_unbiased_and_within_a_step():
    before, after = state(1), moved(state(1), 0.01)
    found = []
    for _ in range(400):
        steps, sizes = coarse_delta(before, after)
        assert all(one.dtype == np.int8 for one in steps.values())
        found.append(add_coarse(before, steps, sizes)["b"])
        error = np.abs(found[-1] - after["b"])
        assert error.max() < sizes["b"] * (1 + 1e-5)
    error = np.mean(found, 0) - after["b"]
    # A coin's deviation is half a step at most: six of those of a mean.
    assert np.abs(error).max() < 6 * 0.5 * sizes["b"] / np.sqrt(400)


def test_what_does_not_change_costs_no_division():
    steps, sizes = coarse_delta(state(1), state(1))
    assert set(sizes.values()) == {0.0}
    assert same(add_coarse(state(1), steps, sizes), state(1))


@pytest.mark.parametrize(
    "change",
    [
        {"w": np.zeros(3, np.uint8)},
        {"w": np.zeros(3, np.float32)},
        {"w": np.frombuffer(zlib.compress(bytes(10**7)), np.uint8)},
        {"w": np.frombuffer(zlib.compress(bytes(839)), np.uint8)},
        {"w": np.frombuffer(zlib.compress(bytes(840)) + b"x", np.uint8)},
        {"w": np.frombuffer(zlib.compress(bytes(840))[:-4], np.uint8)},
        {"other": np.zeros(1, np.uint8)},
    ],
)
def test_an_exact_delta_of_other_arrays_is_refused(change):
    delta = exact_delta(state(0), state(2)) | change
    with pytest.raises(BadDeltaError):
        add_exact(state(0), delta)


def test_a_coarse_delta_of_other_arrays_is_refused():
    steps, sizes = coarse_delta(state(0), state(2))
    for bad in (float("nan"), float("inf"), -1.0):
        with pytest.raises(BadDeltaError):
            add_coarse(state(0), steps, sizes | {"w": bad})
    for bad in (np.zeros(3, np.int8), np.zeros((30, 7), np.int16)):
        with pytest.raises(BadDeltaError):
            add_coarse(state(0), steps | {"w": bad}, sizes)
    with pytest.raises(BadDeltaError):
        add_coarse(state(0) | {"b": np.arange(5)}, steps, sizes)
    with pytest.raises(BadDeltaError):
        add_coarse(state(0), steps, {"w": 1.0})


def whole(arrays: dict) -> RecordDict:
    config = ConfigRecord({"server-round": 3})
    return RecordDict({ARRAYS: to_arrays(arrays), CONFIG: config})


def asked(value: State) -> State:
    return value


@pytest.mark.parametrize("kind", [*Delta])
def test_a_node_is_sent_the_change_from_what_it_holds_and_all_where_it_missed_a_round(kind):
    server = Synchroniser(kind)
    first = State(state(0))
    content = server.contents(whole(first.arrays), first)
    assert all(ARRAYS in content(node) for node in (1, 2, 3))
    server.note(answered=[1, 2], failed=[3])
    second = server.settle(first, State(moved(first.arrays, 0.01)), asked)
    content = server.contents(whole(second.arrays), second)
    assert content(1) is content(2)
    assert DELTA in content(1)
    assert ARRAYS not in content(1)
    assert ARRAYS in content(3)
    found = restored(content(1), lambda digest: first.arrays)
    arrays = {name: array.numpy() for name, array in found[ARRAYS].items()}
    assert same(arrays, second.arrays)
    assert found[CONFIG]["server-round"] == 3
    # Node 1 answers to neither; node 2 does; the third attempt asks about the same state.
    server.note(answered=[2, 3], failed=[1])
    content = server.contents(whole(second.arrays), second)
    assert ARRAYS in content(1)
    assert DELTA in content(2)
    again = restored(content(2), lambda digest: second.arrays)
    arrays = {name: array.numpy() for name, array in again[ARRAYS].items()}
    assert same(arrays, second.arrays)
    # Two rounds without node 1: what it holds is forgotten, and it is sent everything.
    third = server.settle(second, State(moved(second.arrays, 0.01)), asked)
    assert ARRAYS in server.contents(whole(third.arrays), third)(1)


def test_other_shapes_and_a_longer_delta_are_sent_whole():
    server = Synchroniser(Delta.exact)
    first = State(state(0))
    server.contents(whole(first.arrays), first)
    server.note(answered=[1], failed=[])
    grown = State({**first.arrays, "w": np.zeros((31, 7), np.float32)})
    assert server.settle(first, grown, asked) is grown
    assert ARRAYS in server.contents(whole(grown.arrays), grown)(1)
    server.note(answered=[1], failed=[])
    far = State({name: -1e9 * values for name, values in state(7).items()})
    assert ARRAYS in server.contents(whole(far.arrays), far)(1)


def delta_request(kind: Delta) -> tuple[RecordDict, dict]:
    server, first = Synchroniser(kind), State(state(0))
    server.contents(whole(first.arrays), first)
    server.note(answered=[1], failed=[])
    second = server.settle(first, State(moved(first.arrays, 0.01)), asked)
    return server.contents(whole(second.arrays), second)(1), first.arrays


@pytest.mark.parametrize("kind", [*Delta])
@pytest.mark.parametrize(
    "change",
    [
        {"due": bytes(32)},
        {"due": bytes(31)},
        {"due": "text"},
        {"held": 5},
        {"delta-steps": [float("nan")] * 4},
        {"delta-steps": [1.0]},
        {"delta-steps": 1.0},
        {"delta-steps": [1, 2, 3, 4]},
    ],
)
def test_a_delta_that_leads_elsewhere_is_refused(kind, change):
    content, held = delta_request(kind)
    content[CONFIG] = ConfigRecord({**content[CONFIG], **change})
    with pytest.raises(MalformedRequestError):
        restored(content, lambda digest: held)


def test_a_delta_to_a_state_that_is_not_held_is_refused():
    content, _ = delta_request(Delta.exact)
    with pytest.raises(NotHeldError):
        restored(content, lambda digest: None)
    content[DELTA] = ArrayRecord({"w": Array(np.zeros(1, np.uint8))})
    with pytest.raises(MalformedRequestError):
        restored(content, lambda digest: state(0))
    del content[CONFIG]
    with pytest.raises(MalformedRequestError):
        restored(content, lambda digest: state(0))
