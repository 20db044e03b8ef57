"""Alternating least squares over masked nodes is that of the pooled users, bit for bit."""

import json

import numpy as np
import pytest

from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tasks.records import joined
from tests.kits import raters as kit
from workloads.als.users import Items, Triples, foreseen, solve_users
from workloads.values import Query

FAST = "rounds.deadline_seconds=60"


def by_the_book(found: np.ndarray, items: Items, ridges=(3.0, 6.0)) -> np.ndarray:
    """Return each user's bias and factors: one ridge regression after the other."""
    rank = items.factors.shape[1]
    rows = np.column_stack([np.ones(len(items.bias)), items.factors])
    penalty = np.diag([ridges[0], *[ridges[1]] * rank])
    solved = []
    for user in (found - 3) / 2:
        there = ~np.isnan(user)
        own, rest = rows[there], (user - items.mean - items.bias)[there]
        solved.append(np.linalg.solve(own.T @ own + penalty, own.T @ rest))
    return np.array(solved)


def some_items(rank=3, size=1.0, seed=1) -> Items:
    rng = np.random.default_rng(seed)
    bias = rng.normal(size=kit.NUM_ITEMS) * 0.2 * size
    return Items(0.1 * size, bias, rng.normal(size=(kit.NUM_ITEMS, rank)) * size)


def test_users_are_solved_as_the_book_says():
    found, items = kit.ratings(30), some_items()
    own = solve_users(items, Triples.of(kit.examples(found).inputs), 3.0, 6.0)
    np.testing.assert_allclose(np.transpose(own), by_the_book(found, items), atol=1e-6)


def test_a_users_numbers_are_the_same_beside_any_others():
    records, items = kit.examples(kit.ratings(60)), some_items()
    together = np.transpose(solve_users(items, Triples.of(records.inputs), 3.0, 6.0))
    for place, one in enumerate(records.one_by_one(np.arange(60))):
        alone = np.transpose(solve_users(items, Triples.of(one.inputs), 3.0, 6.0))
        np.testing.assert_array_equal(alone[0], together[place])


def test_a_round_solves_the_items_as_the_book_says():
    """The items' half, from the pooled users' biases and factors in the clear."""
    found = kit.ratings(50)
    work = kit.workload(rank=3, num_rounds=1)
    start = work.initial_state().arrays
    users = by_the_book(found, Items(0.0, start["bias"], start["factors"]))
    state = kit.fitted(work, [kit.examples(found)], 1)
    assert state.arrays["mean"][0] == pytest.approx(users[:, 0].mean(), abs=1e-6)
    rows = np.column_stack([np.ones(len(users)), users[:, 1:]])
    rest = (found - 3) / 2 - users[:, :1]
    for item in range(kit.NUM_ITEMS):
        there = ~np.isnan(found[:, item])
        gram = rows[there].T @ rows[there] + np.diag([3.0, 6.0, 6.0, 6.0])
        due = np.linalg.solve(gram, rows[there].T @ rest[there, item])
        mine = [state.arrays["bias"][item], *state.arrays["factors"][item]]
        np.testing.assert_allclose(mine, due, atol=1e-6)


@pytest.mark.parametrize("rank", [0, 2, 8])
def test_however_users_are_spread_the_sums_are_the_same_bit_for_bit(rank):
    records = kit.examples(kit.ratings(70))
    work = kit.workload(rank=rank, num_rounds=3)
    state = kit.fitted(work, [records], 2)
    whole = work.contribute(state, Query(3), kit.data(records), None).update
    for cuts in ([1, 2, 3, 20, 44, 45], [35]):
        parts = [records.take(own) for own in np.split(np.arange(70), cuts)]
        sums = [work.contribute(state, Query(3), kit.data(p), None).update for p in parts]
        np.testing.assert_array_equal(np.sum(sums, axis=0), whole)


def test_all_items_cells_are_sent_whoever_rated_what():
    """The length says nothing of a node: it is that of the list."""
    work = kit.workload(rank=2)
    state = work.initial_state()
    few = kit.ratings(3)
    few[:, 5:] = np.nan
    for found in (kit.ratings(20), few, few[:0]):
        sent = work.contribute(state, Query(1), kit.data(kit.examples(found)), None).update
        assert sent.shape == (kit.NUM_ITEMS * 9 + 2,)


def run(tmp_path, own_conf, sizes, free="", **keys):
    (own_conf / "task" / "films.yaml").write_text(kit.YAML)
    folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
    nodes = tmp_path / f"nodes{len(list(tmp_path.iterdir()))}"
    nodes.mkdir()
    given = {"task": "films", "algorithm": "als", "output-dir": str(folder)}
    given |= {"simulation-nodes": str(kit.files(nodes, kit.ratings(50), sizes))}
    given |= {"num-rounds": 3, "overrides": f"{FAST} {free}"}
    given |= {key.replace("_", "-"): value for key, value in keys.items()}
    return simulate(given, len(sizes)), folder


