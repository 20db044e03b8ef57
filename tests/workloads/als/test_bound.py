"""A user's term has norm 1 at most, whatever ratings and state, and noise of its size."""

from types import SimpleNamespace

import numpy as np
import pytest

from app.builders.run import RunFacts, build_strategy
from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from privacy.bounding.bounded_sum import FINENESS
from tasks.records import Examples
from tests.kits import raters as kit
from workloads.als.als import Als
from workloads.values import Aggregate, Query, State

PRIVATE = "privacy.delta=1e-4 privacy.population=5 rounds.deadline_seconds=60"
USERS = f"{PRIVATE} privacy.sampling_rate=1 privacy.expected_batch_size=60"


def made(unit="example", **keys) -> Als:
    return kit.workload(kit.mode(unit), **keys)


def summed(work, state, records: Examples):
    plan = SimpleNamespace(terms=SimpleNamespace(sampling_rate=1.0))
    privacy = SimpleNamespace(plan=plan, clip_norm=1.0, mode=work.setup.mode)
    rng = np.random.default_rng(0)
    return work.bounded(state, Query(1), kit.data(records), rng, privacy).update


def worst() -> Examples:
    """Return users with one rating and with all, equal ones and far apart, and none."""
    rng = np.random.default_rng(0)
    rows = [np.full(kit.NUM_ITEMS, value) for value in (1.0, 3.0, 5.0)]
    rows.append(np.where(np.arange(kit.NUM_ITEMS) % 2, 1.0, 5.0))
    for number in (1, 2, 7):
        rows.append(np.where(np.arange(kit.NUM_ITEMS) < number, 5.0, np.nan))
    rows.append(np.full(kit.NUM_ITEMS, np.nan))
    rows += list(kit.ratings(20))
    rows += [np.where(rng.random(kit.NUM_ITEMS) < 0.2, 1.0, 5.0) for _ in range(10)]
    return kit.examples(np.array(rows))


def any_records() -> Examples:
    """Return what no file gives: numbers that are no ratings, not finite ones."""
    records = worst().inputs.copy()
    weird = [np.nan, np.inf, -np.inf, 1e30, 1.0000001, -1.0, 0.0, 1e-30]
    for place, value in enumerate(weird):
        records[place :: len(weird), place] = value
    return Examples(records, records)


def squares(work, state, records) -> np.ndarray:
    return (work.terms(state, Query(1), records) ** 2).sum(axis=1)


@pytest.mark.parametrize("records", [worst(), any_records()])
def test_no_users_term_is_longer_than_the_bound(records):
    work = made()
    found = squares(work, work.initial_state(), records)
    assert np.isfinite(found).all()
    assert found.max() <= work.bound() ** 2 + 1e-12


def test_a_search_over_ratings_finds_none_that_is_longer_and_comes_near():
    work, rng = made(), np.random.default_rng(1)
    longest, best = 0.0, worst()
    for _ in range(300):
        tried = best.inputs.copy()
        change = rng.random(tried.shape) < 0.1
        tried[change] = rng.choice(np.array([-1, 0, 0.5, 1, 2], np.float32), change.sum())
        found = squares(work, work.initial_state(), Examples(tried, tried))
        assert found.max() <= 1 + 1e-12
        if found.max() > longest:
            longest, best = found.max(), Examples(tried, tried)
    # At the bounds of the scale the mean counts in full, and the rest is as long as it may be.
    assert longest > 0.995


@pytest.mark.parametrize("size", [0.0, 1.0, 1e300])
def test_one_user_moves_the_real_sum_by_their_own_term_whatever_the_state(size):
    work, records = made(), worst()
    draws = np.random.default_rng(2)
    state = State(
        {n: draws.normal(size=a.shape) * size for n, a in work.initial_state().arrays.items()}
    )
    whole = summed(work, state, records).integers
    everyone = np.arange(len(records))
    for left_out in everyone:
        rest = records.take(np.delete(everyone, left_out))
        change = whole - summed(work, state, rest).integers
        alone = summed(work, state, records.take(everyone[[left_out]])).integers
        np.testing.assert_array_equal(change, alone)
        assert sum(int(value) ** 2 for value in change) <= int(FINENESS) ** 2


def test_the_unit_of_a_user_counts_all_of_them_alike():
    """Who has rated ten times as much adds no longer a vector."""
    found = kit.ratings(2, share=0.6)
    found[0, 3:] = np.nan
    lengths = np.sqrt(squares(made(), State({}), kit.examples(found)))
    assert lengths[0] == pytest.approx(lengths[1], abs=0.02)


def test_a_client_of_many_users_is_cut_to_the_bound_and_one_of_one_user_is_not():
    work, records = made("client"), worst()
    state = work.initial_state()
    many = summed(work, state, records)
    assert many.unit is work.setup.mode.unit
    assert 0.99 < np.linalg.norm(many.in_units_of(1.0)) <= 1
    one = records.take(np.array([4]))
    np.testing.assert_allclose(
        summed(work, state, one).in_units_of(1.0),
        work.terms(state, Query(1), one)[0],
        atol=4e-9,
    )


def test_metrics_of_a_user_are_within_their_bound():
    found = kit.ratings(30)
    held_out = kit.examples(found[::-1])
    records = kit.examples(found)
    data = kit.data(records)
    data = type(data)(records, Examples(records.inputs, held_out.targets))
    for unit in ("example", "client"):
        work = made(unit)
        privacy = SimpleNamespace(loss_clip=0.1, mode=work.setup.mode)
        state = State(
            {name: values + 0.3 for name, values in work.initial_state().arrays.items()}
        )
        total = work.bounded_metrics(state, data, privacy)
        entries = total.in_units_of(1.0)
        count = 30 if unit == "example" else 1
        assert entries[0] == pytest.approx(count, abs=1e-6)
        assert ((entries >= 0) & (entries <= count + 1e-9)).all()
        assert work.scores_bound == pytest.approx(3**0.5)


