"""The node's own part of a model over attempts and runs: against FedPer by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.builders.privacy import privacy_plan
from app.builders.workload import build_workload
from app.config.load import load_config
from app.node.own_models import SUFFIX, OwnModels
from app.node.own_report import read_own
from app.results.model_file import read_model
from app.round import client_side
from app.round.contribute import rng_of
from app.simulation.in_process import make_clients, simulate
from strategies import aggregation
from strategies.rounds.records import SUMS
from tasks.base import DataSource
from tasks.training.local import (
    evaluate,
    seed_torch,
    train,
)
from tests.kits.fedper import NUM, ByHand, assert_same, heads_of, run_of
from tests.kits.killed_runs import resumed, run_until
from tests.kits.private_kit import Nodes, Traced, policy, run_config_of, write_policy
from workloads.base import Privacy
from workloads.model_arrays import hash_arrays, parted
from workloads.model_update import ModelUpdate
from workloads.values import Query


@pytest.mark.slow
def test_a_run_is_fedper(tmp_path):
    nodes = Nodes(tmp_path, NUM)
    config = run_of(tmp_path, nodes)
    outcome = simulate(config, NUM)
    due = ByHand(config)
    due.round(1)
    due.round(2)
    due.require_like(nodes, tmp_path / "run")
    for name, value in due.scores().items():
        assert outcome.metrics[name] == pytest.approx(value, abs=1e-5)


def test_nothing_of_a_head_is_in_any_message(tmp_path):
    size = sum(values.size for values in ByHand(run_of(tmp_path)).shared.values())
    traced = Traced(run_of(tmp_path), NUM)
    for pair in traced.messages:
        for message in pair:
            records = dict(message.content.array_records)
            # Sums over records, one for each agreed name: the server refuses others.
            records.pop(SUMS, None)
            held = records.values()
            arrays = {name: array for record in held for name, array in record.items()}
            assert not any("classifier" in name for name in arrays)
            assert sum(array.numpy().size for array in arrays.values()) <= size
            assert "personal" not in str(message.content.config_records)


@pytest.mark.slow
def test_nodes_without_a_file_keep_it_in_their_context(tmp_path):
    nodes = Nodes(tmp_path, NUM)
    with_files = simulate(run_of(tmp_path, nodes), NUM)
    without = simulate(run_of(tmp_path, output_dir=str(tmp_path / "other")), NUM)
    assert_same([with_files.state.arrays], [without.state.arrays])


@pytest.mark.slow
def test_under_masks_it_is_the_same_but_for_the_grid(tmp_path):
    nodes = Nodes(tmp_path, NUM)
    config = run_of(tmp_path, nodes, "aggregation.min_survivors=3", aggregation="secagg")
    simulate(config, NUM)
    due = ByHand(config)
    due.round(1)
    due.round(2)
    found = heads_of(tmp_path / "run", nodes)
    for head, expected in zip(found, due.heads, strict=True):
        for name, values in head.items():
            np.testing.assert_allclose(values, expected[name], atol=1e-3)


@pytest.mark.slow
def test_an_attempt_that_is_repeated_trains_from_the_same_head(tmp_path):
    nodes, config = Nodes(tmp_path, NUM), run_of(tmp_path, Nodes(tmp_path, NUM))

    def twice(real):
        return lambda message: (real(message), real(message))[1]

    clients = {node: twice(real) for node, real in make_clients(config, NUM).items()}
    simulate(config, NUM, clients)
    due = ByHand(config)
    due.round(1)
    due.round(2)
    due.require_like(nodes, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("run_id", [1, 2])
def test_a_run_that_begins_afresh_has_a_fresh_head(tmp_path, run_id):
    """In one process all runs have the same id."""
    nodes = Nodes(tmp_path, NUM)
    first = simulate(run_of(tmp_path, nodes), NUM)
    heads = heads_of(tmp_path / "run", nodes)
    again = run_of(tmp_path, nodes, output_dir=str(tmp_path / "again"))
    second = simulate(again, NUM, run_id=run_id)
    assert_same([first.state.arrays], [second.state.arrays])
    assert_same(heads, heads_of(tmp_path / "again", nodes))


@pytest.mark.slow
def test_a_run_with_another_one_s_model_goes_on_with_what_belongs_to_it(tmp_path):
    """Whichever run of the same task the nodes have seen in between."""
    nodes = Nodes(tmp_path, NUM)
    simulate(run_of(tmp_path, nodes, num_rounds=1), NUM)
    other = run_of(
        tmp_path, nodes, "task.training.learning_rate=0.01", output_dir=str(tmp_path / "other")
    )
    simulate(other, NUM, run_id=2)
    config = run_of(
        tmp_path, nodes, initial_model=str(tmp_path / "run"), output_dir=str(tmp_path / "next")
    )
    simulate(config, NUM, run_id=3)
    due = ByHand(config)
    for number in (1, 1, 2):
        due.round(number)
    due.require_like(nodes, tmp_path / "next")


@pytest.mark.slow
def test_what_one_data_set_has_trained_goes_with_no_other(tmp_path, caplog):
    """Whatever it has learnt there is in no ledger of the other, whose runs would show it."""
    own = tmp_path / "own"
    own.mkdir()
    wards = policy("client_central", dataset="wards", privacy=["none"])
    nodes = Nodes(own, NUM, dict.fromkeys(range(NUM), wards))
    words = {"num_rounds": 1}

    def run(name, run_id, config, **more):
        simulate(config | {"output-dir": str(tmp_path / name), **more}, NUM, run_id=run_id)
        return [before(nodes, node) for node in range(NUM)]

    exact = run_of(tmp_path, nodes, **words)
    begun = {"initial-model": str(tmp_path / "first")}
    private = {
        "output_dir": "",
        "simulation_nodes": str(nodes.file),
        "population": NUM,
        **words,
    }
    free = "task.personal=[classifier]"
    fresh = run("first", 1, exact)
    for node in range(NUM):
        write_policy(own / f"policy{node}.yaml", policy("client_central", dataset="other"))
    config = run_config_of(tmp_path, "client_central", "plain", free, task="digits", **private)
    assert_same(run("second", 2, config, **begun), fresh)
    assert caplog.text.count("keeps no part of its own for this model") == NUM
    # Of the first one it is there.
    for node in range(NUM):
        write_policy(own / f"policy{node}.yaml", wards)
    assert np.abs(run("third", 3, exact, **begun)[0]["classifier.bias"]).max() > 1e-4
    assert caplog.text.count("keeps no part of its own for this model") == NUM


def before(nodes, node):
    """Return the part that a node's last round began with."""
    file = nodes.state(node).with_name(f"state.sqlite{SUFFIX}")
    kept = OwnModels(file, 0).of_all_runs("personal")[0]
    return parted("before/", kept.arrays)[0]


