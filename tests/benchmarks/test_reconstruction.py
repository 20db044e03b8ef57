import json

import numpy as np
import pytest

from benchmarks import reconstruction
from benchmarks.reconstruction import CELLS, ROWS, Case
from benchmarks.reconstruction_attack import Evidence, Peeling
from benchmarks.reconstruction_evidence import peeled, weights_of
from benchmarks.reconstruction_runs import Deal, listen
from benchmarks.reconstruction_score import TOLERANCE, Rows, filled, scores
from benchmarks.reconstruction_solve import solve, subset
from benchmarks.table_rows import Row
from tasks.table import Column, Table
from workloads.histograms.bins import Bins
from workloads.values import State

TABLE = Table(
    (
        Column("x", low=0, high=100),
        Column("y", low=0, high=100),
        Column("c", categories=("a", "b")),
    ),
    ("no", "yes"),
    Column("label", categories=("no", "yes")),
)


@pytest.fixture(scope="module")
def deal():
    """Return breast_cancer's records of four nodes of 40 each."""
    return Deal.of("breast_cancer", None, 4, 40, 0)


def recovered(deal, heard):
    truth = Rows.of(deal.victim)
    guess = filled(peeled(heard), len(truth.labels), np.random.default_rng(0))
    return scores(truth, guess, deal.table)


def test_curves_in_the_clear_give_every_row_away(deal):
    rows, cells = recovered(deal, listen(deal, "ebm", "plain", 8, 0))
    assert rows > 0.95
    assert cells > 0.99


@pytest.mark.slow
def test_trees_in_the_clear_give_rows_away(deal):
    heard = listen(deal, "gbdt", "plain", 40, 0)
    rows, cells = recovered(deal, heard)
    # Some leave the eight trees on the same ways, and their columns are mixed up.
    assert rows > 0.4
    assert cells > 0.7
    # What was found is what the sums say of the victim: each bin has its records.
    peeling = peeled(heard)
    assert len(peeling.prints) == 40
    counts = np.zeros_like(peeling.evidence.counts)
    np.add.at(counts, peeling.places + peeling.evidence.bins.firsts, 1)
    assert np.array_equal(counts, peeling.evidence.counts)


def test_masks_and_noise_give_no_row_away(deal):
    for algorithm, num_rounds in (("ebm", 5), ("gbdt", 3)):
        heard = listen(deal, algorithm, "secagg", num_rounds, 0, 1.0)
        truth, rng = Rows.of(deal.victim), np.random.default_rng(1)
        others = Rows.of(deal.others)
        _, at_chance = scores(truth, others.independent(40, rng), deal.table)
        known = others.independent(40, rng, weights_of(heard, others, 160))
        for found in (recovered(deal, heard), scores(truth, known, deal.table)):
            assert found[0] == 0
            assert found[1] < at_chance + 0.05


def test_exact_histograms_say_more_than_chance(deal):
    """What noise hides, it does hide: without it the same guess is better than chance."""
    heard = listen(deal, "ebm", "plain", 2, 0)
    heard.state = State({"slots": heard.workload.layout.split(heard.sums[1] / 2**24)[0]})
    truth, others = Rows.of(deal.victim), Rows.of(deal.others)
    gain: list[float] = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        weights = weights_of(heard, others, 40)
        known = scores(truth, others.independent(40, rng, weights), deal.table)
        chance = scores(truth, others.independent(40, rng), deal.table)
        gain.append(known[1] - chance[1])
    assert np.mean(gain) > 0.005


@pytest.mark.slow
def test_the_benchmark_prints_what_it_writes(tmp_path, monkeypatch, capsys):
    case = Case(4, 20, {"gbdt": 7, "ebm": 6})
    monkeypatch.setattr(reconstruction, "CASES", {"breast_cancer": case})
    monkeypatch.setattr(reconstruction, "PRIVATE_ROUNDS", {"gbdt": 3, "ebm": 2})
    required = {("breast_cancer", "ebm"): 0.9, ("breast_cancer", "gbdt"): 1.01}
    monkeypatch.setattr(reconstruction, "REQUIRED", required)
    file = tmp_path / "figures.json"
    options = ["--tasks", "breast_cancer", "--seeds", "2", "--json", str(file)]
    # Nothing can have more than all.
    assert reconstruction.main(options) == 1
    figures, text = json.loads(file.read_text()), capsys.readouterr().out
    by_name = {row["system"]: row["scores"] for row in figures["rows"]}
    assert [len(found[ROWS]) for found in by_name.values()] == [1] * 6 + [2] * 5
    assert by_name["breast_cancer, ebm, plain"][ROWS][0] >= 0.9
    # A sum of few hides whose rows are in it, and not which.
    assert by_name["breast_cancer, ebm, secagg, of all nodes"][ROWS][0] >= 0.9
    assert by_name["breast_cancer, ebm, secagg, of the victim"][ROWS][0] < 0.5
    verdicts = {
        verdict["what"].split(":")[0]: verdict["holds"] for verdict in figures["required"]
    }
    assert verdicts["breast_cancer, ebm, plain"]
    assert not verdicts["breast_cancer, gbdt, plain"]
    for row, line in zip(figures["rows"], text.splitlines()[2:], strict=False):
        assert line.startswith(row["system"])