@pytest.mark.parametrize("noise", [0.0, 0.5, 100.0])
def test_the_noise_that_the_server_knows_shrinks_what_it_cannot_tell(noise):
    work = made(noise=noise)
    records = kit.examples(kit.ratings(200))
    total = summed(work, work.initial_state(), records).in_units_of(1.0)
    state = work.apply(work.initial_state(), Aggregate(total, {}, 1.0, noise), 1, None)
    work.check(state)
    sizes = np.abs(state.arrays["bias"]).mean()
    assert {0.0: sizes > 0.1, 0.5: 0.05 < sizes < 0.3, 100.0: sizes < 1e-3}[noise]


def given(free: str, privacy: str, **keys) -> dict:
    config = {"task": "films", "algorithm": "als", "privacy": privacy, "num-rounds": 1}
    return config | {"overrides": free} | keys


@pytest.mark.slow
@pytest.mark.parametrize(
    ("privacy", "free", "keys", "says"),
    [
        ("example_distributed", USERS, {"num-rounds": 2}, "asks one round"),
        ("example_central", f"{USERS} algorithm.rank=3", {}, "rank=3: under privacy the sums"),
        ("example_distributed", USERS.replace("rate=1", "rate=0.5"), {}, "counts all"),
        ("example_distributed", f"{USERS} privacy.clip_norm=1", {}, "no effect on"),
        ("example_local", USERS, {}, "it has no bound for the unit"),
    ],
)
def test_what_it_cannot_do_under_privacy_is_refused(own_conf, privacy, free, keys, says):
    (own_conf / "task" / "films.yaml").write_text(kit.YAML)
    with pytest.raises(ConfigError, match=says):
        load_config(given(f"{free} privacy.epsilon=1", privacy, **keys))


@pytest.mark.parametrize("privacy", ["example_distributed", "client_distributed"])
def test_a_plan_says_what_it_costs(own_conf, privacy):
    (own_conf / "task" / "films.yaml").write_text(kit.YAML)
    free = USERS if privacy == "example_distributed" else PRIVATE
    free = f"{free} aggregation.min_survivors=4 privacy.epsilon=10"
    plan = plan_run(load_config(given(free, privacy)))
    assert plan.guarantee["epsilon"] <= 10
    (release,) = plan.guarantee["releases"]
    assert (release["name"], release["times"]) == ("update", 1)


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["example_distributed", "client_distributed"])
def test_the_masked_sum_has_the_noise_that_is_charged(tmp_path, own_conf, monkeypatch, privacy):
    """Both apps, five nodes: the noise of 82 sums over the real path, in five runs of each."""
    (own_conf / "task" / "films.yaml").write_text(kit.YAML + "test_fraction: 0\n")
    found = kit.ratings(60)
    sizes = [1, 3, 30, 20, 6]
    nodes, opened = kit.files(tmp_path, found, sizes), []
    apply = Als.apply

    def spied(work, state, aggregate, server_round, step):
        opened.append(aggregate.total)
        return apply(work, state, aggregate, server_round, step)

    monkeypatch.setattr(Als, "apply", spied)
    free = USERS if privacy == "example_distributed" else PRIVATE
    free = f"{free} aggregation.min_survivors=4 privacy.noise_multiplier=3"
    for number in range(5):
        folder = tmp_path / f"run{number}"
        keys = {"simulation-nodes": str(nodes), "output-dir": str(folder)}
        config = given(free, privacy, **keys)
        simulate(config, 5)
    loaded = load_config(config)
    work = build_workload(loaded)
    parts = np.split(np.arange(60), np.cumsum(sizes)[:-1])
    due = sum(
        summed(work, work.initial_state(), kit.examples(found[own])).in_units_of(1.0)
        for own in parts
    )
    noise = np.concatenate(opened) - np.tile(due, 5)
    # Five shares of which T - c = 3 make up the noise; 6 standard errors of 410 numbers are
    # 21 %, with a probability of 2e-9, and 30 % too little fails.
    assert noise.size == 410
    assert noise.std() == pytest.approx(3 * np.sqrt(5 / 3), rel=0.21)
    told = build_strategy(loaded, RunFacts(1, 5, work, work.length(work.initial_state())))
    assert told.workload.setup.noise == pytest.approx(3 * np.sqrt(4 / 3), rel=0.01)
    task, model = load_model(folder / "model.safetensors")
    assert model.predict(kit.examples(found).inputs).shape == found.shape
    assert task.config.num_items == kit.NUM_ITEMS


def test_it_recommends_well_with_the_noise_of_many_users():
    """Central noise of deviation 1/2 over 2,000 users: biases near those without noise."""
    work = made(noise=0.5)
    found = kit.ratings(2000)
    total = summed(work, work.initial_state(), kit.examples(found)).in_units_of(1.0)
    total = total + np.random.default_rng(0).normal(scale=0.5, size=total.shape)
    state = work.apply(work.initial_state(), Aggregate(total, {}, 1.0, 0.5), 1, None)
    quality = np.nanmean(found - np.nanmean(found, axis=1)[:, None], axis=0)
    assert np.corrcoef(state.arrays["bias"], quality)[0, 1] > 0.95
    assert 3 + 2 * state.arrays["mean"][0] == pytest.approx(np.nanmean(found), abs=0.1)
