"""Apply mutations to a copy of the tree, one at a time, and run their tests there.

Only pytest's status 1, some test failed, is a kill. A test file that cannot be imported, no
tests, or a hang says nothing of the tests, and is an error.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT
from tests.mutants.from_copy import COPY
from tests.mutants.mutation import Mutation, StaleMutationError

#: Longer than the slowest selection takes on a busy machine.
TIMEOUT_SECONDS = 400.0
_PASSED, _FAILED = 0, 1
_running: set[int] = set()


@dataclass(frozen=True)
class Result:
    """How it went: killed, SURVIVED, STALE or ERROR, with what says so."""

    name: str
    status: str
    seconds: float
    detail: str


def copy_tree(folder: Path) -> Path:
    """Copy what git tracks, and what is new and not ignored; return the copy."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def run_mutation(copy: Path, mutation: Mutation) -> Result:
    """Run the tests of a mutation in a copy with it; the copy is as before in the end."""
    path, start = copy / mutation.file, time.monotonic()
    try:
        mutated = mutation.applied(copy)
    except StaleMutationError as stale:
        return Result(mutation.name, "STALE", 0.0, str(stale))
    original = path.read_bytes()
    try:
        path.write_text(mutated, encoding="utf-8")
        code, output = run_tests(copy, mutation.tests)
    finally:
        path.write_bytes(original)
    status = {_PASSED: "SURVIVED", _FAILED: "killed"}.get(code, "ERROR")
    if status == "killed" and not re.search("^FAILED tests/", output, re.MULTILINE):
        # The mutation broke a fixture: no test has looked at what it does.
        status = "ERROR"
    return Result(mutation.name, status, time.monotonic() - start, _said(code, output))


def run_unmutated(copy: Path, tests: tuple[str, ...]) -> Result:
    """Run tests without a mutation: they must pass, or a kill means nothing."""
    start = time.monotonic()
    code, output = run_tests(copy, tests)
    status = "passes" if code == _PASSED else "ERROR"
    name = " ".join(Path(test).name for test in tests)
    return Result(name, status, time.monotonic() - start, _said(code, output))


def run_tests(copy: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Return pytest's status and output; -1 for a run that was ended as it hung."""
    # Without bytecode: that of a file that was changed within a second passes for it. Without
    # pytest's own limit, whose end would be a failed test. With those that are marked slow.
    options = ["-m", "", "-x", "-q", "-p", "no:cacheprovider", "--timeout=0", "--tb=short"]
    command = [sys.executable, "-B", "-m", "pytest", "-p", "tests.mutants.from_copy"]
    environment = os.environ | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        COPY: str(copy),
    }
    running = subprocess.Popen(
        [*command, *options, *tests],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # So that the processes that a test has started end with it.
        start_new_session=True,
    )
    _running.add(running.pid)
    try:
        output, _ = running.communicate(timeout=TIMEOUT_SECONDS)
        return running.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        output, _ = running.communicate()
        return -1, f"{output}\nhung: ended after {TIMEOUT_SECONDS:.0f} s"
    finally:
        _running.discard(running.pid)


def end_running() -> None:
    """End what still runs, with all that it has started: Ctrl-C does not reach it."""
    for pid in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _said(code: int, output: str) -> str:
    """Return the line of the output that says most."""
    lines = [line for line in output.splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED tests/", "ERROR tests/"))]
    last = lines[-1] if lines else "no output"
    return (failed or [last])[0] if code in (_PASSED, _FAILED) else f"status {code}: {last}"
