"""Curves and the log-rank test from one sum of counts are those of the books' formulas."""

import csv
import json

import numpy as np
import pytest
from scipy import stats

from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.simulation.in_process import simulate
from tests.kits import survival as kit
from workloads.survival.kaplan_meier import KaplanMeier, KaplanMeierConfig
from workloads.values import State, StateRefusedError

FAST = "rounds.deadline_seconds=2"
PRIVATE = (
    "privacy.delta=1e-4 privacy.population=5 privacy.sampling_rate=1"
    " privacy.expected_batch_size=600"
)
DISTRIBUTED = f"{PRIVATE} aggregation.min_survivors=4"


def make(**keys) -> KaplanMeier:
    return kit.workload(KaplanMeier, KaplanMeierConfig(**keys))


def by_the_book(time, event, confidence=0.95) -> dict[float, tuple[float, ...]]:
    """Return at risk, events, survival, its error and interval at each time with an event."""
    found, survival, greenwood = {}, np.longdouble(1), np.longdouble(0)
    for at in np.unique(time[event == 1]):
        risk, events = int((time >= at).sum()), int(((time == at) & (event == 1)).sum())
        survival *= 1 - np.longdouble(events) / risk
        with np.errstate(divide="ignore"):
            greenwood += np.longdouble(events) / risk / np.longdouble(risk - events)
        ends = [survival, survival]
        if survival > 0:
            width = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(greenwood) / np.log(survival)
            ends = [survival ** np.exp(-width), survival ** np.exp(width)]
        error = survival * np.sqrt(greenwood) if survival > 0 else 0.0
        found[float(at)] = (risk, events, *map(float, (survival, error, *ends)))
    return found


def log_rank(time, event, group) -> tuple[float, float]:
    """Return the statistic and p of Mantel's test, time by time."""
    names = np.unique(group)
    excess, variance = np.zeros(len(names)), np.zeros((len(names), len(names)))
    for at in np.unique(time[event == 1]):
        there, dying = time >= at, (time == at) & (event == 1)
        n, d = int(there.sum()), int(dying.sum())
        share = np.array([(there & (group == name)).sum() / n for name in names])
        excess += [(dying & (group == name)).sum() for name in names] - share * d
        factor = d * (n - d) / (n - 1) if n > 1 else 0.0
        variance += factor * (np.diag(share) - np.outer(share, share))
    chi2 = excess[:-1] @ np.linalg.solve(variance[:-1, :-1], excess[:-1])
    return chi2, float(stats.chi2.sf(chi2, len(names) - 1))


def check(report: dict, records, by="sex", least=3) -> None:
    time, event = records.targets.T
    groups = {f"{by}=f": 0, f"{by}=m": 1} if by else {"all": None}
    seen = 0
    for name, code in groups.items():
        own = np.ones(len(time), bool) if code is None else records.columns[:, 2] == code
        due = by_the_book(time[own], event[own])
        due = {at: values for at, values in due.items() if values[0] >= least}
        rows = [row for row in report["rows"] if row["group"] == name]
        assert [row["time"] for row in rows] == list(due)
        for row in rows:
            found = list(row.values())[2:]
            np.testing.assert_allclose(found, due[row["time"]], rtol=0, atol=1e-12)
        below = [at for at, values in due.items() if values[2] <= 0.5]
        assert report[f"{name}: median"] == (below[0] if below else None)
        seen += len(rows)
    assert seen == len(report["rows"]) > 30
    if by:
        chi2, p = log_rank(time, event, records.columns[:, 2])
        assert report["log-rank test, chi-squared"] == pytest.approx(chi2, rel=1e-12)
        assert report["log-rank test, p"] == pytest.approx(p, rel=1e-12)


def run(tmp_path, own_conf, parts, free="", **keys):
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
    given = {"task": "months", "algorithm": "kaplan_meier", "output-dir": str(folder)}
    given |= {"simulation-nodes": str(kit.files(tmp_path, parts)), "num-rounds": 5}
    given |= {key.replace("_", "-"): value for key, value in keys.items()}
    outcome = simulate(given | {"overrides": f"{FAST} {free}"}, len(parts))
    return outcome, json.loads((folder / "report.json").read_text()), folder


