"""Cox regressions over masked sums equal the pooled ones, and say what has no fit."""

import csv
import json
import re

import numpy as np
import pytest

from app.simulation.in_process import simulate
from tests.kits import survival as kit
from workloads.statistics.design import predictor
from workloads.survival.cells import Cells
from workloads.survival.cox import Cox, CoxConfig, Strata
from workloads.survival.pooling import CUT
from workloads.values import Query, State

FAST = "rounds.deadline_seconds=2"
NONE = Strata.none


def make(strata=Strata.participant, table=kit.TABLE, **keys) -> Cox:
    return kit.workload(Cox, CoxConfig(strata=strata, **keys), table)


def table_of(work, state) -> tuple[np.ndarray, dict]:
    report = work.report(state)
    return np.array([row[1:3] for row in report.rows], float), report.facts


def merged_times(work, state, records) -> np.ndarray:
    """Return the number of the merged time at which each record leaves."""
    cells = Cells(state.arrays["starts"].astype(int))
    return cells.of(work.kind.grid.places(records.targets[:, 0])).astype(float)


@pytest.mark.parametrize("whole", [True, False])
def test_by_participant_it_is_the_stratified_fit(whole):
    """With the nodes' own times, ties or not."""
    records = kit.made_up(300, whole=whole)
    parts = kit.dealt(records, 5)
    work = make()
    state = kit.fitted(work, parts)
    rows = np.concatenate([part.columns for part in parts])
    targets = np.concatenate([part.targets for part in parts])
    strata = np.repeat(np.arange(5), [len(part) for part in parts])
    beta, errors, log = kit.cox(rows, targets[:, 0], targets[:, 1], strata)
    found, facts = table_of(work, state)
    np.testing.assert_allclose(found[:, 0], beta, rtol=1e-8)
    np.testing.assert_allclose(found[:, 1], errors, rtol=1e-8)
    assert facts["log likelihood"] == pytest.approx(log, abs=1e-6)
    assert facts["records"] == 300
    assert facts["events"] == targets[:, 1].sum()


@pytest.mark.slow
@pytest.mark.parametrize("least", [1, 3, 10])
def test_pooled_it_is_the_fit_on_the_grid(least):
    """On the merged times; where nothing is merged, on the grid's own."""
    records = kit.made_up(300)
    work = make(NONE, min_at_risk=least)
    state = kit.fitted(work, kit.dealt(records, 5))
    time = merged_times(work, state, records)
    found, facts = table_of(work, state)
    beta, errors, log = kit.cox(records.columns, time, records.targets[:, 1])
    np.testing.assert_allclose(found[:, 0], beta, rtol=1e-8)
    np.testing.assert_allclose(found[:, 1], errors, rtol=1e-8)
    assert facts["log likelihood"] == pytest.approx(log, abs=1e-8)
    unmerged, _, _ = kit.cox(records.columns, *records.targets.T)
    assert np.allclose(beta, unmerged, rtol=1e-9) == (least == 1)
    assert facts["fewest records that leave at one"] >= least


@pytest.mark.parametrize("keys", [{"steps": 7}, {"times": [6.0, 12.0, 30.0]}])
def test_a_coarse_grid_is_another_estimator_and_is_what_it_says(keys):
    """A record that leaves between two times counts at the later."""
    records = kit.made_up(300, whole=False)
    work = make(NONE, min_at_risk=1, **keys)
    grid = np.array(keys.get("times") or kit.LONGEST * np.arange(1, 8) / 7)
    later = np.array([next((g for g in grid if g >= t), 99) for t in records.targets[:, 0]])
    event = records.targets[:, 1] * (later < 99)
    beta, errors, _ = kit.cox(records.columns, later, event)
    found, _ = table_of(work, kit.fitted(work, [records]))
    np.testing.assert_allclose(found, np.column_stack([beta, errors]), rtol=1e-8)


def test_pooled_however_records_are_spread_the_fit_is_the_same_bit_for_bit():
    records, work = kit.made_up(211, whole=False), make(NONE)
    one = kit.fitted(work, [records])
    shuffled = records.take(np.random.default_rng(7).permutation(len(records)))
    for parts in (kit.dealt(records, 7), [shuffled]):
        other = kit.fitted(work, parts)
        for name, values in one.arrays.items():
            np.testing.assert_array_equal(other.arrays[name], values)


def run(tmp_path, own_conf, parts, free="", aggregation="secagg"):
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    folder = tmp_path / f"{aggregation}-{len(parts)}"
    given = {"task": "months", "algorithm": "cox", "num-rounds": 20}
    given |= {"aggregation": aggregation, "output-dir": str(folder)}
    given |= {"simulation-nodes": str(kit.files(tmp_path, parts))}
    outcome = simulate(given | {"overrides": f"{FAST} {free}"}, len(parts))
    return outcome, json.loads((folder / "report.json").read_text())


