"""What leaves a client, above all when something goes wrong."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import yaml
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

import app.client
import app.node.settings
import app.round.contribute
import app.server
from app.builders.workload import build_task, build_workload
from app.config.load import ConfigError, load_config
from app.node.settings import settings_of
from app.round.contribute import rng_of
from app.simulation.in_process import InProcessGrid
from privacy.noise.randomness import secure_generator
from strategies.refusals import REFUSAL_CODE, Reason, reason_of
from strategies.rounds.records import from_record, sums_key, to_arrays
from strategies.rounds.transport import PollingGrid
from tasks.base import DataSource
from tasks.records import DataError
from tasks.training.local import get_parameters, initial_model, train

SECRET = "patient Jane Doe"


@pytest.fixture(autouse=True)
def simulated(monkeypatch):
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", True)
    InProcessGrid({})  # gives Flower's messages an identity


def ask(run_config, message_type="train", arrays=None, node_config=None):
    config = load_config(run_config)
    if arrays is None:
        arrays = to_arrays(get_parameters(initial_model(build_task(config))))
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": 1})})
    context = Context(
        run_id=1,
        node_id=7,
        node_config=node_config or {"partition-id": 0, "num-partitions": 3},
        state=RecordDict(),
        run_config=dict(run_config),
    )
    message = Message(content, dst_node_id=7, message_type=message_type)
    return app.client.app(message, context)


RUN_CONFIG = {
    "task": "breast_cancer",
    "aggregation": "plain",
    "overrides": "task.training.num_steps=2",
}


def test_a_training_reply_holds_the_update_and_the_sums_and_nothing_else():
    reply = ask(RUN_CONFIG)
    assert set(reply.content) == {"update", "sums"}
    assert set(reply.content["update"]) == {"update"}
    names = {"num_examples", "train_loss"}
    names |= {"eval_num_examples", "eval_loss", "eval_accuracy"}
    names |= {f"eval_bin_{number}" for number in range(512)}
    assert set(reply.content["sums"]) == {sums_key(tuple(sorted(names)))}


def test_the_update_is_local_minus_global():
    config = load_config({**RUN_CONFIG, "deterministic": True})
    task = build_task(config)
    model = initial_model(task)
    before = get_parameters(model)
    run_config = {**RUN_CONFIG, "deterministic": True}
    names = build_workload(config).sum_names(training=True)
    content = ask(run_config, arrays=to_arrays(before)).content
    reply = from_record(content, 31, names)
    source = DataSource(0, 3)
    rng = rng_of(config, source.partition_id, 1, secure=False)
    rng.integers(2**63)
    result = train(task, model, task.load(source).train, rng, 0.0)
    assert reply.sums["num_examples"] == len(task.load(source).train) == 150
    assert reply.sums["train_loss"] == pytest.approx(result.mean_loss * 150)
    after = get_parameters(model)
    expected = np.concatenate([(after[n] - before[n]).ravel() for n in before])
    np.testing.assert_array_equal(reply.update, expected)
    assert np.abs(expected).max() > 0


def test_an_evaluation_reply_has_no_update():
    reply = ask(RUN_CONFIG, "evaluate")
    assert reply.content["update"]["update"].numpy().size == 0
    names = build_workload(load_config(RUN_CONFIG)).sum_names(training=False)
    assert "num_examples" not in names
    assert from_record(reply.content, 0, names).sums["eval_num_examples"] > 0


def test_a_proximal_term_holds_the_client_near_the_global_model():
    sizes = []
    for mu in (0.001, 10.0):
        free = f"task.training.num_steps=20 algorithm.proximal_mu={mu}"
        run_config = {"algorithm": "fedprox", "overrides": free, "deterministic": True}
        reply = ask(RUN_CONFIG | run_config)
        sizes.append(np.linalg.norm(reply.content["update"]["update"].numpy()))
    assert sizes[1] < sizes[0] / 2


def leak(*args, **kwargs):
    raise RuntimeError(SECRET)


def refuse(*args, **kwargs):
    raise DataError(SECRET)


@pytest.mark.parametrize(
    ("handler", "reason"), [(leak, Reason.INTERNAL_ERROR), (refuse, Reason.DATA_REFUSED)]
)
def test_no_text_of_an_exception_leaves_the_node(monkeypatch, caplog, handler, reason):
    monkeypatch.setattr(app.round.contribute, "_exact", handler)
    logging.getLogger("flwr").addHandler(caplog.handler)
    reply = ask(RUN_CONFIG)
    assert reply.has_error()
    assert (reply.error.code, reply.error.reason) == (REFUSAL_CODE, reason.value)
    assert SECRET not in repr(vars(reply))
    assert SECRET in caplog.text
    assert "7 (partition 0)" in caplog.text


def test_a_diverged_model_is_refused_not_sent():
    free = "task.model=mlp task.training.learning_rate=1e30 task.training.num_steps=20"
    reply = ask(RUN_CONFIG | {"overrides": free})
    assert reason_of(reply) is Reason.TRAINING_DIVERGED


@pytest.mark.parametrize(
    "arrays",
    [
        ArrayRecord(),
        to_arrays({"weight": np.zeros((1, 30), np.float32)}),
        to_arrays({"weight": np.zeros((1, 29), np.float32), "bias": np.zeros(1, np.float32)}),
        to_arrays({"weight": np.zeros((1, 30), np.float32), "other": np.zeros(1, np.float32)}),
    ],
)
def test_a_model_of_another_shape_is_refused(arrays):
    assert reason_of(ask(RUN_CONFIG, arrays=arrays)) is Reason.MODEL_REFUSED


def test_a_wrong_run_config_is_refused():
    arrays = to_arrays({"weight": np.zeros(1, np.float32)})
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": 1})})
    context = Context(1, 7, {}, RecordDict(), {"num-rounds": 0})
    message = Message(content, dst_node_id=7, message_type="train")
    assert reason_of(app.client.app(message, context)) is Reason.CONFIG_REFUSED


def test_reasons_of_others_errors():
    message = Message(RecordDict(), dst_node_id=7, message_type="train")
    flowers = Message(Error(2, f"Traceback ... {SECRET}"), reply_to=message)
    assert reason_of(flowers) is Reason.FLOWER_ERROR
    gone = Message(Error(ErrorCode.NODE_UNAVAILABLE, "no heartbeat"), reply_to=message)
    assert reason_of(gone) is Reason.NO_ANSWER
    unknown = Message(Error(REFUSAL_CODE, "whatever"), reply_to=message)
    assert reason_of(unknown) is Reason.MALFORMED_REPLY


@pytest.mark.parametrize(
    "run_config",
    [{"deterministic": True}, {"data-dir": "/etc"}, {"simulation-nodes": "/etc/x"}],
)
def test_outside_a_simulation_the_run_config_names_no_paths_and_no_randomness(run_config):
    with pytest.raises(ConfigError, match="works in a simulation only"):
        settings_of({}, load_config(run_config), simulated=False)


def test_outside_a_simulation_a_node_has_its_own_path(tmp_path):
    own = {"data-path": str(tmp_path), "partition-id": 0, "num-partitions": 2}
    settings = settings_of(own, load_config({}), simulated=False)
    assert settings.source.data_path == tmp_path


def test_a_process_of_a_supernode_is_no_simulation():
    code = (
        "import app.client, app.round.contribute;"
        " from app.node.settings import in_simulation as s; print(s())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize(
    "run_config",
    [{"deterministic": True}, {"data-dir": "/etc"}, {"simulation-nodes": "/etc/x"}],
)
def test_a_client_outside_a_simulation_refuses_such_a_run_config(monkeypatch, run_config):
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", False)
    assert reason_of(ask(RUN_CONFIG | run_config)) is Reason.CONFIG_REFUSED


def test_a_server_outside_a_simulation_refuses_such_a_run_config(tmp_path):
    config = load_config({"deterministic": True, "output-dir": str(tmp_path / "run")})
    with pytest.raises(ConfigError, match="deterministic works in a simulation only"):
        app.server.run(PollingGrid(InProcessGrid({})), config, run_id=1, simulated=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("node_config", "expected"),
    [
        ({}, "lacks partition-id or num-partitions"),
        ({"partition-id": 1}, "lacks partition-id or num-partitions"),
        ({"partition-id": 3, "num-partitions": 3}, "partition-id=3 is not in"),
        ({"partition-id": "x", "num-partitions": 3}, "must be whole"),
    ],
)
def test_a_node_that_shares_a_data_set_must_say_which_part_is_its_own(node_config, expected):
    with pytest.raises(DataError, match=expected):
        settings_of(node_config, load_config(RUN_CONFIG), simulated=False)


def test_the_local_log_names_the_broken_file(tmp_path, caplog):
    for part in (
        "train-images-idx3",
        "train-labels-idx1",
        "t10k-images-idx3",
        "t10k-labels-idx1",
    ):
        (tmp_path / f"{part}-ubyte.gz").write_bytes(b"no gzip")
    logging.getLogger("flwr").addHandler(caplog.handler)
    arrays = to_arrays({"weight": np.zeros(1, np.float32)})
    reply = ask(
        {"task": "mnist", "aggregation": "plain", "data-dir": str(tmp_path)}, arrays=arrays
    )
    assert reason_of(reply) is Reason.DATA_REFUSED
    assert "train-images-idx3-ubyte.gz" in caplog.text


def test_clients_with_the_same_seed_draw_different_batches():
    config = load_config({"deterministic": True})
    draws = [rng_of(config, i, r, secure=False).integers(2**60) for i in (0, 1) for r in (1, 2)]
    assert len(set(draws)) == 4


def test_what_an_adversary_must_not_foretell_is_drawn_from_the_operating_system():
    drawn = rng_of(load_config({}), 0, 1, secure=True)
    assert type(drawn.bit_generator) is type(secure_generator().bit_generator)
    told = rng_of(load_config({"deterministic": True}), 0, 1, secure=True)
    assert type(told.bit_generator) is not type(drawn.bit_generator)


def nodes_file(tmp_path, content):
    path = tmp_path / "nodes.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_config({"simulation-nodes": str(path)})


def test_a_file_gives_each_simulated_node_its_path(tmp_path):
    config = nodes_file(tmp_path, [{"data-path": "one.csv"}, {"data-path": "/abs/two.csv"}])
    paths = [
        settings_of(
            {"partition-id": i, "num-partitions": 2}, config, simulated=True
        ).source.data_path
        for i in (0, 1)
    ]
    assert [str(path) for path in paths] == [str(tmp_path / "one.csv"), "/abs/two.csv"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"data-path": "a"}], "1 entries, but this is simulated node 1"),
        ({"data-path": "a"}, "must be a YAML list of mappings"),
        (["a", "b"], "must be a YAML list of mappings"),
        ([{}, {"data_path": "a"}], "entry 1 has 'data_path'; only data-path, state-path"),
        ("- [", "nodes.yaml"),
    ],
)
def test_a_wrong_file_of_nodes_is_refused(tmp_path, content, expected):
    config = nodes_file(tmp_path, content)
    with pytest.raises(DataError, match=expected):
        settings_of({"partition-id": 1, "num-partitions": 2}, config, simulated=True)