@pytest.mark.parametrize("by", ["sex", ""])
def test_five_masked_nodes_give_the_curves_of_all_records(tmp_path, own_conf, by):
    records = kit.made_up(300)
    free = f"algorithm.by={by}" if by else ""
    outcome, report, folder = run(tmp_path, own_conf, kit.dealt(records, 5), free)
    check(report, records, by)
    assert outcome.num_rounds == 1
    rows = list(csv.reader((folder / "report.csv").read_text().splitlines()))
    assert len(rows) == 1 + len(report["rows"])


def test_however_records_are_spread_the_counts_are_the_same(tmp_path, own_conf):
    records = kit.made_up(211, whole=False)
    alone = "rounds.min_clients=1 rounds.min_replies=1"
    one, _, _ = run(tmp_path, own_conf, [records], alone, aggregation="plain")
    for aggregation in ("secagg", "plain"):
        parts = kit.dealt(records, 7)
        seven, _, _ = run(tmp_path, own_conf, parts, aggregation=aggregation)
        for name, values in one.state.arrays.items():
            np.testing.assert_array_equal(seven.state.arrays[name], values)
    assert one.state.arrays["counts"].sum() == 211


@pytest.mark.parametrize(
    ("keys", "grid"),
    [
        ({"steps": 7}, kit.LONGEST * np.arange(1, 8) / 7),
        ({"times": [6.0, 12.0, 30.0]}, [6.0, 12.0, 30.0]),
        ({}, np.arange(1, 61)),
    ],
)
def test_times_between_those_of_the_grid_count_at_the_later(keys, grid):
    """Who leaves after the last time is at risk to its end, and no event is known."""
    records = kit.made_up(300, whole=False)
    work = make(min_at_risk=1, **keys)
    report = work.report(kit.fitted(work, [records]))
    later = np.array(
        [min((g for g in grid if g >= t), default=99) for t in records.targets.T[0]]
    )
    due = by_the_book(later, records.targets[:, 1] * (later < 99))
    assert [row[1] for row in report.rows] == list(due)
    found = np.array([row[2:] for row in report.rows])
    np.testing.assert_allclose(found, list(due.values()), rtol=0, atol=1e-12)


def test_the_default_grid_follows_from_the_longest_time():
    assert len(make().grid) == 60
    assert len(make(steps=30).grid) == 30
    for longest, steps in ((2000.0, 2000), (2001.0, 200), (59.5, 200)):
        work = kit.workload(KaplanMeier, KaplanMeierConfig(), kit.table_until(longest))
        assert len(work.grid) == steps
        assert work.grid.times[-1] == longest


def test_a_curve_ends_where_too_few_are_at_risk():
    records = kit.made_up(80)
    for least in (1, 3, 10):
        work = make(min_at_risk=least, by="sex")
        report = work.report(kit.fitted(work, [records]))
        assert min(row[2] for row in report.rows) >= least
    assert report.facts["sex=f: enough at risk until"] < kit.LONGEST


def test_a_record_without_a_group_is_left_out_and_counted():
    records = kit.made_up(300)
    records.columns[:30, 2] = np.nan
    work = make(by="sex")
    report = work.report(kit.fitted(work, kit.dealt(records, 3)))
    assert report.facts["left out, no group"] == 30
    kept = records.take(np.arange(30, 300))
    check(report.to_dict(), kept)


def test_empty_nodes_and_groups_without_anyone():
    records = kit.made_up(100)
    women = records.take(np.flatnonzero(records.columns[:, 2] == 0))
    nobody = records.take(np.zeros(0, np.intp))
    work = make(by="sex")
    report = work.report(kit.fitted(work, [women, nobody]))
    assert report.facts["sex=m: records"] == 0
    assert "log-rank test, p" not in report.facts
    assert work.report(kit.fitted(work, [nobody])).rows == []
    assert work.report(work.initial_state()).rows == []