def test_five_masked_nodes_give_the_stratified_fit(tmp_path, own_conf):
    parts = kit.dealt(kit.made_up(260), 5)
    outcome, report = run(tmp_path, own_conf, parts)
    strata = np.repeat(np.arange(5), [len(part) for part in parts])
    columns = np.concatenate([part.columns for part in parts])
    targets = np.concatenate([part.targets for part in parts])
    beta, errors, log = kit.cox(columns, *targets.T, strata)
    found = np.array([[row["coefficient"], row["standard error"]] for row in report["rows"]])
    np.testing.assert_allclose(found[:, 0], beta, rtol=1e-8)
    np.testing.assert_allclose(found[:, 1], errors, rtol=1e-8)
    assert 4 <= outcome.num_rounds <= 10
    assert report["log likelihood"] == pytest.approx(log, abs=1e-6)
    assert [row[""] for row in report["rows"]] == ["age", "dose", "sex=m"]
    for row in report["rows"]:
        assert row["hazard ratio"] == pytest.approx(np.exp(row["coefficient"]), rel=1e-12)
    rows = list(csv.reader((tmp_path / "secagg-5" / "report.csv").read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == [row[""] for row in report["rows"]]


@pytest.mark.slow
def test_five_masked_nodes_give_the_pooled_fit_bit_for_bit(tmp_path, own_conf):
    records = kit.made_up(260)
    free = "algorithm.strata=none"
    outcome, report = run(tmp_path, own_conf, kit.dealt(records, 5), free)
    alone = f"{free} rounds.min_clients=1 rounds.min_replies=1"
    one, _ = run(tmp_path, own_conf, [records], alone, "plain")
    for name, values in one.state.arrays.items():
        np.testing.assert_array_equal(outcome.state.arrays[name], values)
    work = make(NONE)
    beta, _, _ = kit.cox(
        records.columns, merged_times(work, outcome.state, records), records.targets[:, 1]
    )
    found = [row["coefficient"] for row in report["rows"]]
    np.testing.assert_allclose(found, beta, rtol=1e-8)


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path, own_conf):
    """Though the state has other arrays after the round that counts."""
    parts = kit.dealt(kit.made_up(200), 4)
    free = "algorithm.strata=none"
    whole, report = run(tmp_path, own_conf, parts, free)
    first = tmp_path / "first"
    given = {"task": "months", "algorithm": "cox"}
    given |= {"simulation-nodes": str(tmp_path / "nodes.yaml"), "overrides": f"{FAST} {free}"}
    simulate(given | {"num-rounds": 2, "output-dir": str(first)}, 4)
    simulate(given | {"num-rounds": 20, "resume-from": str(first)}, 4)
    assert json.loads((first / "report.json").read_text()) == report
    assert whole.num_rounds > 2


@pytest.mark.parametrize("events", [1, 2, 3])
def test_fewer_events_than_the_minimum_are_no_fit(events):
    """Their terms, summed over all events, would be the row of one."""
    records = kit.made_up(100)
    records.targets[:, 1] = 0
    records.targets[:events] = np.column_stack([[9, 9, 9][:events], np.ones(events)])
    work = make(NONE)
    facts = work.report(kit.fitted(work, [records])).facts
    told = facts.get("no fit", "")
    assert told.startswith("fewer than algorithm.min_at_risk=3") == (events < 3)


@pytest.mark.parametrize("strata", list(Strata))
def test_empty_nodes_and_nodes_without_an_event_change_nothing(strata):
    """In the stratified fit; in the pooled one the censored are at risk as anywhere."""
    records = kit.made_up(200)
    censored = records.take(np.flatnonzero(records.targets[:, 1] == 0)[:20])
    nobody = records.take(np.zeros(0, np.intp))
    work = make(strata)
    before = kit.fitted(work, [records, nobody])
    after = kit.fitted(work, [records, nobody, censored])
    both = [table_of(work, state)[0] for state in (before, after)]
    if strata is Strata.participant:
        np.testing.assert_array_equal(*both)
    else:
        together = kit.fitted(work, [kit.joined(records, censored)])
        np.testing.assert_array_equal(both[1], table_of(work, together)[0])
        assert np.abs(both[0] / both[1] - 1).max() > 1e-3


@pytest.mark.parametrize("strata", list(Strata))
def test_records_that_miss_a_value_are_left_out_and_counted(strata):
    records = kit.made_up(220)
    records.columns[::10, 0] = np.nan
    whole = records.take(np.flatnonzero(~np.isnan(records.columns[:, 0])))
    work = make(strata)
    found, facts = table_of(work, kit.fitted(work, [records]))
    assert facts["left out, a value is missing"] == 22
    np.testing.assert_array_equal(found, table_of(work, kit.fitted(work, [whole]))[0])


@pytest.mark.parametrize("strata", list(Strata))
def test_what_has_no_fit_is_said_with_its_column(strata):
    records = kit.made_up(200)

    def objection(change):
        changed = records.take(np.arange(len(records)))
        change(changed)
        work = make(strata, **({} if strata is Strata.participant else {"min_at_risk": 1}))
        return table_of(work, kit.fitted(work, kit.dealt(changed, 3)))[1].get("no fit", "")

    def constant(changed):
        changed.columns[:, 1] = 3.7

    def only_men_die(changed):
        changed.targets[changed.columns[:, 2] == 0, 1] = 0

    def in_order_of_age(changed):
        oldest = np.argsort(-changed.columns[:, 0])[:30]
        changed.targets[:] = (60, 0)
        changed.targets[oldest] = np.column_stack([np.arange(30) + 1, np.ones(30)])

    def twice_the_same(changed):
        changed.columns[:, 1] = changed.columns[:, 0] / 20

    def nobody_dies(changed):
        changed.targets[:, 1] = 0

    assert re.match(r"dose: no record has it, or all are the same", objection(constant))
    assert re.match(r"sex=m: its coefficient grows without end", objection(only_men_die))
    assert re.match(r"age: its coefficient grows without end", objection(in_order_of_age))
    assert re.match(r"age, dose: one of them follows", objection(twice_the_same))
    assert re.match(r"there is no event", objection(nobody_dies))


@pytest.mark.parametrize("strata", list(Strata))
def test_bounds_that_are_much_wider_than_the_values_change_no_digit_that_counts(strata):
    """What is known of a column is its bounds, and they are guesses."""
    records = kit.made_up(300)
    wide = kit.table_with(age=(-500, 1500), dose=(0, 100))
    work = make(strata, wide)
    found, _ = table_of(work, kit.fitted(work, [records]))
    narrow = make(strata)
    expected, _ = table_of(narrow, kit.fitted(narrow, [records]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_sums_too_coarse_for_six_digits_are_refused_by_name():
    """Bounds 2,000 times as wide as the values leave too few of the 43 bits."""
    work = make(NONE, kit.table_with(age=(-100_000, 100_000)))
    found = table_of(work, kit.fitted(work, [kit.made_up(300)]))[1]
    assert found["no fit"].startswith("age: its values differ so little within its bounds")


def test_a_fit_begins_anew_when_other_records_take_part():
    """Counts of one cohort and sums of another make no likelihood."""
    records, work = kit.made_up(200), make(NONE)
    two = kit.dealt(records, 2)
    state = work.initial_state()
    state = kit.one_round(work, state, two)
    assert state.header["step"] == "counted"
    state = kit.one_round(work, state, two[1:])
    assert state.header["step"] == "first"
    assert not state.arrays["asked"].any()
    after = kit.fitted(work, two[1:], state=state)
    alone = kit.fitted(work, two[1:])
    np.testing.assert_array_equal(after.arrays["coefficients"], alone.arrays["coefficients"])
    for number in range(10):
        state = kit.one_round(work, state, two[number % 2 :])
        if work.is_finished(state):
            break
    assert "participants come and go" in state.header["objection"]


def test_no_entry_of_a_record_is_larger_than_what_fits():
    """Whatever is asked: hazards are cut, and those that were are counted."""
    records, work = kit.made_up(40), make(NONE)
    state = kit.one_round(work, work.initial_state(), [records])
    assert len(records) * 2.0 ** (state.header["bits"] + 9) <= 2.0**61
    for size in (0.1, 3.0, 50.0, 1e6):
        for seed in range(5):
            rng = np.random.default_rng(seed)
            asked, shift = rng.uniform(-size, size, 3), rng.uniform(-size, size)
            header = {**state.header, "shift": shift}
            moved = State({**state.arrays, "asked": asked}, header)
            found = work.contribute(moved, Query(2), kit.data(records), rng).update
            sums = np.abs(found[3:].astype(float)).max()
            assert sums <= len(records) * 2.0 ** (state.header["bits"] + 9)
            coded, _ = work._design.rows(records.columns)
            assert found[2] == (predictor(asked, coded) - shift > CUT).sum()


def test_a_fit_whose_hazards_are_cut_is_asked_again_and_is_the_same():
    """On the way to the fit one record's hazard is e^18 times that of the mean."""
    records = kit.made_up(300)
    records.columns[0] = (500, 3.0, 0)
    records.targets[0] = (1, 1)
    work = make(NONE, kit.table_with(age=(20, 800)), min_at_risk=1)
    seen, state = [], work.initial_state()
    while not work.is_finished(state):
        state = kit.one_round(work, state, [records])
        seen.append(state.header.get("lift", 0))
    assert max(seen) > CUT
    beta, errors, _ = kit.cox(records.columns, *records.targets.T)
    found, _ = table_of(work, state)
    np.testing.assert_allclose(found, np.column_stack([beta, errors]), rtol=1e-7)