@pytest.mark.slow
def test_of_runs_that_showed_no_last_model_none_is_guessed(tmp_path, caplog):
    """Two runs without scores, and one that begins with the first one's model."""
    nodes = Nodes(tmp_path, 4)
    words = "task.personal=[classifier]"
    given = {"task": "digits", "num_rounds": 1, "simulation_nodes": str(nodes.file)}

    def run(name, run_id, **more):
        folder = {"output_dir": str(tmp_path / name)}
        config = run_config_of(
            tmp_path, "client_central", "plain", words, **given, **folder, **more
        )
        simulate(config, 4, run_id=run_id)

    run("first", 1)
    run("next", 2, initial_model=str(tmp_path / "first"))
    assert "keeps no part of its own" not in caplog.text
    run("other", 3)
    run("last", 4, initial_model=str(tmp_path / "next"))
    assert caplog.text.count("keeps no part of its own for this model") == 4


@pytest.mark.slow
def test_a_resumed_run_without_scores_finds_its_part_among_those_of_others(tmp_path, caplog):
    """Which had other numbers of rounds."""
    nodes = Nodes(tmp_path, 4)
    words = "task.personal=[classifier] privacy.spare_attempts=1"
    given = {"task": "digits", "num_rounds": 3, "simulation_nodes": str(nodes.file)}

    def config(name):
        folder = {"output_dir": str(tmp_path / name)}
        return run_config_of(tmp_path, "client_central", "plain", words, **given, **folder)

    simulate(config("other"), 4, run_id=5)
    run_until(config("stopped"), 1, 4)
    simulate(resumed(config("stopped")), 4, run_id=7)
    assert "keeps no part of its own" not in caplog.text


