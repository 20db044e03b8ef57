"""The commands of docs/running-a-federation.md, as they stand there."""

import json

import pytest
import yaml

from app.results.model_file import load_model
from deploy.trial_home import ROOT
from tests.deploy.pages import run_page

PAGE = ROOT / "docs" / "running-a-federation.md"
RUNS = {"first": 3, "with-west": 4, "without-east": 3, "upgraded": 3, "renewed": 3}


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("federation")
    run_page(PAGE, folder, "FED", 4)
    return folder


@pytest.mark.parametrize(("name", "num_nodes"), RUNS.items())
def test_every_run_had_all_who_belonged_to_it(federation, name, num_nodes):
    summary = json.loads((federation / name / "summary.json").read_text())
    assert (summary["status"], summary["num_rounds"]) == ("completed", 1)
    [line] = (federation / name / "metrics.jsonl").read_text().splitlines()
    assert (json.loads(line)["num_replies"], json.loads(line)["failures"]) == (num_nodes, {})
    load_model(federation / name / "model.safetensors")


def test_the_status_names_who_is_there(federation):
    text = (federation / "output").read_text()
    [_, first, second] = text.rsplit("connected", 2)
    for name in ("north", "east", "south", "west"):
        assert f"\n{name} " in first
    assert "\neast " not in second
    assert second.count(" since ") == 3
    assert "days left" in second


def test_the_folder_knows_the_members(federation):
    members = yaml.safe_load((federation / "federation.yaml").read_text())["members"]
    assert sorted(members) == ["north", "south", "west"]
    assert all(member["node_id"] for member in members.values())
    assert not (federation / "members" / "east").exists()
    names = [entry["name"] for entry in yaml.safe_load((federation / "peers").read_text())]
    assert names == ["north", "south", "west"]


def test_ledgers_hold_what_each_took_part_in(federation):
    for name, expected in (("north", 5), ("east", 2), ("west", 4)):
        log = (federation / "sites" / name / "node.log").read_text(errors="replace")
        assert log.count(": charged round 1: spent epsilon") == expected, log[-3000:]
