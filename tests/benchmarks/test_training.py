import gzip
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import tasks.mnist
from app.config.load import load_config
from app.preflight.run_plan import plan_run
from benchmarks import (
    flamby_heart,
    heart_privacy,
    mnist,
    mnist_peer,
    mnist_rows,
    mnist_settings,
    mnist_silos,
    scattering,
)
from benchmarks.mnist_settings import Result, Settings
from privacy.accounting.calibration import calibrate
from privacy.plan.release import Mechanism, Neighbours, Release
from privacy.unit import Unit
from tasks.heart import HOSPITALS
from tasks.schema import Optimizer
from tests import ROOT

SHORT = heart_privacy.Settings(num_rounds=2)
QUICK = Settings(num_rounds=2, batch_size=60, num_records=240, average_from=1)


@pytest.fixture
def made_up_digits(tmp_path):
    """Return a folder with MNIST's four files: a bright square whose place is the digit."""
    rng = np.random.default_rng(0)
    for stem, number in (("train", 240), ("t10k", 60)):
        labels = rng.permutation(np.arange(number) % 10).astype(np.uint8)
        images = np.zeros((number, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 5)
            image[14 * row : 14 * row + 10, 5 * column : 5 * column + 5] = 255
        for kind, array in (("images", images), ("labels", labels)):
            header = np.array([0x800 + array.ndim, *array.shape], ">u4").tobytes()
            file = tmp_path / f"{stem}-{kind}-idx{array.ndim}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("mode", heart_privacy.MODES)
def test_a_private_row_is_what_the_hospitals_ledgers_say(mode, made_up_hospitals):
    row = heart_privacy.measure_private(made_up_hospitals, mode, 1.0, [7], SHORT)
    # The noise is calibrated to epsilon, so that all of it and no more is spent.
    assert row.ledger_epsilon is not None
    assert 0.99 < row.ledger_epsilon <= 1.0
    assert row.row.deviation is None
    assert row.row.mean == pytest.approx(np.mean(list(row.row.hospitals.values())))


def test_local_steps_add_up_to_the_common_step(made_up_hospitals):
    def config(mode):
        return load_config(heart_privacy._run_config(made_up_hospitals, mode, 1.0, SHORT))

    local, central = config("example_local"), config("example_central")
    shrunk = central.privacy.expected_batch_size / local.privacy.expected_batch_size
    assert shrunk == len(HOSPITALS)
    step = local.task.training
    # One plain step of each hospital, which is what the sum of the gradients is divided into.
    assert (step.optimizer, step.momentum, step.num_steps) == (Optimizer.sgd, 0, 1)
    assert step.weight_decay == 0
    plans = {config: plan_run(config).guarantee["recipe"] for config in (local, central)}
    assert plans[local]["learning_rate"] == plans[local]["settled"]
    assert not plans[local]["objection"]
    # Noise of each hospital, and none of it shared: a shorter step, or the longest.
    assert plans[local]["settled"] <= plans[central]["settled"]
    assert local.average_from == central.average_from == SHORT.average_from


@pytest.mark.slow
def test_the_private_comparison_prints_what_it_writes(
    made_up_hospitals,
    tmp_path,
    monkeypatch,
    capsys,
):
    monkeypatch.setattr(heart_privacy, "Settings", lambda: SHORT)
    monkeypatch.setattr(heart_privacy, "EPSILONS", (1.0,))
    json_file = tmp_path / "figures.json"
    options = ["--data-dir", str(made_up_hospitals), "--rounds", "1", "--privacy"]
    status = flamby_heart.main([*options, "--seeds", "7", "--json", str(json_file)])
    figures = json.loads(json_file.read_text())
    text = capsys.readouterr().out
    rows = figures["rows"]
    assert [row["mode"] for row in rows] == [""] * 5 + list(heart_privacy.MODES)
    assert [row["epsilon"] for row in rows] == [None, None, None, 4.21, None, 1.0, 1.0, 1.0]
    for row, line in zip(rows, text.splitlines()[2:], strict=False):
        assert line.startswith(row["system"])
        assert f" {row['mean']:.3f}" in line
    assert "chosen by cross-validation on training records" in text
    assert status == (1 if figures["shortcomings"] else 0)
    assert figures["settings"]["num_rounds"] == 2


def test_what_is_not_reached_is_said():
    def shortcomings(mode, epsilon, mean, ledger):
        row = flamby_heart.Row("x", "y", mean, None, {})
        private = heart_privacy.PrivateRow(
            row=row, mode=mode, epsilon=epsilon, ledger_epsilon=ledger
        )
        return private.shortcomings

    assert not shortcomings("example_distributed", 1.0, 0.80, 1.0)
    assert "0.8 required" in shortcomings("example_distributed", 1.0, 0.799, 1.0)[0]
    assert "0.79 required" in shortcomings("example_distributed", 0.5, 0.789, 0.5)[0]
    assert not shortcomings("example_local", 0.5, 0.5, 0.5)
    assert "ledger" in shortcomings("example_local", 0.5, 0.5, 0.5001)[0]


def test_a_hospital_over_its_cap_is_one_clear_line(
    made_up_hospitals,
    monkeypatch,
    capsys,
):
    monkeypatch.setattr(heart_privacy, "Settings", lambda: SHORT)
    nodes = heart_privacy._nodes
    monkeypatch.setattr(heart_privacy, "_nodes", lambda f, m, epsilon: nodes(f, m, epsilon / 2))
    options = ["--data-dir", str(made_up_hospitals), "--rounds", "1", "--seeds", "7"]
    assert flamby_heart.main([*options, "--privacy"]) == 2
    assert capsys.readouterr().err.count("\n") >= 1


@pytest.mark.slow
def test_opacus_agrees_on_the_noise():
    def schedule(noise_multiplier):
        release = Release(
            unit=Unit.EXAMPLE,
            neighbours=Neighbours.ADD_OR_REMOVE,
            mechanism=Mechanism.GAUSSIAN,
            l1_sensitivity=2.0**30,
            l2_sensitivity=2.0**30,
            noise_scale=2.0**30 * noise_multiplier,
            num_shares=1,
            dimension=1,
            sampling_rate=QUICK.sampling_rate,
            num_steps=1,
        )
        return [(release, QUICK.num_rounds)]

    ours = calibrate(schedule, QUICK.epsilon, QUICK.delta)
    assert mnist_peer.noise_multiplier(QUICK) == pytest.approx(ours, rel=0.01)


@pytest.mark.slow
def test_both_systems_learn_made_up_digits(made_up_digits):
    settings = replace(QUICK, epsilon=100.0, num_rounds=20, average_from=20)
    peer = mnist_peer.run(made_up_digits, settings, 7)
    ours = mnist_silos.run_private(made_up_digits, settings, 10, 0, 7)
    for result in (peer, ours):
        assert result.accuracy > 0.9
        assert result.noise_multiplier is not None
        assert result.seconds_per_round > 0


@pytest.mark.slow
def test_mnist_prints_what_it_writes(made_up_digits, tmp_path, capsys):
    json_file = tmp_path / "figures.json"
    options = ["--data-dir", str(made_up_digits), "--privacy", "--quick", "--seeds", "7"]
    options += ["--fedavg-rounds", "1", "--workers", "1", "--json", str(json_file)]
    assert mnist.main(options) == 0
    figures = json.loads(json_file.read_text())
    text = capsys.readouterr().out
    rows = figures["rows"]
    assert [(r["min_survivors"], r["max_colluding"]) for r in rows[2:]] == list(mnist.SURVIVORS)
    assert rows[0]["results"][0]["noise_multiplier"] is None
    for row, line in zip(rows, text.splitlines()[2:], strict=False):
        assert line.startswith(row["system"])
        assert f"  {row['mean']:.2f}" in line
    assert "The test images\nhad no part in it" in text
    assert figures["quick"]
    assert figures["settings"]["num_records"] == 240


def test_points_are_lost_to_opacus_and_required_where_all_answer():
    def row(system, mean, *terms):
        result = Result(accuracy=mean, noise_multiplier=1.0, seconds_per_round=1.0)
        names = dict(zip(("min_survivors", "max_colluding"), terms, strict=bool(terms)))
        return mnist_rows.Row(system=system, results=[result], **names)

    central = row(mnist_rows.CENTRAL, 0.955)
    shares = [row("x", 0.951, 10, 0), row("x", 0.949, 10, 1), row("x", 0.9, 8, 1)]
    found = mnist_rows.losses([central, *shares])
    assert [holds for _, _, holds in found] == [True, False, None]
    assert [lost for _, lost, _ in found] == pytest.approx([0.4, 0.6, 5.5])
    assert mnist_rows.losses(shares) == []


def test_missing_digits_are_one_clear_line(tmp_path, capsys):
    assert mnist.main(["--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "train" in error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flamby_heart", "mnist"])
def test_help_has_the_private_comparison(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--privacy" in run.stdout
    assert "exit status" in run.stdout


@pytest.mark.slow
def test_scattering_prints_what_it_writes(made_up_digits, tmp_path, capsys):
    json_file = tmp_path / "figures.json"
    options = ["--data-dir", str(made_up_digits), "--quick", "--seeds", "7", "--epsilons", "3"]
    assert scattering.main([*options, "--json", str(json_file)]) == 0
    (row,) = json.loads(json_file.read_text())["rows"]
    text = capsys.readouterr().out
    assert f"  {row['median']:.2f}" in text
    assert "INFO  epsilon 3" in text
    assert row["settings"]["num_rounds"] == 3
    assert row["results"][0]["noise_multiplier"] > 0


def test_features_are_computed_once_and_are_the_tasks_own(made_up_digits):
    _, plain = mnist_settings.pooled(made_up_digits, 7, "scattering")
    images = mnist_settings.pooled(made_up_digits, 7)[1].train.inputs
    with scattering.features_in_memory():
        first = tasks.mnist.scattering_features(images[:50])
        again = tasks.mnist.scattering_features(images[::-1])[::-1]
    assert np.array_equal(first, plain.train.inputs[:50])
    assert np.array_equal(again, plain.train.inputs)