def test_masked_and_plain_runs_over_uneven_nodes_end_at_the_same_bits(tmp_path, own_conf):
    masked, folder = run(tmp_path, own_conf, [1, 9, 23, 17])
    plain, _ = run(tmp_path, own_conf, [20, 30], aggregation="plain")
    for name, values in masked.state.arrays.items():
        np.testing.assert_array_equal(values, plain.state.arrays[name])
    # What is saved is what was published, a column's memory included.
    _, model = load_model(folder / "model.safetensors")
    for name, values in masked.state.arrays.items():
        np.testing.assert_array_equal(model.state.arrays[name], values)
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    assert metrics["rmse"] == pytest.approx(2 * metrics["loss"] ** 0.5)
    assert (folder / "report.csv").read_text().startswith("item,bias\n")


def test_rounds_lower_the_error_of_what_is_held_out():
    found = kit.ratings(300, share=0.6)
    held_out = np.where(np.random.default_rng(1).random(found.shape) < 0.2, found, np.nan)
    kept = np.where(np.isnan(held_out), found, np.nan)
    work = kit.workload(rank=2, factor_ridge=1.0, num_rounds=12)

    def error(num_rounds):
        state = kit.fitted(work, [kit.examples(kept)], num_rounds)
        return np.sqrt(
            np.nanmean((work.predict(state, kit.examples(kept).inputs) - held_out) ** 2)
        )

    assert error(12) < 0.8 * error(1)
    assert error(12) < 0.6


def test_scores_are_those_of_the_prediction():
    found = kit.ratings(40)
    held_out = np.where(np.random.default_rng(1).random(found.shape) < 0.3, found, np.nan)
    kept, asked = (
        kit.examples(np.where(np.isnan(held_out), found, np.nan)),
        kit.examples(held_out),
    )
    work = kit.workload(rank=2, num_rounds=3)
    state = kit.fitted(work, [kept], 3)
    scored = type(kept)(kept.inputs, asked.targets)
    sums = work.evaluate(state, Query(1), type(kit.data(kept))(kept, scored)).sums
    error = (work.predict(state, kept.inputs) - held_out) / 2
    assert sums["eval_num_examples"] == np.count_nonzero(~np.isnan(held_out))
    assert sums["eval_loss"] == pytest.approx(np.nansum(error**2), rel=1e-6)
    assert sums["eval_absolute_error"] == pytest.approx(np.nansum(np.abs(error)), rel=1e-6)


def test_what_is_foreseen_is_the_mean_for_someone_new():
    items = some_items(rank=2, size=0.1)
    nobody = Triples.of(np.full((1, kit.NUM_ITEMS), 2.0))
    asked = Triples.of(np.zeros((1, kit.NUM_ITEMS)))
    found = foreseen(items, solve_users(items, nobody, 3.0, 6.0), asked)
    np.testing.assert_allclose(found, items.mean + items.bias)


@pytest.mark.parametrize(
    ("task", "free", "says"),
    [
        ("digits", "", "algorithm=als: the task has no users' ratings; take"),
        ("films", "algorithm.rank=65", "rank=65: must be from 0 to 64"),
        ("films", "algorithm.bias_ridge=0", "bias_ridge=0.0: must be from 0.001"),
        ("films", "algorithm.factor_ridge=-1", "factor_ridge=-1.0: must be from 0.001"),
        ("films", "task.width=3", "task.width has no effect here"),
        ("films", "task.training.batch_size=3", "trains no model"),
        ("films", "task.num_items=1000000", "make a vector of 104000002 numbers, but at most"),
    ],
)
def test_what_does_not_fit_is_refused(own_conf, task, free, says):
    (own_conf / "task" / "films.yaml").write_text(kit.YAML)
    with pytest.raises(ValueError, match=says):
        build_workload(load_config({"task": task, "algorithm": "als", "overrides": free}))


def test_workloads_of_tables_refuse_ratings(own_conf):
    (own_conf / "task" / "films.yaml").write_text(kit.YAML)
    with pytest.raises(ValueError, match="no columns for the workload ebm"):
        build_workload(load_config({"task": "films", "algorithm": "ebm"}))
    given = {"task": "films", "algorithm": "als", "initial-model": "/nowhere"}
    with pytest.raises(ConfigError, match="initial-model"):
        load_config(given)


def test_records_of_several_nodes_are_joined():
    """As a run without held-out records does."""
    both = joined([kit.examples(kit.ratings(3)), kit.examples(kit.ratings(4))])
    assert len(Triples.of(both.inputs).ratings) > 0
    assert Triples.of(both.inputs).num_users == 7
