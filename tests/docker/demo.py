"""The demo of docker-compose.yml as an object, under a project name of its own."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import ROOT

PROJECT = "tacet-test"
HOSPITALS = tuple(f"hospital-{name}" for name in "abcd")
SERVICES = ("setup", "superlink", "register", *HOSPITALS, "run")
_KEEPER = Path(__file__).with_name("keep_database.py")
#: A run of the demo takes a few minutes; a machine that is busy with other things, many.
_RUN_SECONDS = 2400


def compose_command() -> list[str]:
    """Return the plugin of Docker, or else the older command of its own."""
    plugin = ["docker", "compose"]
    if subprocess.run([*plugin, "version"], capture_output=True).returncode == 0:
        return plugin
    return ["docker-compose"]


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


class Demo:
    """The services, from `up` to `down -v`.

    Parameters
    ----------
    compose : list of str
        The command, see ``compose_command``.
    folder : Path
        For the run folders.
    """

    def __init__(self, compose: list[str], folder: Path) -> None:
        self._compose = compose
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.seconds: dict[str, float] = {}
        uid = os.getuid() or 1000
        if not os.getuid():
            # Nothing in a container runs as root, so a folder of root's is of no use.
            os.chown(self.runs, uid, uid)
        self._environment = os.environ | {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "TACET_RUNS": str(self.runs),
            "TACET_UID": str(uid),
        }

    def compose(self, *arguments: str) -> str:
        """Run a compose command and return all that it said."""
        done = subprocess.run(
            [*self._compose, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"compose {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout

    def train(self) -> None:
        """Build, start everything, and wait until the one-shot service has ended."""
        self.build()
        self._timed("up", self._superlink)
        self._keeper("keep")
        self._timed("run", self._run)

    def build(self) -> None:
        """Make the image, unless it is there."""
        self._timed("build", lambda: self.compose("build", "setup"))

    def _superlink(self) -> None:
        self.compose("up", "--detach", "superlink")
        self._wait(lambda: self.inspect("superlink")["State"]["Health"]["Status"] == "healthy")

    def _run(self) -> None:
        self.compose("up", "--detach")
        self._wait(lambda: not self.inspect("run")["State"]["Running"])

    def _wait(self, there: Callable[[], bool]) -> None:
        end = time.monotonic() + _RUN_SECONDS
        while not there():
            assert time.monotonic() < end, self.logs()
            time.sleep(1)

    def _keeper(self, command: str) -> str:
        return self.execute("superlink", "python3", "-c", _KEEPER.read_text(), command)

    def _timed(self, what: str, work: Any) -> None:
        start = time.monotonic()
        work()
        self.seconds[what] = round(time.monotonic() - start, 1)
        print(f"{what}: {self.seconds[what]} s")

    def down(self) -> None:
        """Take everything away."""
        self.compose("down", "--volumes", "--timeout", "5")

    def logs(self) -> str:
        """Return what all services said."""
        return self.compose("logs", "--no-color")

    def container(self, service: str) -> str:
        """Return the id of a service's container, running or ended."""
        labels = ("project=" + PROJECT, "service=" + service)
        filters = [
            word for label in labels for word in ("-f", f"label=com.docker.compose.{label}")
        ]
        (found,) = output("docker", "ps", "-aq", *filters).split()
        return found

    def inspect(self, service: str) -> dict[str, Any]:
        """Return all that the engine knows of a service's container."""
        return json.loads(output("docker", "inspect", self.container(service)))[0]

    def execute(self, service: str, *command: str) -> str:
        """Run a command in a service's container."""
        return output("docker", "exec", self.container(service), *command)

    def log(self, service: str) -> str:
        """Return what one service said."""
        return self.compose("logs", "--no-color", service)

    @cached_property
    def run_folder(self) -> Path:
        """Return the only run folder on the host."""
        (folder,) = self.runs.iterdir()
        return folder

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Return how the run ended."""
        return json.loads((self.run_folder / "summary.json").read_text())

    @cached_property
    def stored(self) -> list[tuple[str, dict[str, Any]]]:
        """Return every row that the SuperLink's database ever held, as table and values."""
        rows = [json.loads(line) for line in self._keeper("print").splitlines()]
        return [(row["table"], {k: _value(v) for k, v in row["row"].items()}) for row in rows]


def _value(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value


if __name__ == "__main__":
    # CI makes the image while other tests run.
    with TemporaryDirectory() as home:
        Demo(compose_command(), Path(home)).build()
