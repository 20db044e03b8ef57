"""The guard in the process that Flower starts, with Flower's own code around it."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.cli.install import install_from_fab
from flwr.common.config import get_project_dir

from app.approval.bundle import digest
from app.approval.clientapp import GuardError, require_known
from app.node.running_code import RUNNING
from strategies.refusals import REFUSAL_CODE
from strategies.secagg.messages import Advert, AdvertReply
from tests import ROOT

PROCESS = """
import json, os, sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {root!r})
from app.approval import clientapp
from strategies.secagg.messages import AdvertRequest
from strategies.secagg.fields import AttemptId
from strategies.masked.messages import ADVERT, unwrap, wrap
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
sys.path.remove({root!r})

TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 7, 1, 5

content = Path({fab!r}).read_bytes()
asked = Message(wrap(AdvertRequest(AttemptId(7, 1, 0))), dst_node_id=5, message_type=ADVERT)
asked.metadata.__dict__["_message_id"] = "1"
node_config = {{"partition-id": 0, "num-partitions": 3, "state-path": {state!r},
    "policy-file": {policy!r}}}
run_config = {{"task": "breast_cancer", "aggregation": "secagg",
    "overrides": "aggregation.identities=false aggregation.min_survivors=3"}}
context = Context(7, 5, node_config, RecordDict(), run_config)
# What the server says of the bundle.
run = SimpleNamespace(fab_id={fab_id!r}, fab_version="0.1.0", run_id=7)
fab = SimpleNamespace(content=content, hash_str={told!r})

runner = import_module("flwr.supernode.runtime.run_clientapp")
nothing = lambda *_arguments, **_options: SimpleNamespace(
    start=lambda: None, stop=lambda: None, is_running=False)
runner.HeartbeatSender = runner.push_task_output = nothing
runner.pull_task_input = lambda client: print("pulled", file=sys.stderr) or (
    asked, context, run, fab)

def push(client, reply, context):
    error = reply.error if reply.has_error() else None
    client = sys.modules.get("app.client")
    Path({out!r}).write_text(json.dumps(dict(
        error=[error.code, error.reason] if error else None,
        advert="" if error else bytes(unwrap(reply.content)).hex(),
        client=client.__file__ if client else None,
        running=os.environ.get({running!r}),
    )))

runner.push_message = push
{before}
sys.argv = ["flwr-clientapp", "--insecure", "--token", "x", *{options!r}]
sys.exit(clientapp.main())
"""


def run_guarded(tmp_path, fab: bytes, policy: Path | None = None, **other: object):
    """Return what a process with the guard sent as its reply, if anything, and how it ended."""
    home = tmp_path / "home"
    (tmp_path / "sent.fab").write_bytes(fab)
    values = {
        "root": str(ROOT),
        "fab": str(tmp_path / "sent.fab"),
        "state": str(tmp_path / "state.sqlite"),
        "policy": str(policy or tmp_path / "policy.yaml"),
        "out": str(tmp_path / "reply.json"),
        "fab_id": "tacet/tacet",
        "told": digest(fab),
        "running": RUNNING,
        "before": "",
        "options": [],
    }
    result = subprocess.run(
        [sys.executable, "-P", "-c", PROCESS.format(**values | other)],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": "", "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0"}
        | {RUNNING: "of another process"},
        capture_output=True,
        text=True,
    )
    out = tmp_path / "reply.json"
    reply = SimpleNamespace(**json.loads(out.read_text())) if out.exists() else None
    # What was installed went with the process.
    assert not list((home / "tacet-bundles").iterdir())
    return reply, result


@pytest.mark.slow
def test_an_approved_bundle_runs_from_itself_and_signs_its_hash(policy, bundle, tmp_path):
    reply, result = run_guarded(tmp_path, bundle)
    assert result.returncode == 0, result.stderr
    assert reply.error is None, result.stderr
    advert = Advert.decode(AdvertReply.decode(bytes.fromhex(reply.advert)).advert)
    assert advert.bundle.hex() == reply.running == digest(bundle)
    assert Path(reply.client).is_relative_to(tmp_path / "home" / "tacet-bundles")


@pytest.mark.slow
def test_of_an_altered_bundle_nothing_is_installed_or_imported(policy, altered, tmp_path):
    reply, result = run_guarded(tmp_path, altered)
    assert reply.error == [REFUSAL_CODE, "policy_refused"]
    assert reply.client is None
    # The process was told of a bundle from outside.
    assert reply.running is None
    assert not (tmp_path / "home" / "apps").exists()
    assert "Successfully installed" not in result.stdout
    assert "tacet bundle hash" in result.stdout + result.stderr


@pytest.mark.slow
def test_what_lies_there_under_the_same_name_is_not_taken(
    policy, bundle, altered, tmp_path, monkeypatch
):
    """Name, version and 8 digits of the hash: a server finds an app with the same."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    place = get_project_dir("tacet/tacet", "0.1.0", digest(bundle))
    shutil.copytree(install_from_fab(altered, skip_prompt=True), place)
    reply, result = run_guarded(tmp_path, bundle)
    assert reply.error is None, result.stderr
    assert Path(reply.client).is_relative_to(tmp_path / "home" / "tacet-bundles")


@pytest.mark.slow
@pytest.mark.parametrize(
    "other", [{"fab_id": "evil/tacet"}, {"told": "00" * 32}, {"told": "/../../x"}]
)
def test_the_servers_names_of_an_approved_bundle_lead_nowhere_else(
    policy, bundle, tmp_path, other
):
    reply, _ = run_guarded(tmp_path, bundle, **other)
    if "fab_id" in other:
        assert reply.client is None
        assert reply.error is not None
    else:
        assert Path(reply.client).is_relative_to(tmp_path / "home" / "tacet-bundles")


@pytest.mark.slow
def test_dependencies_of_a_bundle_are_not_installed(policy, altered, tmp_path):
    before = "import subprocess; subprocess.Popen = None"
    options = ["--allow-runtime-dependency-installation"]
    reply, result = run_guarded(tmp_path, altered, before=before, options=options)
    assert reply.error == [REFUSAL_CODE, "policy_refused"], result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [
        "del runner.install_from_fab",
        "runner.run_clientapp = lambda **options: None",
        "sys.modules['flwr.supernode.cli'] = None",
        "del runner.run_clientapp",
    ],
)
def test_with_another_flower_nothing_runs(policy, bundle, tmp_path, before):
    reply, result = run_guarded(tmp_path, bundle, before=before)
    assert (reply, result.returncode) == (None, 1)
    assert "pulled" not in result.stderr
    assert result.stderr.startswith("tacet: nothing runs: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["install_from_fab", "get_load_client_app_fn", "install_app_dependencies"]
)
@pytest.mark.parametrize("how", ["gone", "no function", "not called"])
def test_the_guard_stands_in_for_all_or_nothing_runs(name, how):
    runner = importlib.import_module("flwr.supernode.runtime.run_clientapp")
    used = SimpleNamespace(co_names=runner.run_clientapp.__code__.co_names)
    if how == "not called":
        used.co_names = tuple(other for other in used.co_names if other != name)
    module = SimpleNamespace(**vars(runner))
    module.run_clientapp = SimpleNamespace(__code__=used)
    if how == "gone":
        delattr(module, name)
    elif how == "no function":
        setattr(module, name, None)
    with pytest.raises(GuardError, match=name):
        require_known(module)