def test_better_than_chance_is_a_failure():
    noisy, chance = (Row("x", 1.0, 6, {CELLS: values}) for values in ([0.6, 0.62], [0.5, 0.51]))
    assert not reconstruction._at_chance(noisy, chance, CELLS).holds
    assert reconstruction._at_chance(chance, noisy, CELLS).holds


def test_a_missing_file_is_one_clear_line(tmp_path, capsys):
    assert reconstruction.main(["--tasks", "adult", "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path) in error


def made_up(num, seed):
    """Return rows, and what their bins add up to with random prints."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 100, (num, 3))
    values[:, 2] = rng.integers(2, size=num)
    labels = rng.integers(2, size=num)
    bins = Bins(TABLE, 400)
    places = bins.places(values)
    numbers = rng.integers(-(2**24), 2**24, (num, 60))
    classes, sums = np.zeros((2, len(bins)), np.int64), np.zeros((60, len(bins)), np.int64)
    np.add.at(classes, (labels[:, np.newaxis], places), 1)
    for column in places.T:
        np.add.at(sums.T, column, numbers)
    none = np.zeros((0, len(bins)), np.int64)
    return Rows(values, labels), Evidence(bins, classes, none, sums)


def test_sums_without_noise_are_peeled_to_the_last_row():
    truth, evidence = made_up(30, 0)
    guess = filled(Peeling(evidence).run(), 30, np.random.default_rng(0))
    assert scores(truth, guess, TABLE) == (1.0, 1.0)


def test_a_wrong_step_of_each_sum_hides_the_rows():
    truth, evidence = made_up(30, 0)
    evidence.sums[:] += np.random.default_rng(1).integers(1, 3, evidence.sums.shape)
    guess = filled(Peeling(evidence).run(), 30, np.random.default_rng(0))
    assert scores(truth, guess, TABLE)[0] < 0.4


def test_a_subset_is_found_or_none_is_said():
    rng = np.random.default_rng(0)
    hashes = rng.integers(2**63, size=12, dtype=np.uint64) * 2
    for size in range(1, 13):
        chosen = np.sort(rng.permutation(12)[:size])
        found = subset(hashes, size, int(hashes[chosen].sum(dtype=np.uint64)))
        assert found is not None
        assert np.array_equal(np.sort(found), chosen)
    assert subset(hashes, 3, 1) is None
    assert subset(hashes, 13, 0) is None


def test_equations_are_solved_or_said_to_be_open():
    rng = np.random.default_rng(0)
    matrix = rng.integers(-(2**24), 2**24, (9, 6))
    members = rng.integers(2, size=(6, 3))
    assert np.array_equal(solve(matrix, matrix @ members), members)
    wrong = matrix @ members
    wrong[8, 1] += 1
    assert (solve(matrix, wrong)[:, 1] == -1).all()
    # Two unknowns that always come together.
    matrix[:, 1] = matrix[:, 0]
    found = solve(matrix, matrix @ members)
    assert (found[:2] == -1).all()
    assert np.array_equal(found[2:], members[2:])


def test_rows_are_matched_one_to_one():
    truth = Rows(np.array([[10.0, 20, 0], [10, 20, 0], [50, np.nan, 1]]), np.array([0, 0, 1]))
    near = 100 * TOLERANCE
    guess = Rows(
        np.array([[10 + near, 20, 0], [50, np.nan, 1], [11 + near, 20, 0]]), np.array([0, 1, 0])
    )
    rows, cells = scores(truth, guess, TABLE)
    assert rows == pytest.approx(2 / 3)
    assert cells == pytest.approx(11 / 12)
