"""Processes that have a bundle loaded: what they fork, and what becomes of them."""

import json
import os
import sys
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.cli.build import build_fab_from_disk

from app.approval import guard
from app.approval.bundle import digest
from app.approval.guard import Loaded, LoadedGuard
from app.node.running_code import RUNNING
from tests.app.approval.guard_kit import write_policy
from tests.app.approval.zygote_kit import run

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has a zygote")

NAMES = "tacet/tacet", "0.1.0", "x"
# A Flower app of three lines, which says when it is warmed up.
APP = """
import os, time
from pathlib import Path
from flwr.clientapp import ClientApp
{more}
class App(ClientApp):
    def warm_up(self, run_config):
        with Path({told!r}).open("a") as file:
            file.write(f"{{os.getpid()}} {{run_config['task']}}\\n")
app = App()
"""
PROJECT = """
[project]
name = "{name}"
version = "1.0.0"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
clientapp = "{name}.client:app"
serverapp = "{name}.client:app"
[tool.flwr.app.config]
task = "digits"
"""
THREAD = "import threading; threading.Thread(target=time.sleep, args=[9], daemon=True).start()"
SEEN = """
def seen(name, task):
    content = (folder / "made" / (name + ".fab")).read_bytes()
    bundle = __import__("hashlib").sha256(content).hexdigest()
    return Seen(content, bundle, ("tests/" + name, "1.0.0", bundle), {"task": task})
"""


def made(folder: Path, name: str, more: str = "") -> bytes:
    """Return a small bundle, and leave it in the folder."""
    place = folder / "made" / name
    (place / name).mkdir(parents=True)
    (place / name / "__init__.py").write_text("")
    told = str(folder / "warmed")
    (place / name / "client.py").write_text(APP.format(told=told, more=more))
    (place / "pyproject.toml").write_text(PROJECT.format(name=name))
    content = build_fab_from_disk(place)
    (folder / "made" / f"{name}.fab").write_bytes(content)
    return content


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Return a function that makes small bundles, all of them in the policy."""
    hashes: list[str] = []

    def add(name: str, more: str = "") -> str:
        hashes.append(digest(made(tmp_path, name, more)))
        write_policy(tmp_path / "policy.yaml", *hashes)
        return hashes[-1]

    monkeypatch.setenv(guard.POLICY, str(tmp_path / "policy.yaml"))
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    return add


def left_of(folder: Path, steps: str, notes: str) -> dict[str, dict[str, object]]:
    """Return what each token's process told of itself, and the output."""
    left = run(folder, steps, before=SEEN + f"notes.update({notes})")
    told = {name: json.loads(left[name]) for name in left if len(name) == 1}
    return told | {"output": left["output"]}


def warmed(folder: Path) -> list[tuple[int, str]]:
    """Return which process warmed up for which task, in turn."""
    lines = (folder / "warmed").read_text().split("\n")[:-1]
    return [(int(pid), task) for pid, task in (line.split() for line in lines)]


@linux
@pytest.mark.slow
def test_after_the_first_message_a_fork_has_the_bundle_loaded(tmp_path, listed):
    one, two = listed("one"), listed("two")
    steps = (
        f"start(C, 'a', {one!r}); start(C, 'b', {one!r}); start(C, 'c', {one!r});"
        f" start(C, 'd', {two!r}); start(C, 'e', {one!r}); start(C, 'f', {one!r})"
    )
    notes = "{'a': seen('one', 'x'), 'b': seen('one', 'x'), 'c': seen('one', 'y')}"
    told = left_of(tmp_path, steps, notes)
    assert [told[name]["loaded"] for name in "abcdef"] == [None, one, one, None, one, one]
    # No message is answered by the process that waits, or by another one's.
    zygote, waits = told["a"]["parent"], told["b"]["parent"]
    assert [told[name]["parent"] for name in "abcdef"] == [
        zygote,
        waits,
        waits,
        zygote,
        waits,
        waits,
    ]
    assert len({told[name]["pid"] for name in "abcdef"} | {zygote, waits}) == 8
    # Once for each run config, before there was a message with it but the first.
    assert warmed(tmp_path) == [(waits, "x"), (waits, "y")]
    for name in "abcdef":
        assert told[name]["default"]
        assert len(told[name]["sockets"]) == 1
        assert told[name]["threads"] == 1
    draws = [draw for name in "abcdef" for draw in told[name]["draws"]]
    assert len({*draws}) == len(draws) == 18
    # The bundle went with the process that had it.
    assert not list((tmp_path / "home" / "tacet-bundles").iterdir())


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (THREAD, "starts threads"),
        ("raise OSError('/home/clinic: it is broken')", "could not be loaded ahead"),
        # As if the system had taken its memory.
        ("import signal; os.kill(os.getpid(), signal.SIGKILL)", "is not kept loaded"),
    ],
)
def test_a_bundle_that_cannot_wait_is_loaded_by_each_message(tmp_path, listed, more, said):
    one = listed("one", more)
    steps = (
        f"start(C, 'a', {one!r}); time.sleep(3); start(C, 'b', {one!r}); start(C, 'c', {one!r})"
    )
    notes = "{name: seen('one', 'x') for name in 'abc'}"
    told = left_of(tmp_path, steps, notes)
    assert [told[name]["loaded"] for name in "abc"] == [None, None, None]
    assert len({told[name]["parent"] for name in "abc"}) == 1
    assert said in told["output"]
    # Not with every message again.
    assert told["output"].count("is not kept loaded") == 1


