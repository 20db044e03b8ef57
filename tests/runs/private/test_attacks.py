"""What a review as a malicious server and client found, so that it stays mended."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import strategies.codec.private_codec as encoding
from app.builders.privacy import private_codec
from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.node.own_report import Noted
from app.node.settings import settings_of, simulate_in_this_process
from app.round import contribute
from app.simulation.in_process import make_clients, simulate
from deploy.records import write_records
from strategies.codec import private_stages
from tasks.base import DataSource
from tasks.csv.encoding import encode
from tasks.records import DataError, Examples
from tests.kits import codec_kit
from tests.kits.private_kit import ADAPTIVE, run_config_of
from tests.kits.private_options import OVERRIDES
from workloads.base import Setup, Workload
from workloads.values import Query, State


def codec_of(option, size=64, free=""):
    overrides = f"{OVERRIDES[option]} {free}"
    return codec_kit.codec_of(load_config({"privacy": option, "overrides": overrides}), size)


@pytest.mark.parametrize("option", ["example_central", "client_central"])
def test_central_noise_is_added_modulo_the_modulus(monkeypatch, option):
    """Else one unit could move a sum at the edge, where a client may put it, by all of 2^b."""
    codec = codec_of(option)
    fine = codec.plan.refinement
    edge = np.full(codec.plan.padded_dimension, 2**31 - 1, np.uint32)
    decoded = []
    # The same noisy sum, split differently between the sum and the noise.
    for total, noise in ((edge, 3 * fine + 1), (edge + np.uint32(2), fine + 1)):
        monkeypatch.setattr(
            private_stages, "draw", lambda *a, noise=noise: np.full(a[2], noise, np.int64)
        )
        aggregate = codec.decode(
            total,
            np.zeros(0, np.uint64),
            codec_kit.context(4, 4),
            has_metrics=False,
        )
        decoded.append(aggregate.total)
    np.testing.assert_array_equal(decoded[0], decoded[1])


def test_central_noise_on_metrics_is_added_modulo_2_to_the_64(monkeypatch):
    metrics = "privacy.metrics.every=1 privacy.metrics.noise_multiplier=5"
    codec = codec_of("example_central", free=metrics)
    decoded = []
    for value, noise in ((2**63 - 1, 3), (-(2**63) + 1, 1)):
        monkeypatch.setattr(
            encoding, "draw", lambda *a, noise=noise: np.full(a[2], noise, np.int64)
        )
        scalars = np.full(len(codec.scalar_names), value, np.int64).view(np.uint64)
        aggregate = codec.decode(
            np.zeros(0, np.uint32),
            scalars,
            codec_kit.context(4, 4),
            has_metrics=True,
        )
        decoded.append(aggregate.sums)
    assert decoded[0] == decoded[1]


def csv_config(classes):
    privacy = OVERRIDES["example_local"]
    free = f"task.label.classes=[{','.join(classes)}] task.training.num_steps=1"
    return {
        "task": "csv_breast_cancer",
        "privacy": "example_local",
        "overrides": f"{privacy} {free}",
    }


def write_csv(path: Path) -> int:
    """Write a node's records and three rows that do not fit; return how many are malignant."""
    write_records(path, 0, 10)
    rows = path.read_text().splitlines()
    odd = [rows[1].rsplit(",", 1)[0] + ",oops", "x" + rows[1], "1,2,3"]
    path.write_text("\n".join([*rows, *odd]) + "\n")
    return sum(row.endswith("malignant") for row in rows)


def test_in_a_private_run_no_row_causes_a_refusal(tmp_path):
    """The server chooses the classes: a refusal would say whether anybody has another."""
    file = tmp_path / "one.csv"
    num_malignant = write_csv(file)
    config = load_config(csv_config(["malignant", "zzz"])).task
    with pytest.raises(DataError, match="benign"):
        encode(file, config)
    examples, summary = encode(file, config, by_line=True)
    assert len(examples) == num_malignant
    assert summary.misfits.num_rows >= 2
    nobody, _ = encode(file, load_config(csv_config(["a", "b"])).task, by_line=True)
    assert nobody.inputs.shape == (0, examples.inputs.shape[1])


@pytest.mark.slow
def test_a_run_over_files_without_a_usable_row_ends_like_any_other(tmp_path):
    for node in range(4):
        write_csv(tmp_path / f"{node}.csv")
    nodes = [{"data-path": f"{node}.csv"} for node in range(4)]
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))
    run_config = csv_config(["nobody", "noone"]) | {
        "num-rounds": 1,
        "aggregation": "plain",
        "output-dir": str(tmp_path / "run"),
        "simulation-nodes": str(tmp_path / "nodes.yaml"),
    }
    assert simulate(run_config, 4).num_rounds == 1


