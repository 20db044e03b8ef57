"""What goes wrong around a loaded bundle, and must cost no message."""

import json
import os
import socket

import pytest
from flwr.app import Context, RecordDict

from app.approval.bundle import digest
from app.approval.guard import Guard, Seen
from app.approval.loaded import Notes
from tests.app.approval import test_loaded as kit
from tests.app.approval.test_loaded import NAMES, SEEN, linux
from tests.app.approval.zygote_kit import run

listed = kit.listed

NO_ROOM = """
def no_room(*_arguments, **_options):
    time.sleep(1)
    raise OSError(28, "No space left on device")
others = vars(loaded.tempfile) | {"mkdtemp": no_room}
loaded.tempfile = __import__("types").SimpleNamespace(**others)
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "fault"),
    [("time.sleep(1); raise SystemExit(3)", ""), ("", NO_ROOM)],
    ids=["the bundle leaves", "no room for its folder"],
)
def test_however_loading_ends_what_came_meanwhile_is_not_lost(tmp_path, listed, more, fault):
    one = listed("one", more)
    steps = f"start(C, 'a', {one!r}); launch(C, 'b', {one!r}); time.sleep(6)"
    left = run(tmp_path, steps, before=SEEN + f"notes.update(a=seen('one', 'x'))\n{fault}")
    assert "b" in left, left["output"]
    place = tmp_path / "home" / "tacet-bundles"
    assert not place.exists() or not list(place.iterdir())


@linux
@pytest.mark.slow
def test_a_name_that_is_too_long_does_not_end_the_zygote(tmp_path, listed):
    """The server names the bundle, with as many characters as it likes."""
    one = listed("one")
    steps = f"start(C, 'a', 300_000 * 'x'); start(C, 'b', {one!r})"
    left = run(tmp_path, steps)
    assert "no zygote" not in left["output"]
    assert json.loads(left["a"])["parent"] == json.loads(left["b"])["parent"]


@linux
@pytest.mark.slow
def test_a_later_run_config_that_starts_threads_ends_the_forks_too(
    tmp_path, listed, monkeypatch
):
    more = f"if run_config['task'] == 'y': {kit.THREAD}\n        with Path("
    more = more.replace("import threading; threading", "__import__('threading')")
    monkeypatch.setattr(kit, "APP", kit.APP.replace("with Path(", more, 1))
    one = listed("one")
    steps = f"start(C, 'a', {one!r}); start(C, 'b', {one!r}); time.sleep(2);"
    steps += f" start(C, 'c', {one!r})"
    before = SEEN + "notes.update(a=seen('one', 'x'), b=seen('one', 'y'))"
    left = run(tmp_path, steps, before=before)
    assert "starts threads" in left["output"]
    assert json.loads(left["c"])["loaded"] is None


@linux
@pytest.mark.slow
def test_a_bundles_thread_does_not_keep_its_process(tmp_path, listed):
    """Python waits for threads that are no daemons, and the node would leave it behind."""
    outlived = tmp_path / "outlived"
    work = f"lambda: (time.sleep(10), Path({str(outlived)!r}).touch())"
    one = listed("one", f"import threading; threading.Thread(target={work}).start()")
    before = SEEN + "notes.update(a=seen('one', 'x'))"
    left = run(tmp_path, f"start(C, 'a', {one!r})", before=before)
    assert "starts threads" in left["output"]
    # `run` returns when all processes have ended.
    assert not outlived.exists()


def test_a_python_without_memfd_create_answers(monkeypatch):
    """Those of uv and conda are built for a libc that has none."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ear:
        Notes(mouth).tell(Seen(b"content", "00" * 32, NAMES, {}))


def test_a_note_that_fails_costs_no_answer(policy, bundle, asked, tmp_path):
    """Flower would send the text of the exception to the server."""

    def fails(_seen):
        raise RuntimeError("/home/clinic: no way to the zygote")

    def loader(**_options):
        return lambda *_names: lambda message, context: f"answered by {digest(bundle)[:4]}"

    guarded = Guard(tmp_path, lambda *_a, **_o: tmp_path, loader, fails)
    guarded.install(bundle)
    context = Context(1, 1, {}, RecordDict(), {})
    reply = guarded.get_loader()(*NAMES)(message=asked, context=context)
    assert reply == f"answered by {digest(bundle)[:4]}"
