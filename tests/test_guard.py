"""The guard of a node: approved bundles run, of others nothing is installed or imported."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from flwr.app import Context, Message, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.cli.install import install_from_fab
from flwr.clientapp.utils import get_load_client_app_fn
from flwr.common.config import get_project_dir
from flwr.supercore.task_identity import TaskIdentity

from app import cli_bundle, guard
from app.bundle import NO_BUNDLE, RUNNING, approved_bundles, digest, running_bundle
from app.cli import main
from app.cli_bundle import check_flower, guarded_path
from app.config import load_config
from app.guard import Guard, GuardError, approve, wrap
from app.node_privacy import check_policy, peers_bundles
from app.policy import PolicyError, load_policy
from strategies.refusals import REFUSAL_CODE, Reason, Refusal
from strategies.secagg.messages import Advert
from tasks.base import Node

ROOT = Path(__file__).parent.parent
COMMANDS = ("flwr-agentapp", "flwr-serverapp", "flwr-simulation", "flwr-model")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkout") / "tacet"
    for name in ("app", "tasks", "privacy", "strategies", "conf"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, path / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, path)
    return path


@pytest.fixture(scope="module")
def bundle(checkout) -> bytes:
    return build_fab_from_disk(checkout)


@pytest.fixture(scope="module")
def altered(checkout, tmp_path_factory) -> bytes:
    """Return the bundle with one byte of one file changed."""
    path = tmp_path_factory.mktemp("altered") / "tacet"
    shutil.copytree(checkout, path)
    file = path / "app" / "secagg_client.py"
    before = file.read_bytes()
    after = before.replace(b"then mask: a refusal", b"then mask; a refusal")
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    file.write_bytes(after)
    return build_fab_from_disk(path)


def write_policy(path: Path, *bundles: str) -> Path:
    values = {"dataset": "d", "privacy": ["none"], "min_survivors": 3, "min_colluding": 0}
    values |= {"require_identities": False} | ({"bundles": list(bundles)} if bundles else {})
    path.write_text(yaml.safe_dump(values))
    path.chmod(0o644)
    return path


@pytest.fixture
def policy(tmp_path, bundle, monkeypatch) -> Path:
    path = write_policy(tmp_path / "policy.yaml", digest(bundle))
    monkeypatch.setenv(guard.POLICY, str(path))
    monkeypatch.delenv(RUNNING, raising=False)
    return path


# The check itself


def test_the_approved_bundle_passes_and_an_altered_one_does_not(policy, bundle, altered):
    assert approve(bundle) == digest(bundle)
    with pytest.raises(PolicyError, match="tacet bundle hash") as info:
        approve(altered)
    assert digest(altered) in str(info.value)
    assert "\n" not in str(info.value)


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


# In the process that Flower starts, with Flower's own code around it

PROCESS = """
import json, sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {root!r})
from app import guard
from strategies.secagg.messages import AdvertRequest
from strategies.secagg.wire import AttemptId
from strategies.secure_wire import ADVERT, unwrap, wrap
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
    )))

runner.push_message = push
{before}
sys.argv = ["flwr-clientapp", "--insecure", "--token", "x", *{options!r}]
sys.exit(guard.main())
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


def test_an_approved_bundle_runs_from_itself_and_signs_its_hash(policy, bundle, tmp_path):
    reply, result = run_guarded(tmp_path, bundle)
    assert result.returncode == 0, result.stderr
    assert reply.error is None, result.stderr
    advert = Advert.decode(bytes.fromhex(reply.advert))
    assert advert.bundle.hex() == digest(bundle)
    assert Path(reply.client).is_relative_to(tmp_path / "home" / "tacet-bundles")


def test_of_an_altered_bundle_nothing_is_installed_or_imported(policy, altered, tmp_path):
    reply, result = run_guarded(tmp_path, altered)
    assert reply.error == [REFUSAL_CODE, "policy_refused"]
    assert reply.client is None
    assert not (tmp_path / "home" / "apps").exists()
    assert "Successfully installed" not in result.stdout
    assert "tacet bundle hash" in result.stdout + result.stderr


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


def test_dependencies_of_a_bundle_are_not_installed(policy, altered, tmp_path):
    before = "import subprocess; subprocess.Popen = None"
    options = ["--allow-runtime-dependency-installation"]
    reply, result = run_guarded(tmp_path, altered, before=before, options=options)
    assert reply.error == [REFUSAL_CODE, "policy_refused"], result.stderr


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
        wrap(module, Guard(Path(), print, print))


# What the SuperNode finds on its PATH


