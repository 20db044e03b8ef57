"""Where a node's own part of a model lies, and what a model file is good for without it."""

import csv

import numpy as np
import pytest
from flwr.app import RecordDict
from safetensors.numpy import load_file
from sklearn.datasets import load_breast_cancer

from app.api import load_model as load_saved
from app.builders.workload import build_workload
from app.cli.main import main
from app.config.load import load_config
from app.node import personal
from app.node.own_models import SUFFIX, ContextModels, KeptModel, OwnModels
from app.prediction.predictions import PredictionError
from app.results.model_file import ModelFileError, load_model
from app.simulation.in_process import simulate
from tasks.training.local import (
    outputs_of,
)
from tasks.training.personal import get_personal
from tests.kits.fedper import NUM, ByHand, assert_same, heads_of, run_of
from tests.kits.private_kit import Nodes, run_config_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folder of a run, and its nodes; each head is of its last round."""
    folder = tmp_path_factory.mktemp("made")
    nodes = Nodes(folder, NUM)
    simulate(run_of(folder, nodes), NUM)
    return folder, nodes


class TestFile:
    """What a model file without a head is good for."""

    def test_without_a_node_s_file_it_is_refused(self, made):
        folder, _ = made
        told = r"task\.personal=\[classifier\] stays on each node .* --node-state FILE"
        with pytest.raises(ModelFileError, match=told):
            load_model(folder / "run" / "model.safetensors")
        with pytest.raises(PredictionError, match=told):
            load_saved(folder / "run")

    def test_with_it_the_model_is_that_node_s(self, made):
        folder, nodes = made
        due = ByHand(run_of(folder))
        due.round(1)
        due.round(2)
        inputs = due.task.made_up_inputs(4)
        for node in range(NUM):
            module = load_saved(folder / "run", nodes.state(node)).module
            np.testing.assert_allclose(
                outputs_of(module, inputs), outputs_of(due.model(node), inputs), atol=1e-5
            )

    def test_a_file_that_is_none_is_refused(self, made):
        folder, _ = made
        file = folder / "run" / "model.safetensors"
        with pytest.raises(ModelFileError, match="is not there; give the state-path of a node"):
            load_model(file, folder / "nowhere.sqlite")
        (folder / f"broken{SUFFIX}").write_text("no database")
        with pytest.raises(ModelFileError, match="broken"):
            load_model(file, folder / "broken")

    def test_a_node_of_another_run_is_refused(self, made, tmp_path):
        folder, _ = made
        nodes = Nodes(tmp_path, NUM)
        simulate(run_of(tmp_path, nodes, seed=3), NUM)
        with pytest.raises(ModelFileError, match="no part of its own that goes with this"):
            load_model(folder / "run" / "model.safetensors", nodes.state(0))

    def test_where_all_is_in_the_file_it_has_no_effect(self, made, tmp_path):
        _, nodes = made
        words = "task.training.num_steps=1"
        simulate(run_of(tmp_path) | {"overrides": words, "num-rounds": 1}, NUM)
        with pytest.raises(ModelFileError, match=r"so --node-state .* has no effect"):
            load_model(tmp_path / "run" / "model.safetensors", nodes.state(0))

    def test_a_run_without_a_last_evaluation_has_its_head(self, tmp_path):
        """Then the node has never seen the last model, and goes by the round."""
        nodes = Nodes(tmp_path, 4)
        config = run_config_of(
            tmp_path,
            "client_central",
            "plain",
            "task.personal=[classifier]",
            task="digits",
            num_rounds=2,
            simulation_nodes=str(nodes.file),
        )
        simulate(config, 4)
        [kept] = OwnModels(nodes.state(0).with_name(f"state.sqlite{SUFFIX}"), 1).of_all_runs(
            "personal"
        )
        assert (kept.round, kept.told["after"]) == (2, "")
        _, model = load_model(tmp_path / "run" / "model.safetensors", nodes.state(0))
        np.testing.assert_array_equal(
            get_personal(model)["classifier.bias"], kept.arrays["after/classifier.bias"]
        )

    def test_it_is_exported_with_a_head(self, made, tmp_path, capsys):
        folder, nodes = made
        asked = ["export", str(folder / "run"), "--format", "safetensors", "--output"]
        assert main([*asked, str(tmp_path / "none")]) != 0
        assert "--node-state FILE" in capsys.readouterr().err
        own = tmp_path / "own.safetensors"
        assert main([*asked, str(own), "--node-state", str(nodes.state(0))]) == 0
        due = heads_of(folder / "run", nodes)[0]
        assert_same([due], [load_file(own)])


def test_rows_are_predicted_by_a_node_s_own_model(tmp_path, capsys):
    nodes = Nodes(tmp_path, NUM)
    words = "task.model=mlp task.personal=[2]"
    config = run_of(tmp_path, nodes, task="breast_cancer", overrides=words)
    simulate(config, NUM)
    table, rows = build_workload(load_config(config)).task.table, tmp_path / "rows.csv"
    names = [column.name for column in table.columns]
    with rows.open("w", newline="") as file:
        csv.writer(file).writerows([names, *load_breast_cancer().data[:9]])
    asked = ["predict", str(tmp_path / "run"), "--input", str(rows), "--output"]
    assert main([*asked, str(tmp_path / "none.csv")]) != 0
    assert "stays on each node" in capsys.readouterr().err
    found = []
    for node in (0, 1):
        output = tmp_path / f"{node}.csv"
        assert main([*asked, str(output), "--node-state", str(nodes.state(node))]) == 0
        found.append(output.read_text())
    assert found[0] != found[1]


class TestStore:
    """Where parts lie."""

    @pytest.mark.parametrize("kind", ["file", "context"])
    def test_what_is_put_is_found(self, tmp_path, kind):
        models = ContextModels(RecordDict())
        if kind == "file":
            models = OwnModels(tmp_path / "state", 5)
        assert models.get("personal") is None
        assert models.of_all_runs("personal") == []
        for number in (1, 2):
            arrays = {"before/w": np.arange(3.0), "after/b": np.float32(number)}
            models.put({"personal": KeptModel(round=number, arrays=arrays, told={"a": "b"})})
        found = models.get("personal")
        assert (found.round, found.told) == (2, {"a": "b"})
        np.testing.assert_array_equal(found.arrays["before/w"], np.arange(3.0))
        assert float(found.arrays["after/b"]) == 2.0
        assert [one.round for one in models.of_all_runs("personal")] == [2]

    def test_other_models_do_not_push_parts_out(self, tmp_path):
        file = tmp_path / "state"
        part = KeptModel(round=1, arrays={"w": np.zeros(1)})
        OwnModels(file, 0).put({"personal": part}, personal._KEPT_RUNS)
        for run in range(1, 9):
            OwnModels(file, run).put({"last": part, "alone": part})
        assert OwnModels(file, 0).get("personal") is not None
        assert OwnModels(file, 1).get("last") is None
        for run in range(personal._KEPT_RUNS):
            OwnModels(file, 20 + run).put({"personal": part}, personal._KEPT_RUNS)
        assert OwnModels(file, 0).get("personal") is None
        assert len(OwnModels(file, 0).of_all_runs("personal")) == personal._KEPT_RUNS