@linux
@pytest.mark.slow
def test_what_came_meanwhile_is_not_lost(tmp_path, listed):
    """A message comes while its bundle is being loaded, and then that fails."""
    one = listed("one", "time.sleep(2); raise OSError('it is broken')")
    steps = f"start(C, 'a', {one!r}); start(C, 'b', {one!r})"
    left = run(tmp_path, steps, before=SEEN + "notes.update(a=seen('one', 'x'))")
    assert left["b"] == f"{tmp_path}/scripts/flwr-clientapp\n"


@linux
@pytest.mark.slow
def test_what_the_policy_does_not_list_is_not_loaded(tmp_path, listed):
    one = listed("one")
    write_policy(tmp_path / "policy.yaml", "00" * 32)
    steps = f"start(C, 'a', {one!r}); time.sleep(3); start(C, 'b', {one!r})"
    notes = "{'a': seen('one', 'x')}"
    told = left_of(tmp_path, steps, notes)
    assert told["b"]["loaded"] is None
    assert "which is not approved" in told["output"]
    assert not (tmp_path / "warmed").exists()


@linux
@pytest.mark.slow
def test_a_bundle_that_is_taken_out_of_the_policy_is_left_at_once(tmp_path, listed):
    """It may have been taken out because it is not to be trusted."""
    one = listed("one")
    steps = (
        f"start(C, 'a', {one!r}); start(C, 'b', {one!r});"
        f" Path(os.environ[{guard.POLICY!r}]).unlink(); start(C, 'c', {one!r});"
        " waits = Path('/proc', str(json.loads((folder / 'b').read_text())['parent']));"
        " [time.sleep(0.1) for _ in range(300) if waits.exists()];"
        " (folder / 'waits').write_text(str(waits.exists()))"
    )
    left = run(
        tmp_path,
        steps,
        before=SEEN + "notes.update(a=seen('one', 'x'))",
    )
    assert [json.loads(left[name])["loaded"] for name in "abc"] == [None, one, None]
    assert left["waits"] == "False"


@linux
@pytest.mark.slow
@pytest.mark.parametrize("slow", ["the bundle", "a run config"])
def test_what_takes_too_long_holds_nobody_up(tmp_path, listed, monkeypatch, slow):
    import_slowly = "time.sleep(60)" if slow == "the bundle" else ""
    warm_slowly = "if run_config['task'] == 'y': time.sleep(60)\n        with Path("
    monkeypatch.setitem(globals(), "APP", APP.replace("with Path(", warm_slowly, 1))
    one = listed("one", import_slowly)
    steps = f"start(C, 'a', {one!r}); start(C, 'b', {one!r}); start(C, 'c', {one!r})"
    before = SEEN + "loaded._LONGEST_SECONDS = 2; notes.update(a=seen('one', 'y'))"
    left = run(tmp_path, steps, before=before)
    assert "it takes more than 2 s" in left["output"]
    if slow == "the bundle":
        assert left["b"] == f"{tmp_path}/scripts/flwr-clientapp\n"
    else:
        assert json.loads(left["b"])["loaded"] == one


@linux
@pytest.mark.slow
def test_few_bundles_are_kept_loaded(tmp_path, listed):
    names = ["one", "two", "three", "four"]
    hashes = [listed(name) for name in names]
    steps = [
        *(f"start(C, {token!r}, {one!r})" for token, one in zip("abc", hashes, strict=False)),
        # The first is asked again, so that the second one goes.
        f"start(C, 'd', {hashes[0]!r})",
        f"start(C, 'e', {hashes[3]!r})",
        *(f"start(C, {token!r}, {one!r})" for token, one in zip("fghi", hashes, strict=True)),
    ]
    notes = "dict(zip('abce', (seen(name, 'x') for name in ('one', 'two', 'three', 'four'))))"
    told = left_of(tmp_path, "; ".join(steps), notes)
    expected = [hashes[0], None, hashes[2], hashes[3]]
    assert [told[name]["loaded"] for name in "fghi"] == expected


# What the guard looks at where the bundle is there


def answer_of(bundle: bytes, sent: bytes, asked: Message, *names: str) -> object:
    """Return the answer of a process that has a bundle loaded and is sent one."""
    loaded = Loaded(digest(bundle), NAMES, lambda message, context: "answered")
    guarded = LoadedGuard(loaded)
    guarded.install(sent, skip_prompt=True)
    app = guarded.get_loader()(*(names or NAMES))
    reply = app(message=asked, context=Context(1, 1, {}, RecordDict(), {}))
    return reply if isinstance(reply, str) else reply.error.reason


def test_the_loaded_bundle_answers(policy, bundle, asked):
    assert answer_of(bundle, bundle, asked) == "answered"
    assert os.environ[RUNNING] == digest(bundle)


def test_another_approved_bundle_than_the_loaded_one_is_refused(
    policy, bundle, altered, asked, caplog
):
    """The server says which bundle it sends, and that chose this process."""
    write_policy(policy, digest(bundle), digest(altered))
    assert answer_of(bundle, altered, asked) == "policy_refused"
    assert not os.environ[RUNNING]


def test_a_loaded_bundle_that_the_policy_lists_no_more_is_refused(
    policy, bundle, altered, asked
):
    write_policy(policy, digest(altered))
    assert answer_of(bundle, bundle, asked) == "policy_refused"


@pytest.mark.parametrize("names", [("evil/tacet", "0.1.0", "x"), ("tacet/tacet", "0.2.0", "x")])
def test_the_servers_names_of_a_loaded_bundle_lead_nowhere_else(policy, bundle, asked, names):
    assert answer_of(bundle, bundle, asked, *names) == "policy_refused"
    assert answer_of(bundle, bundle, asked, *NAMES[:2], "/../../x") == "answered"