@pytest.fixture
def started(policy, tmp_path, monkeypatch):
    """Return how ``tacet supernode`` would become a SuperNode."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    found = SimpleNamespace()

    def execve(path, argv, environment):
        found.path, found.argv, found.environment = path, argv, environment

    monkeypatch.setattr(os, "execve", execve)
    options = ["--insecure", "--host", "h", "--node-config", f'policy-file="{policy}"']
    assert main(["supernode", *options]) == 0
    assert found.argv == [found.path, *options]
    return found


def test_a_guarded_supernode_finds_the_guard_and_no_other_command(started, policy):
    path = started.environment["PATH"]
    folder = Path(path.split(os.pathsep)[0])
    assert started.environment[guard.POLICY] == str(policy)
    assert Path(started.path).name == "flower-supernode"
    for name in ("flwr-clientapp", "flower-superexec", *COMMANDS):
        assert shutil.which(name, path=path) == str(folder / name)
    shutil.rmtree(folder)
    for name in ("flwr-clientapp", "flower-superexec", *COMMANDS):
        assert shutil.which(name, path=path) is None


def test_the_commands_are_what_they_should_be(started):
    def run(*command: str):
        environment = started.environment | {"PYTHONPATH": ""}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    for name in COMMANDS:
        assert run(name, "--token", "x").returncode == 1
    assert "--runtime-api-address" in run("flower-superexec", "--help").stdout
    assert "--runtime-api-address" in run("flwr-clientapp", "--help").stdout
    script = Path(started.environment["PATH"].split(os.pathsep)[0]) / "flwr-clientapp"
    assert "app.guard" in script.read_text()
    assert script.stat().st_mode & 0o777 == 0o700


def test_a_path_keeps_what_has_no_command_of_flower(tmp_path):
    for name in ("clean", "flower"):
        (tmp_path / name).mkdir()
    (tmp_path / "flower" / "flwr-model").touch()
    path = f".:{tmp_path}/clean::{tmp_path}/flower:relative"
    assert guarded_path(Path("/guard"), path) == f"/guard:{tmp_path}/clean"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "nothing in it"),
        (["--node-config", "partition-id=1"], "policy-file is missing"),
        (["--node-config", 'policy-file="/nowhere/p.yaml"'], "No such file"),
        (["--isolation=process"], "the guard is in the processes"),
        (["--allow-runtime-dep"], "nobody approved what would be installed"),
    ],
)
def test_a_supernode_that_could_not_be_guarded_is_not_started(
    arguments, expected, capsys, monkeypatch
):
    monkeypatch.setattr(os, "execve", pytest.fail)
    assert main(["supernode", *arguments]) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1


def test_a_flower_that_starts_its_processes_in_another_way_is_refused(policy, monkeypatch):
    check_flower()
    monkeypatch.setattr(os, "execve", pytest.fail)
    monkeypatch.setattr(cli_bundle, "_commands", lambda: ["flwr-clientapp-2"])
    assert main(["supernode", "--node-config", f'policy-file="{policy}"']) == 2


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
    with pytest.raises(Refusal) as info:
        check_policy(config, Node(policy_file=policy))
    assert info.value.reason == Reason.POLICY_REFUSED
    assert "tacet supernode" in str(info.value.__cause__)
    with pytest.raises(Refusal):
        peers_bundles(config, Node(policy_file=policy))


# The commands around it


def tell(capsys, *argv: object) -> tuple[int, list[str]]:
    status = main([str(argument) for argument in argv])
    told = capsys.readouterr()
    assert told.err.count("\n") == (status == 2)
    return status, (told.err if status == 2 else told.out).splitlines()


def test_the_hash_is_that_of_what_flower_ships(checkout, bundle, altered, tmp_path, capsys):
    assert tell(capsys, "bundle", "hash", checkout) == (0, [digest(bundle)])
    file = tmp_path / "x.fab"
    file.write_bytes(altered)
    assert tell(capsys, "bundle", "hash", file) == (0, [digest(altered)])
    status, (line,) = tell(capsys, "bundle", "hash", tmp_path)
    assert (status, "neither a .fab file nor a checkout" in line) == (2, True)


def test_a_bundle_packed_otherwise_is_compared_file_by_file(
    checkout, bundle, altered, tmp_path, capsys
):
    """Another machine's zlib may give other bytes for the same files."""
    file, packed = tmp_path / "x.fab", BytesIO()
    with zipfile.ZipFile(BytesIO(bundle)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    file.write_bytes(packed.getvalue())
    status, lines = tell(capsys, "bundle", "check", file, checkout)
    assert (status, lines[1]) == (0, digest(packed.getvalue()))
    assert lines[1] != digest(bundle)
    file.write_bytes(altered)
    assert tell(capsys, "bundle", "check", file, checkout) == (
        1,
        ["differs: .info/CONTENT", "differs: app/secagg_client.py"],
    )
    with zipfile.ZipFile(packed, "a") as new, pytest.warns(UserWarning, match="Duplicate"):
        new.writestr("app/client.py", "")
    file.write_bytes(packed.getvalue())
    assert "stands twice" in tell(capsys, "bundle", "check", file, checkout)[1][0]
    file.write_bytes(b"no zip")
    assert "not a bundle" in tell(capsys, "bundle", "check", file, checkout)[1][0]


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
    guard.sweep()
    assert {path.name for path in folders.iterdir()} == set(names[1:])
