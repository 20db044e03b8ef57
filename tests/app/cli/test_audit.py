"""``tacet audit``: what it prints, its exit status, its JSON and its one-line errors."""

import json
from dataclasses import replace

import pytest

import app.audit.audit
from app.audit.verdict import Findings
from app.cli.main import main
from privacy.audit.claim import Claim
from tests.kits.private_kit import FAST

SMALL = ["--repeats", "2", "--canaries", "3"]
RUN = (
    'task="breast_cancer" aggregation="plain" privacy="example_central" num-rounds=1'
    ' overrides="privacy.noise_multiplier=1 privacy.delta=1e-5 privacy.clip_norm=0.1'
    f' privacy.population=2 privacy.sampling_rate=1 privacy.expected_batch_size=100 {FAST}"'
)


def complaint(capsys, *argv: object) -> str:
    status = main(["audit", *(str(argument) for argument in argv)])
    told = capsys.readouterr()
    assert (status, told.out) == (2, "")
    assert told.err.startswith("tacet: ")
    assert told.err.count("\n") == 1
    return told.err


def test_a_small_audit(tmp_path, capsys):
    file = tmp_path / "audit.json"
    assert main(["audit", "--run-config", RUN, *SMALL, "--json", str(file)]) == 2
    told = capsys.readouterr()
    rows = dict(line.split("  ", 1) for line in told.out.splitlines() if line[0] != " ")
    assert rows["claim"].strip().startswith("epsilon 4.377 at delta 1e-05")
    assert rows["canaries"].strip() == "3 in each of 2 runs, 6 coins"
    # As two runs refute nothing: a check that cannot fail must not look like one that passed.
    assert rows["verdict"].strip().startswith("none: so few runs could not refute the claim")
    assert told.err.splitlines()[-1].startswith("tacet: 2 of 2 runs")
    kept = json.loads(file.read_text())
    assert (kept["is_refuted"], kept["could_refute"]) == (False, False)
    assert kept["num_canaries"] == 3
    assert kept["claim"]["delta"] == 1e-5
    assert kept["seconds"] > 0


def found_out(**changed) -> Findings:
    found = Findings(
        claim=Claim(epsilon=1.0, delta=1e-5, total_variation=0.2),
        noise_multiplier=2.0,
        confidence=0.99,
        num_canaries=8,
        num_runs=250,
        num_guesses=500,
        num_right=499,
        one_run_epsilon=3.25,
        share=0.7,
        least_share=0.65,
        share_epsilon=0.619,
        largest_noise=1.3,
        epsilon_with_it=1.9,
        reach=1.0,
    )
    return replace(found, **changed)


def test_a_claim_that_stands_is_not_proved(monkeypatch, capsys):
    found = found_out(least_share=0.55, one_run_epsilon=0.9)
    monkeypatch.setattr(app.audit.audit, "audit", lambda *arguments: found)
    assert main(["audit", "--run-config", RUN]) == 0
    assert "did not refute it, which proves no more" in capsys.readouterr().out


def test_a_refuted_claim_has_an_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(app.audit.audit, "audit", lambda *arguments: found_out())
    assert main(["audit", "--run-config", RUN]) == 1
    out = capsys.readouterr().out
    assert "REFUTED" in out
    assert "499 of the 500 surest guesses are right: epsilon at least 3.25" in out
    assert "65.00% are expected at least; the claim allows 60.00%" in out
    assert "multiplier is at most 1.3 (planned 2), epsilon at least 1.9" in out


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["--run-config", 'task="breast_cancer"'], "privacy=none claims nothing"),
        (["--run-config", "num-rounds"], "--run-config 'num-rounds'"),
        (["--run-config", "num-rounds=0"], "num-rounds=0: must be at least 1"),
        (["--run-config", RUN, "--repeats", "0"], "--repeats 0: must be at least 1"),
        (["--run-config", RUN, "--canaries", "-1"], "--canaries -1: must be at least 1"),
        (["--run-config", RUN, "--confidence", "2"], "--confidence 2: must be above 0"),
        (["--run-config", RUN, "--json", "/nowhere/a.json"], "there is no such folder"),
    ],
)
def test_an_error_is_one_line(capsys, argv, match):
    assert match in complaint(capsys, *argv)


def test_help_says_what_it_does_and_what_it_does_not_prove(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["audit", "--help"])
    assert leaving.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "A claim that stands is not proved" in told
    assert "No network, no real record and no ledger is touched" in told
