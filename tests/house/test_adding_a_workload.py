"""The worked example of docs/architecture.md, built from the page's own text."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT

PACKAGES = ("app", "strategies", "workloads", "tasks", "privacy", "conf")
RUN = {"task": "breast_cancer", "algorithm": "label_histogram", "num-rounds": 1}
PRIVATE = (
    "privacy.noise_multiplier=2 privacy.delta=1e-3 privacy.population=4 privacy.sampling_rate=1"
    " privacy.expected_batch_size=456 aggregation.min_survivors=3"
)
CODE = """
import json, sys
from app.simulation.in_process import simulate
outcome = simulate(json.loads(sys.argv[1]), num_nodes=4)
print(json.dumps([float(count) for count in outcome.state.arrays["counts"]]))
"""
POOLED = """
import json
import numpy as np
from app.builders.workload import build_task
from app.config.load import load_config
from tasks.base import DataSource
from tests import ROOT
task = build_task(load_config({"task": "breast_cancer"}))
parts = [task.load(DataSource(node, 4)).train.targets for node in range(4)]
print(json.dumps(np.bincount(np.concatenate(parts)).tolist()))
"""


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page[page.index("## Add a workload") :]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Return a copy of the code with the page's file, YAML and line in it."""
    folder = tmp_path_factory.mktemp("tree")
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    file, line = blocks("python")
    (folder / "workloads" / "label_histogram.py").write_text(file)
    (yaml,) = blocks("yaml")
    (folder / "conf" / "algorithm" / "label_histogram.yaml").write_text(yaml)
    registry = folder / "workloads" / "registry.py"
    text = "from workloads.label_histogram import LabelHistogram\n" + registry.read_text()
    registry.write_text(text.replace("\n}\n", f"\n{line.rstrip()}\n}}\n"))
    return folder


def counts(tree: Path, code: str, *arguments: str) -> np.ndarray:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def run(tree: Path, folder: Path, **keys) -> np.ndarray:
    keys = {key.replace("_", "-"): value for key, value in keys.items()}
    return counts(tree, CODE, json.dumps(RUN | {"output-dir": str(folder)} | keys))


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["secagg", "plain"])
def test_the_masked_sum_is_the_pooled_count(tree, tmp_path, aggregation):
    found = run(tree, tmp_path / "run", aggregation=aggregation)
    pooled = counts(tree, POOLED)
    assert pooled.sum() > 400
    np.testing.assert_array_equal(found, pooled)


@pytest.mark.slow
def test_under_example_distributed_it_has_the_noise_that_was_asked_for(tree, tmp_path):
    found = run(tree, tmp_path / "run", privacy="example_distributed", overrides=PRIVATE)
    difference = found - counts(tree, POOLED)
    # Four shares of T - c = 2: a deviation of 2.8. 8.5 deviations are 2e-17 for the two counts.
    assert np.abs(difference).max() < 24
    assert difference.any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("privacy", "free", "told"),
    [
        ("example_distributed", f"{PRIVATE} privacy.clip_norm=1", "it has no effect on"),
        ("example_distributed", f"{PRIVATE} task.training.momentum=0.5", "trains no model"),
        (
            "example_distributed",
            f"{PRIVATE} privacy.metrics.every=1 privacy.metrics.noise_multiplier=1",
            "scores nothing, and each node would pay",
        ),
        ("example_distributed", f"{PRIVATE} privacy.fix_model=true", "has no model"),
        ("none", "early_stopping.patience=2", "scores nothing, so no loss"),
        (
            "client_central",
            "privacy.noise_multiplier=2 privacy.delta=1e-3 privacy.population=4",
            "it has no bound for the unit client",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(tree, tmp_path, privacy, free, told):
    config = RUN | {"output-dir": str(tmp_path / "run"), "privacy": privacy, "overrides": free}
    command = [sys.executable, "-c", CODE, json.dumps(config)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert told in done.stderr
