"""The benchmark of secure aggregation."""

import json

import numpy as np
import pytest

from benchmarks import flower_secagg, secagg, tacet_secagg
from benchmarks.secagg_cases import Case, Measured
from benchmarks.secagg_floors import Rates, num_masks


def test_both_sums_are_right_within_their_stated_error():
    case = Case.of(5, 200, 1)
    attempts = [tacet_secagg.run(case, hybrid=on, identities=on) for on in (False, True)]
    attempts.append(flower_secagg.run(case))
    for attempt in attempts:
        assert 0 < attempt.error <= attempt.error_bound < 1e-4
    assert attempts[0].bytes_per_parameter >= 4
    assert attempts[2].bytes_per_parameter >= 8
    # The check above would see one missing contribution.
    exact = sum(case.vector(i).astype(np.float64) for i in case.surviving)
    assert case.error(exact) < 1e-12
    assert case.error(exact - case.vector(case.surviving[-1])) > 1


def test_encrypted_sums_are_right_too():
    case = Case.of(4, 41_000, 1)
    found = tacet_secagg.run(case, hybrid=False, identities=True, encrypted=True)
    assert 0 < found.error <= found.error_bound < 1e-4
    assert 4.7 < found.bytes_per_parameter < 5.4
    with pytest.raises(ValueError, match="300 parameters are too few"):
        tacet_secagg.run(Case.of(4, 300, 1), hybrid=False, identities=True, encrypted=True)


def test_secagg_prints_what_it_writes(tmp_path, capsys):
    json_file = tmp_path / "figures.json"
    options = ["--against", "flower", "--cases", "5,200,1", "--repeats", "2"]
    assert secagg.main([*options, "--json", str(json_file)]) == 0
    figures = json.loads(json_file.read_text())
    lines = capsys.readouterr().out.splitlines()
    assert [row["system"] for row in figures["rows"]] == [
        secagg.CLASSICAL,
        secagg.SIGNED,
        "flower",
    ]
    for row, line in zip(figures["rows"], lines[2:], strict=False):
        given = row | {"case": Case(**row["case"]), "measured": Measured(**row["measured"])}
        cells = secagg.Row(**given).cells()
        assert line.split() == " ".join(cells).split()
        assert len(cells) == len(secagg.HEADERS)
        assert row["runs"] == 2


def test_secagg_says_which_required_figure_is_missed():
    peaks = tacet_secagg.Peaks(client=2.0, server=4.0, decoding=3.0)

    def row(system: str, client: float, server: float) -> secagg.Row:
        measured = Measured(client, server, 4.0, 0.0, 1.0, server)
        return secagg.Row(system, secagg.REQUIRED, 1, measured, 1.0, 1.0)

    ours = [row(secagg.CLASSICAL, 1.0, 1.0), row(secagg.SIGNED, 2.0, 2.0)]
    verdicts = secagg.requirements([*ours, row("flower", 61.0, 499.0)], peaks)
    holds = [True, True, False, True, True, False, False, True, False, True, False]
    assert [one.holds for one in verdicts] == holds
    assert str(verdicts[2]) == "FAIL  server's peak, vectors: 4, at most 3"
    assert str(verdicts[5]) == (
        "FAIL  tacet, hybrid, signed: client, times its floor: 2, at most 1.5"
    )
    assert str(verdicts[7]) == (
        "PASS  tacet, classical: client, times faster than Flower's: 61, at least 60"
    )
    assert len(secagg.requirements(ours, peaks)) == 7


def test_signatures_are_a_part_of_their_own():
    """The floor stays as it was, and so do the figures against it."""
    measured = Measured(3.0, 5.0, 4.0, 0.0, 1.0, 5.0)
    row = secagg.Row(secagg.SIGNED, secagg.REQUIRED, 1, measured, 1.0, 2.0, 1.0, 2.0)
    assert row.ratios() == {"client": 3.0, "server": 2.5}
    assert row.signed_ratios() == {"client": 1.5, "server": 1.25}
    plain = secagg.Row(secagg.CLASSICAL, secagg.REQUIRED, 1, measured, 1.0, 2.0)
    assert plain.signed_ratios() == {}
    required = secagg.requirements([plain, row], tacet_secagg.Peaks(2.0, 2.0, 3.0))
    named = {one.name: one.holds for one in required}
    assert not named["tacet, hybrid, signed: client, times its floor"]
    assert named["tacet, hybrid, signed: client, times its floor with signatures"]


def test_peaks_are_in_vectors():
    peaks = tacet_secagg.measure_peaks(Case.of(5, 200_000, 1))
    assert 2 < peaks.client < 3
    # The reply and the sum, and a little of each chunk.
    assert 2 < peaks.server < 3
    assert 3 < peaks.decoding < 5


def test_memory_alone_can_be_measured(tmp_path, capsys):
    json_file = tmp_path / "peaks.json"
    options = ["--peaks", "--cases", "5,200000,1", "3,1000,0", "--json", str(json_file)]
    assert secagg.main(options) == 0
    first = json.loads(json_file.read_text())["peaks"][0]
    line = capsys.readouterr().out.splitlines()[2]
    figures = [f"{first[name]:.2f}" for name in ("client", "server", "decoding")]
    assert line.split() == ["5,", "200,000,", "1", *figures]


def test_large_cases_take_the_default_graph():
    assert not Case.of(100, 10, 10).is_sparse
    assert num_masks(Case.of(100, 10, 10)) == (100, 90 + 10 * 90 * 99 / 99)
    many = Case.of(500, 10, 150)
    assert many.is_sparse
    assert many.num_neighbors < 499
    assert len(many.dropped) == 150


def test_floors_count_masks_and_a_secret_for_each_pair():
    rates = Rates(
        keystream=2.0,
        adding=2.0,
        agreement=1e3,
        sealing=1e6,
        opening=1e9,
        signing=1e12,
        verifying=1e15,
        hashing=4.0,
    )
    case = Case.of(5, 3, 1)
    assert rates.floors(case, agreed=False) == (5 * 12, 8 * 12)
    assert rates.floors(case, agreed=True) == (60 + 8e3, 96 + 4e3)
    assert rates.floors(case, agreed=True, hybrid=True) == (
        60 + 8e3 + 6e6 + 6e9,
        96 + 4e3 + 2e9,
    )
    # Four adverts and four views; two messages of each client, three more of each survivor.
    assert rates.signatures(case) == (5e12 + 8e15 + 3, 22e15 + 12)
    whole = Case.of(5, 3, 0)
    assert rates.signatures(whole) == (4e12 + 8e15 + 3, 20e15 + 15)


@pytest.mark.parametrize("text", ["5,200", "2,200,0", "5,200,5", "5,0,1"])
def test_secagg_refuses_what_is_no_case(text, capsys):
    with pytest.raises(SystemExit):
        secagg.main(["--cases", text])
    assert "--cases" in capsys.readouterr().err
