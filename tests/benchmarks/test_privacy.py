import json
from math import prod
from pathlib import Path

import pytest

from benchmarks import mean_estimation, noise_needed, noise_speed, record_gradients
from benchmarks.mean_estimation_cases import Case, measure
from privacy.plan.release import Mechanism


def run_mean_estimation(*options: str) -> int:
    return mean_estimation.main(["--processes", "1", "--epsilons", "1.5", *options])


def test_mean_estimation_prints_what_it_writes(tmp_path, capsys):
    json_file = tmp_path / "figures.json"
    options = ["--clients", "10", "--bits", "16", "--encodings", "80"]
    assert run_mean_estimation(*options, "--json", str(json_file)) == 0
    text, figures = capsys.readouterr().out, json.loads(json_file.read_text())
    assert len(figures["rows"]) == 4
    for row in figures["rows"]:
        measured = row["measured"]
        assert f"{measured['ratio']:.3f} +- {measured['standard_error']:.3f}" in text
        assert prod(measured["factors"].values()) == pytest.approx(measured["ratio"])
    assert figures["required"] == []


@pytest.mark.parametrize(
    "mechanism", [Mechanism.DISTRIBUTED_DISCRETE_GAUSSIAN, Mechanism.SKELLAM]
)
def test_the_factors_explain_the_error(mechanism):
    # A mean of 10,000 squares of nearly normal numbers is off by 1.4%: 6 deviations are 8.5%,
    # with a probability of 2e-9, and a noise 10% off moves it by 20%.
    found = measure(Case(mechanism, 20, 14, 1, 14, 1.5, 7.0), repeats=40, seed=1)
    assert found is not None
    assert found.factors.rest == pytest.approx(1, abs=0.085)
    assert found.standard_error == pytest.approx(found.ratio * 2**0.5 / 100, rel=0.2)
    assert found.factors.spare_shares == pytest.approx(20 / 13)
    assert found.wrapped == 0


def test_a_range_too_small_wraps_and_shows_in_its_factor():
    found = measure(Case(Mechanism.SKELLAM, 20, 20, 0, 16, 0.75, 0.8), repeats=3, seed=1)
    assert found is not None
    assert found.wrapped > 0
    # The mean of vectors all around is near 0, and what wraps comes nearer to 0.
    assert found.factors.wrapping < 0.5
    assert found.factors.rest == pytest.approx(1, abs=0.35)


def test_mean_estimation_refuses_and_has_a_limit(capsys, monkeypatch):
    assert run_mean_estimation("--clients", "100", "--bits", "3", "--encodings", "1") == 0
    assert "refused" in capsys.readouterr().out
    monkeypatch.setattr(mean_estimation, "REQUIRED_CLIENTS", 4)
    # Few repeats: a limit that chance does not reach.
    monkeypatch.setattr(mean_estimation, "LIMIT", 2.0)
    options = ["--clients", "4", "--bits", "16", "--quick", "--encodings", "8"]
    assert run_mean_estimation(*options) == 0
    assert "PASS  Skellam, n 4" in capsys.readouterr().out
    monkeypatch.setattr(mean_estimation, "LIMIT", 0.5)
    assert run_mean_estimation(*options) == 1
    assert "FAIL  DDG, n 4" in capsys.readouterr().out


def test_the_noise_needed_before_and_now(tmp_path, capsys, monkeypatch):
    """The figures of docs/privacy.md; before is what the old accountant itself found."""
    monkeypatch.setattr(noise_needed, "SETTINGS", noise_needed.SETTINGS[1:2])
    json_file = tmp_path / "figures.json"
    assert noise_needed.main(["--json", str(json_file)]) == 0
    ddg, skellam = json.loads(json_file.read_text())["rows"]
    assert ddg["before"] == skellam["before"] == pytest.approx(20.54008, rel=2e-4)
    assert (ddg["now"], skellam["now"]) == pytest.approx((2.459, 2.636), abs=1e-3)
    told = [line.split() for line in Path("docs/privacy.md").read_text().splitlines()]
    assert all(line.split() in told for line in capsys.readouterr().out.splitlines()[2:])


def test_the_seconds_of_noise_beside_those_before(tmp_path, capsys):
    json_file = tmp_path / "figures.json"
    options = ["--dimension", "20000", "--repeats", "2", "--json", str(json_file)]
    assert noise_speed.main(options) == 0
    rows = json.loads(json_file.read_text())["rows"]
    assert [row["deviation"] for row in rows] == list(noise_speed.SCALES)
    assert f"{rows[0]['now']:.3f}" in capsys.readouterr().out


def test_the_seconds_of_records_alone_beside_opacus(tmp_path, capsys, monkeypatch):
    """The sums are compared inside; the limits are for a machine that does nothing else."""
    monkeypatch.setattr(record_gradients, "NUM_RECORDS", 6)
    json_file = tmp_path / "figures.json"
    assert record_gradients.main(["--repeats", "1", "--json", str(json_file)]) in (0, 1)
    rows = json.loads(json_file.read_text())["rows"]
    assert [row["parameters"] for row in rows] == [20_490, 793_530]
    assert "perceptron" in capsys.readouterr().out
