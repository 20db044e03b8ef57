"""The process that forks for each message: what a fork is, and when there is none."""

import json
import subprocess
import sys

import pytest

from tests import ROOT
from tests.app.approval.zygote_kit import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has a zygote")


@pytest.mark.slow
def test_each_message_has_a_process_of_its_own(tmp_path):
    left = run(tmp_path, 'start(TaskType.CLIENT_APP, "a"); start(TaskType.CLIENT_APP, "b")')
    superexec = int(left["superexec"])
    a, b = json.loads(left["a"]), json.loads(left["b"])
    assert a["argv"] == [
        "flwr-clientapp",
        "--runtime-api-address",
        "h:1",
        "--token",
        "a",
        "--insecure",
        "--parent-pid",
        str(superexec),
    ]
    assert b["argv"][4] == "b"
    assert a["parent"] == b["parent"]
    assert len({superexec, a["pid"], b["pid"], a["parent"]}) == 4
    # Nothing of ours but what the guard itself is made of, which the guard forgets.
    assert a["more"] == b["more"] == []
    assert a["default"]
    # It does not have the zygote's ear, but one way to tell it of a bundle.
    assert len(a["sockets"]) == 1
    assert a["loaded"] is None
    # No generator of a library goes on where the other message's did.
    assert not {*a["draws"]} & {*b["draws"]}
    assert len({*a["draws"]}) == 3


@pytest.mark.slow
def test_without_the_zygote_messages_go_the_long_way(tmp_path):
    steps = (
        "(zygote,) = children(); os.kill(zygote, signal.SIGKILL); os.waitpid(zygote, 0);"
        ' start(TaskType.CLIENT_APP, "a")'
    )
    left = run(tmp_path, steps)
    assert left["a"] == f"{tmp_path}/scripts/flwr-clientapp\n"
    assert "each message takes seconds longer" in left["output"]


@pytest.mark.slow
def test_a_zygote_that_hangs_is_killed_and_messages_go_the_long_way(tmp_path):
    steps = (
        "zygote._PATIENCE_SECONDS = 0.5; hanging = subprocess.Popen(['sleep', '600']);"
        " pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        " zygote.start_by(pair[0], hanging.pid);"
        ' start(TaskType.CLIENT_APP, "a"); start(TaskType.CLIENT_APP, "b");'
        ' (folder / "ended").write_text(str(hanging.wait()))'
    )
    left = run(tmp_path, steps)
    assert left["a"] == left["b"] == f"{tmp_path}/scripts/flwr-clientapp\n"
    assert left["ended"] == "-9"
    assert left["output"].count("start the node again") == 2


@pytest.mark.slow
def test_a_library_that_is_missing_is_left_to_the_fork(tmp_path):
    steps = 'start(TaskType.CLIENT_APP, "a")'
    left = run(tmp_path, steps, before="sys.modules['torch'] = None")
    assert "could be imported ahead: No module named 'torch." in left["output"]
    assert json.loads(left["a"])["draws"][2] is None


@pytest.mark.slow
def test_other_commands_are_started_as_flower_does(tmp_path):
    left = run(tmp_path, 'start(TaskType.AGENT_APP, "a")')
    assert left["a"] == f"{tmp_path}/scripts/flwr-agentapp\n"


@pytest.mark.slow
def test_what_is_to_be_silent_is_started_as_flower_does(tmp_path):
    left = run(tmp_path, 'start(TaskType.CLIENT_APP, "a")', suppressed=True)
    assert left["a"] == f"{tmp_path}/scripts/flwr-clientapp\n"


@pytest.mark.slow
def test_nothing_heavy_is_left_to_a_fork():
    code = (
        "import sys; from app.approval import zygote; zygote._preload();"
        " before = {*sys.modules}; from benchmarks.imports import STEPS;"
        " [exec(step) for step in STEPS.values()];"
        " print(*({*sys.modules} - before))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    names = told.stdout.split()
    assert "workloads.model_update" in names
    heavy = {"flwr", "torch", "hydra", "numpy", "randomgen", "scipy", "sklearn", "sympy"}
    left = [name for name in names if name.partition(".")[0] in heavy]
    # Hydra looks for plugins when it is first asked; torch would be hundreds.
    assert len(left) < 20, left