def test_a_state_that_does_not_fit_is_refused():
    work = make()
    counts = work.initial_state().arrays["counts"]
    for wrong in ({"counts": counts[1:]}, {"counts": counts * np.nan}, {"other": counts}, {}):
        with pytest.raises(StateRefusedError):
            work.check(State(wrong, {"noise": None}))


@pytest.mark.parametrize(
    ("free", "says"),
    [
        ("algorithm.by=age", "by=age: it has numbers; groups are .* there are sex"),
        ("algorithm.by=ward", "by=ward: it is no column; groups are .* there are sex"),
        ("algorithm.times=[9,99]", "99 is beyond task.label.time.max=60"),
        ("algorithm.steps=900000", "make a vector of 1800002 counts, but at most"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused(own_conf, free, says):
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    given = {"task": "months", "algorithm": "kaplan_meier", "overrides": free}
    with pytest.raises(ValueError, match=says):
        build_workload(load_config(given))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("free", "says"),
    [
        ("algorithm.times=[3,2]", "must ascend"),
        ("algorithm.times=[3] algorithm.steps=4", "one of the two"),
        ("algorithm.confidence=0", "must be in"),
        ("task.test_fraction=0.3", "holds no record out"),
        ("task.training.momentum=0.5", "trains no model"),
        ("aggregation.codec.clip_range=3", "whole numbers"),
    ],
)
def test_keys_that_make_no_sense_or_have_no_effect_are_refused(own_conf, free, says):
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    with pytest.raises(ConfigError, match=says):
        load_config({"task": "months", "algorithm": "kaplan_meier", "overrides": free})


@pytest.mark.parametrize(
    ("privacy", "free", "rounds", "says"),
    [
        ("example_distributed", DISTRIBUTED, 5, "asks one round"),
        ("example_distributed", f"{DISTRIBUTED} privacy.clip_norm=1", 1, "no effect on"),
        ("client_central", "privacy.delta=1e-4 privacy.population=5", 1, "it has no bound"),
    ],
)
def test_what_it_cannot_do_under_privacy_is_refused(own_conf, privacy, free, rounds, says):
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    given = {"task": "months", "algorithm": "kaplan_meier", "privacy": privacy}
    given |= {"num-rounds": rounds, "overrides": f"{free} privacy.epsilon=1"}
    with pytest.raises(ConfigError, match=says):
        load_config(given)


def test_a_plan_says_what_it_costs(own_conf):
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    given = {"task": "months", "algorithm": "kaplan_meier", "privacy": "example_distributed"}
    given |= {"num-rounds": 1, "overrides": f"{DISTRIBUTED} privacy.epsilon=1"}
    plan = plan_run(load_config(given))
    assert plan.guarantee["epsilon"] <= 1
    (release,) = plan.guarantee["releases"]
    assert (release["name"], release["times"]) == ("update", 1)


@pytest.mark.parametrize("privacy", ["example_distributed", "example_central"])
def test_the_sum_has_the_noise_that_is_reported(tmp_path, own_conf, privacy):
    """Both apps, five nodes: 401 counts with a deviation of 3 sqrt(5 / 3) or of 3."""
    records = kit.made_up(600)
    free = DISTRIBUTED if privacy == "example_distributed" else PRIVATE
    free = f"{free} privacy.noise_multiplier=3 algorithm.by=sex algorithm.steps=100"
    parts = kit.dealt(records, 5)
    outcome, report, _ = run(tmp_path, own_conf, parts, free, privacy=privacy, num_rounds=1)
    work = make(by="sex", steps=100)
    exact = kit.fitted(work, [records]).arrays["counts"]
    noise = outcome.state.arrays["counts"] - exact
    assert len(noise) == 403
    # Five shares of which T - c = 3 make up the noise, of four survivors at least.
    due, told = (3 * np.sqrt(5 / 3), 3 * np.sqrt(4 / 3)), 0
    if privacy == "example_central":
        due = (3.0, 3.0)
    # 6 standard errors of 403 numbers are 21 %, with a probability of 2e-9.
    assert noise.std() == pytest.approx(due[0], rel=0.21)
    told = report["standard deviation of each count's noise"]
    assert told == pytest.approx(due[1], rel=0.01)