@pytest.mark.slow
def test_another_architecture_s_part_is_not_taken(tmp_path, caplog):
    """The heads of both have one shape."""
    nodes = Nodes(tmp_path, 4)
    given = {"num_rounds": 1, "simulation_nodes": str(nodes.file)}
    words = "task.model=mlp task.hidden=8 task.personal=[2.bias]"

    def run(name, run_id, more, **keys):
        folder = {"output_dir": str(tmp_path / name)}
        free = f"{words} {more}"
        config = run_config_of(tmp_path, "client_central", "plain", free, **given, **folder)
        simulate({**config, **keys}, 4, run_id=run_id)

    run("first", 1, "")
    run("wide", 2, "task.hidden=9")
    run("again", 3, "", **{"initial-model": str(tmp_path / "first")})
    assert "keeps no part of its own" not in caplog.text
    first, again = (
        OwnModels(nodes.state(0).with_name(f"state.sqlite{SUFFIX}"), run_id).get("personal")
        for run_id in (1, 3)
    )
    assert_same([parted("after/", first.arrays)[0]], [parted("before/", again.arrays)[0]])


def test_a_state_is_hashed_once_in_a_message(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(
        aggregation, "hash_arrays", lambda state: found.append(state) or hash_arrays(state)
    )
    simulate(run_of(tmp_path, Nodes(tmp_path, NUM)), NUM)
    # In round 1 for what is kept, in round 2 and the last evaluation for what is there, too.
    assert len(found) == 3 * NUM


def test_a_new_node_begins_with_a_fresh_head_and_says_so(tmp_path, caplog):
    simulate(run_of(tmp_path, num_rounds=1), NUM)
    nodes = Nodes(tmp_path, NUM)
    config = run_of(
        tmp_path, nodes, initial_model=str(tmp_path / "run"), output_dir=str(tmp_path / "next")
    )
    simulate({**config, "num-rounds": 1}, NUM, run_id=3)
    assert caplog.text.count("keeps no part of its own for this model") == NUM


@pytest.mark.slow
def test_a_resumed_run_is_the_one_that_was_not_stopped(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    of_whole, of_parts = Nodes(whole, NUM), Nodes(parts, NUM)
    simulate(run_of(whole, of_whole, num_rounds=3), NUM)
    config = run_of(parts, of_parts, num_rounds=3)

    # The last node of the round that is killed has trained in it already.
    run_until({**config}, 1, NUM)
    simulate(resumed(config), NUM, run_id=7)
    assert_same(heads_of(whole / "run", of_whole), heads_of(parts / "run", of_parts))
    arrays = [read_model(folder / "run" / "model.safetensors") for folder in (whole, parts)]
    assert_same([arrays[0].state.arrays], [arrays[1].state.arrays])


@pytest.mark.slow
def test_a_round_that_was_begun_before_is_trained_from_where_it_began(tmp_path):
    """A resumed run asks a round again that some nodes have trained in."""
    nodes = Nodes(tmp_path, NUM)
    config = run_of(tmp_path, nodes, num_rounds=3)
    clients, last = make_clients(config, NUM), 1000 + NUM - 1

    class KilledError(Exception):
        pass

    def killer(message):
        if message.content["config"]["server-round"] == 2:
            raise KilledError
        return clients[last](message)

    with pytest.raises(KilledError):
        simulate(config, NUM, clients | {last: killer})
    simulate(resumed(config), NUM, run_id=7)
    due = ByHand(config)
    for number in (1, 2, 3):
        due.round(number)
    due.require_like(nodes, tmp_path / "run")


def test_a_head_that_diverged_is_not_kept(tmp_path, monkeypatch, caplog):
    nodes = Nodes(tmp_path, NUM)
    made = ModelUpdate.contribute

    def diverged(self, state, query, records, rng):
        found = made(self, state, query, records, rng)
        found.personal["classifier.bias"][0] = np.nan
        return found

    monkeypatch.setattr(ModelUpdate, "contribute", diverged)
    config = run_of(tmp_path, nodes)
    simulate(config, NUM)
    assert "keeps its own part as it was" in caplog.text
    assert_same(heads_of(tmp_path / "run", nodes), [ByHand(config).heads[0]] * NUM)


def test_alone_the_node_has_a_head_of_its_own(tmp_path, monkeypatch):
    """What a node would be by itself is not mixed with the head of the run."""
    monkeypatch.setattr(client_side, "ALONE_STREAM", 3)
    nodes = Nodes(tmp_path, NUM)
    text = nodes.file.read_text().replace("state-path:", "contribution: true\n  state-path:")
    nodes.file.write_text(text)
    config = run_of(tmp_path, nodes, num_rounds=2)
    simulate(config, NUM)
    due = ByHand(config)
    own, data = due.model(1), due.data[1]
    for number in (1, 2):
        rng = rng_of(due.config, 1, number, secure=False)
        seed_torch(int(rng.integers(2**63)))
        train(due.task, own, data.train, rng, 0.0)
    scores = evaluate(due.task, own, data.test)
    [run] = read_own(nodes.state(1)).runs
    alone = run.rounds[-1]["contribution"]["alone"]
    assert alone["loss"] == pytest.approx(scores["loss"] / scores["num_examples"], abs=1e-5)


class TestPrivate:
    """Under the client unit: whatever the head is, the term is within the clip norm."""

    @pytest.mark.parametrize("scale", [0.0, 1.0, 1e6, 1e30, np.inf, np.nan])
    def test_the_bound_is_over_every_head(self, scale):
        free = "task.personal=[classifier]"
        config = load_config(
            run_config_of(Path("/tmp"), "client_central", "plain", free, task="digits")
        )
        workload = build_workload(config)
        state, head = workload.initial_state(), workload.initial_personal()
        plan = privacy_plan(config, workload, workload.length(state))
        data = workload.task.load(DataSource(0, NUM))
        records = replace(data, personal={n: np.float32(scale) * v for n, v in head.items()})
        privacy = Privacy(plan=plan, clip_norm=0.5, loss_clip=5.0)
        found = workload.bounded(state, Query(1), records, np.random.default_rng(0), privacy)
        assert np.linalg.norm(found.update.in_units_of(1.0)) <= 0.5 * (1 + 1e-9)
        scored = workload.bounded_metrics(state, records, privacy)
        assert np.linalg.norm(scored.in_units_of(1.0)) <= workload.scores_bound * (1 + 1e-9)

    def test_a_masked_run_trains_heads(self, tmp_path):
        nodes = Nodes(tmp_path, 4)
        config = run_config_of(
            tmp_path,
            "client_distributed",
            "secagg",
            "task.personal=[classifier]",
            task="digits",
            simulation_nodes=str(nodes.file),
        )
        simulate(config, 4)
        heads = heads_of(tmp_path / "run", nodes)
        assert np.abs(heads[0]["classifier.bias"] - heads[1]["classifier.bias"]).max() > 1e-4
