"""The command on the privacy page gives the accuracy that the README promises."""

import re
import shlex
import statistics

import pytest

from app.config.pairs import parse_pairs
from benchmarks.heart_rows import train_and_score
from tests import ROOT


def documented_run_config() -> dict:
    """Return the run config of the page's command."""
    page = (ROOT / "docs" / "privacy.md").read_text()
    (command,) = re.findall(
        r"^flwr run .*\"heart\".*example_distributed.*$", page, re.MULTILINE
    )
    words = shlex.split(command)
    return parse_pairs(words[words.index("--run-config") + 1])


def promised(epsilon: str) -> float:
    """Return what the README's table says of ``example_distributed``."""
    table = (ROOT / "README.md").read_text()
    rows = rf"^\| `example_distributed`[^|]*\| {re.escape(epsilon)} \| (0\.\d+) \+- "
    (value,) = re.findall(rows, table, re.MULTILINE)
    return float(value)


@pytest.mark.slow
def test_the_pages_command_gives_what_the_readme_says(data_dir):
    run_config = documented_run_config() | {"data-dir": str(data_dir / "heart")}
    assert "privacy.epsilon=1 " in run_config["overrides"]
    # Once, and once more: a run is off by 0.012, and the fault that this is to find was 0.04.
    means = [
        statistics.mean(train_and_score(run_config | {"seed": seed}).values())
        for seed in (42, 43)
    ]
    assert abs(statistics.mean(means) - promised("1")) < 0.03
