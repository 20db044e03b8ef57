"""The compose demo on a real engine, brought up once for all tests here."""

import os
import shutil
import subprocess
from collections.abc import Generator

import pytest

from tests.docker.demo import Demo, compose_command


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Generator[Demo]:
    """Bring the demo up and wait until the job has ended; the database is watched."""
    if shutil.which("docker") is None or not _answers():
        if "TACET_NEEDS_DOCKER" in os.environ:
            pytest.fail("no Docker engine answers")
        pytest.skip("no Docker engine answers; `make test-docker` starts one where it may")
    demo = Demo(compose_command(), tmp_path_factory.mktemp("demo"))
    demo.down()
    try:
        demo.train()
        yield demo
    except BaseException:
        print(demo.logs())
        raise
    finally:
        demo.down()


def _answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0
