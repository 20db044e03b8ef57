"""What a server learns that sends any state, and what a client breaks that sends any sum."""

import numpy as np
import pytest

from tests.kits import raters as kit
from workloads.als.users import Triples
from workloads.values import Aggregate, Query, State, StateRefusedError


def test_a_node_is_silent_about_items_that_few_of_its_users_have_rated():
    records = kit.examples(kit.ratings(40))
    work = kit.workload(rank=2)
    state = work.initial_state()
    quiet, num_parts = work.silenced(state, Query(1), records, 14.0)
    rated = np.bincount(Triples.of(records.inputs).items, minlength=kit.NUM_ITEMS)
    assert num_parts == np.count_nonzero((rated > 0) & (rated < 14)) > 3
    sent = quiet.contribute(state, Query(1), kit.data(records), None).update[:-2]
    table = sent.reshape(kit.NUM_ITEMS, -1)
    assert not table[rated < 14].any()
    np.testing.assert_array_equal(table[rated >= 14, 0], rated[rated >= 14] * 2**24)


@pytest.mark.parametrize("rating", [np.nan, 1.0, 5.0])
def test_a_rating_of_a_silenced_item_is_in_no_sum(rating):
    """Not by way of a user's factors: a server makes them tell of one item alone."""
    found = np.full((60, kit.NUM_ITEMS), np.nan)
    found[:, 0], found[7, 5] = 3.0, 2.0
    other = found.copy()
    other[7, 5] = rating
    work = kit.workload(rank=2)
    arrays = {name: np.zeros_like(a) for name, a in work.initial_state().arrays.items()}
    arrays["factors"][5] = 6**0.5, 0.0
    sent = []
    for each in (found, other):
        records = kit.examples(each)
        quiet, _ = work.silenced(State(arrays), Query(1), records, 10.0)
        sent.append(quiet.contribute(State(arrays), Query(1), kit.data(records), None).update)
        assert sent[-1].any()
    np.testing.assert_array_equal(*sent)


@pytest.mark.filterwarnings("error")
def test_no_state_makes_an_answer_fail_on_who_has_rated_what():
    """Numbers that overflow both ways would be none, and no node can send those."""
    found = kit.ratings(30)
    held_out = np.full_like(found, np.nan)
    held_out[:, 3], found[:, 3] = found[:, 3], np.nan
    records = kit.examples(found)
    scored = type(records)(records.inputs, kit.examples(held_out).targets)
    work = kit.workload(rank=2)
    arrays = {name: a.copy() for name, a in work.initial_state().arrays.items()}
    arrays["mean"][0] = arrays["bias"][3] = 1.7e308
    arrays["factors"][3] = 1.7e308, -1.7e308
    sums = work.evaluate(State(arrays), Query(1), type(kit.data(records))(records, scored)).sums
    assert all(np.isfinite(value) for value in sums.values())


@pytest.mark.parametrize("rank", [0, 2])
def test_a_sum_that_a_lying_client_has_made_singular_ends_as_a_model_that_is_not_finite(rank):
    work = kit.workload(rank=rank)
    total = np.zeros(work.length(State({})))
    total[0] = -3.0 * 2**24
    state = work.apply(work.initial_state(), Aggregate(total, {}, 3.0), 1, None)
    assert not np.isfinite(state.arrays["bias"]).all()


@pytest.mark.parametrize("size", [1e3, 1e160, 1e300])
def test_no_entry_of_a_rating_is_larger_than_what_fits(size):
    """Whatever a server publishes: 2^6 in units of 2^-24, so sums are exact."""
    records, draws = kit.examples(kit.ratings(30)), np.random.default_rng(1)
    work = kit.workload(rank=2)
    start = work.initial_state().arrays
    arrays = {name: draws.normal(size=a.shape) * size for name, a in start.items()}
    for one in records.one_by_one(np.arange(30)):
        sent = work.contribute(State(arrays), Query(1), kit.data(one), None).update
        assert np.abs(sent).max() <= 2**30


def test_states_that_do_not_fit_are_refused():
    work = kit.workload(rank=2)
    arrays = work.initial_state().arrays
    for wrong in (
        arrays | {"bias": arrays["bias"][1:]},
        arrays | {"factors": arrays["factors"] * np.nan},
        {name: arrays[name] for name in ("mean", "bias")},
        arrays | {"more": np.zeros(1)},
    ):
        with pytest.raises(StateRefusedError):
            work.check(State(wrong))