@pytest.mark.parametrize("value", ["5e-324", "1e-13", "1e300"])
def test_a_clip_norm_that_floating_point_cannot_keep_is_refused(value):
    overrides = OVERRIDES["example_central"].replace("clip_norm=0.5", f"clip_norm={value}")
    with pytest.raises(ConfigError, match=r"privacy\.clip_norm=.*must be in"):
        load_config({"privacy": "example_central", "overrides": overrides})


POLICY = """\
dataset: a
unit: example
privacy: [example_local]
max_epsilon: 3
delta: 0.001
min_survivors: 1
min_colluding: 0
data_path: {path}
"""


def test_the_policys_records_are_the_ones_that_are_used(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY.format(path="own.csv"))
    config = load_config(csv_config(["malignant", "benign"]))
    own = {"policy-file": str(tmp_path / "policy.yaml")}
    assert settings_of(own, config, True).source.data_path == tmp_path / "own.csv"
    with pytest.raises(DataError, match="take one of them out"):
        settings_of(own | {"data-path": str(tmp_path / "other.csv")}, config, True)


@pytest.mark.slow
def test_a_failure_in_training_is_noise_alone(monkeypatch, tmp_path):
    """Any record might be its reason; that there is no answer would tell of it."""
    simulate_in_this_process()
    codec_kit.failing(monkeypatch)
    run_config = {
        "task": "breast_cancer",
        "privacy": "example_distributed",
        "num-rounds": 1,
        "output-dir": str(tmp_path / "run"),
        "overrides": f"{OVERRIDES['example_distributed']} rounds.deadline_seconds=5",
    }
    outcome = simulate(run_config, 4, make_clients(run_config, 4))
    assert outcome.num_rounds == 1
    assert outcome.arrays["weight"].numpy().any()


def test_an_update_that_is_not_finite_is_noise_alone():
    codec = codec_of("client_distributed")
    spoilt = codec_kit.bounded(codec, np.full(64, np.nan, np.float32))
    assert not spoilt.update.integers.any()
    vector, _ = codec.encode(spoilt, codec_kit.context(4))
    assert len(vector) == codec.plan.padded_dimension


def test_a_node_without_records_sends_noise_under_local_noise_too(tmp_path):
    """Its noise comes with its steps: zeros would say that it has failed."""
    config = load_config(run_config_of(tmp_path, "example_local", "plain", num_rounds=1))
    workload = build_workload(config)
    state = workload.initial_state()
    request = SimpleNamespace(workload=workload, state=state, query=Query(1), training=True)
    session = SimpleNamespace(
        config=config, source=DataSource(), noted=Noted(), own_report=None
    )
    codec = private_codec(config, workload, workload.length(state))
    found = contribute._noise_alone(request, codec, session)
    assert len(np.unique(found.update.update)) > 20


def test_a_record_whose_term_fails_is_zero_and_takes_no_other_with_it():
    class Labels(Workload):
        def initial_state(self):
            return State({"counts": np.zeros(3)})

        def terms(self, state, query, records):
            return np.eye(3)[records.targets]

        def contribute(self, state, query, records, rng):
            raise NotImplementedError

        def apply(self, state, aggregate, server_round, step):
            raise NotImplementedError

    workload = Labels(Setup(task=None, algorithm=None))
    privacy = SimpleNamespace(
        plan=SimpleNamespace(terms=SimpleNamespace(sampling_rate=1.0)), clip_norm=1.0
    )
    labels = np.array([0, 1, 7, 2, 0])
    records = SimpleNamespace(train=Examples(np.zeros((5, 1), np.float32), labels))
    rng = np.random.default_rng(0)
    state = workload.initial_state()
    found = workload.bounded(state, Query(1), records, rng, privacy).update
    np.testing.assert_allclose(found.in_units_of(1.0), [2, 1, 1], rtol=1e-6)


def test_one_coin_for_two_releases_amplifies_one_of_them(tmp_path):
    """Update and clip bit of a client are drawn together: two coins would be too small."""
    free = f"rounds.cohort_fraction=0.1 rounds.min_clients=100 {ADAPTIVE}"
    run_config = run_config_of(tmp_path, "client_central", "secagg", free, population=100)
    config = load_config(run_config)
    workload = build_workload(config)
    plan = private_codec(config, workload, 31).plan
    rates = {one.name: one.release.sampling_rate for one in plan.planned(sampled=True)}
    assert rates["update"] == 0.1
    assert rates["clip_bits"] == 1.0
