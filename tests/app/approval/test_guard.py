"""The guard of a node: approved bundles run, of others nothing is installed or imported."""

import os
import subprocess
import sys

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.cli.install import install_from_fab
from flwr.clientapp.utils import get_load_client_app_fn
from flwr.supercore.task_identity import TaskIdentity

from app.approval import clientapp, guard
from app.approval.bundle import digest
from app.approval.guard import Guard, approve
from app.config.load import load_config
from app.node.admission import admit
from app.node.policy import PolicyError, load_policy
from app.node.running_code import NO_BUNDLE, RUNNING, approved_bundles, running_bundle
from app.node.session import NodeSession
from app.node.settings import NodeSettings
from strategies.refusals import REFUSAL_CODE, Reason, RequestRefusedError
from tests.app.approval.guard_kit import write_policy

# The check itself


def test_the_approved_bundle_passes_and_an_altered_one_does_not(policy, bundle, altered):
    assert approve(bundle) == digest(bundle)
    with pytest.raises(PolicyError, match="tacet bundle hash") as info:
        approve(altered)
    assert digest(altered) in str(info.value)
    assert "\n" not in str(info.value)


def test_a_hash_is_compared_to_its_last_digit(policy, bundle):
    """Of 8 digits, as in Flower's names of folders, a server finds another bundle in hours."""
    found = digest(bundle)
    first, last = ("0" if digit != "0" else "1" for digit in (found[0], found[-1]))
    for near in (found[:8] + "0" * 56, found[:-1] + last, first + found[1:]):
        write_policy(policy, near)
        with pytest.raises(PolicyError, match=f"{found}, which is not approved"):
            approve(bundle)
    write_policy(policy, near, found)
    assert approve(bundle) == found


def test_without_a_list_to_go_by_nothing_passes(policy, bundle, monkeypatch):
    policy.chmod(0o666)
    with pytest.raises(PolicyError, match="chmod go-w"):
        approve(bundle)
    policy.chmod(0o644)
    policy.write_text("bundles: [")
    with pytest.raises(PolicyError, match="not YAML"):
        approve(bundle)
    write_policy(policy)
    with pytest.raises(PolicyError, match="bundles is missing"):
        approve(bundle)
    policy.unlink()
    with pytest.raises(PolicyError, match="No such file"):
        approve(bundle)
    monkeypatch.delenv(guard.POLICY)
    with pytest.raises(PolicyError, match="tacet supernode"):
        approve(bundle)


def test_the_approved_bundle_is_installed_for_this_process_alone(policy, bundle, tmp_path):
    stand_in = Guard(tmp_path / "own", install_from_fab, get_load_client_app_fn)
    stand_in.install(bundle, skip_prompt=True)
    (installed,) = (tmp_path / "own" / "apps").iterdir()
    assert (installed / "app" / "client.py").exists()
    assert os.environ.pop(RUNNING) == digest(bundle)


@pytest.mark.parametrize("broken", [False, True])
def test_of_another_nothing_is_installed(
    policy, bundle, altered, tmp_path, monkeypatch, broken
):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)

    def install(*_arguments, **_options):
        if not broken:
            pytest.fail("it was given to Flower")
        raise OSError("/home/clinic: no space left")

    stand_in = Guard(tmp_path / "own", install, pytest.fail)
    stand_in.install(bundle if broken else altered)
    load = stand_in.get_loader(default_app_ref="", app_path=None, multi_app=True)
    asked = Message(RecordDict(), dst_node_id=1, message_type="train")
    asked.metadata.__dict__["_message_id"] = "1"
    context = Context(1, 1, {}, RecordDict(), {})
    reply = load("tacet/tacet", "0.1.0", digest(altered))(message=asked, context=context)
    # The text of the exception stays here.
    assert (reply.error.code, reply.error.reason) == (REFUSAL_CODE, "policy_refused")
    assert RUNNING not in os.environ
    assert not (tmp_path / "own").exists()


def test_folders_of_killed_processes_are_swept_and_of_living_ones_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    folders = tmp_path / "tacet-bundles"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    # The last three are none of the guard's.
    others = ["x", "\u00b2-x", "99999999999999999999-x"]
    names = [f"{ended.pid}-x", f"{os.getpid()}-x", *others]
    for name in names:
        (folders / name / "apps").mkdir(parents=True)
    clientapp.sweep()
    assert {path.name for path in folders.iterdir()} == set(names[1:])


# What the approved code makes of it


def test_a_process_knows_its_bundle_from_the_guard_alone(policy, monkeypatch):
    (listed,) = load_policy(policy).bundles or ()
    own = bytes.fromhex(listed)
    with pytest.raises(PolicyError, match="tacet supernode"):
        approved_bundles(load_policy(policy), simulated=False)
    monkeypatch.setenv(RUNNING, listed)
    assert approved_bundles(load_policy(policy), simulated=False) == {own}
    assert running_bundle(simulated=False) == own
    assert running_bundle(simulated=True) == NO_BUNDLE
    assert approved_bundles(load_policy(policy), simulated=True) is None
    assert approved_bundles(None, simulated=False) is None
    monkeypatch.setenv(RUNNING, "ab" * 32)
    with pytest.raises(PolicyError, match="does not list"):
        approved_bundles(load_policy(policy), simulated=False)
    monkeypatch.setenv(RUNNING, "none")
    with pytest.raises(PolicyError, match="not a SHA-256"):
        running_bundle(simulated=False)


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_a_node_that_lists_bundles_refuses_without_the_guard(policy, aggregation):
    config = load_config({"task": "breast_cancer", "aggregation": aggregation})
    context = Context(1, 7, {}, RecordDict(), {})
    session = NodeSession(context, config, NodeSettings(policy=load_policy(policy)))
    with pytest.raises(RequestRefusedError) as info:
        admit(session)
    assert info.value.reason == Reason.POLICY_REFUSED
    assert "tacet supernode" in str(info.value.__cause__)
    with pytest.raises(PolicyError, match="tacet supernode"):
        session.approved_bundles()
