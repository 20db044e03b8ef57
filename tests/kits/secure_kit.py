"""Runs with secure aggregation in one process, beside the same runs in clear."""

from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord

FAST = "rounds.deadline_seconds=0.3 task.training.num_steps=3"


def secure_run(folder: Path) -> dict:
    """Return the run config of three short rounds."""
    return {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": 3,
        "deterministic": True,
        "output-dir": str(folder / "run"),
        "overrides": FAST,
    }


def other(run_config, name, **changes):
    return {**run_config, "output-dir": run_config["output-dir"] + name, **changes}


def in_clear(run_config, name="-clear", free=""):
    overrides = f"{run_config['overrides']} {free}"
    return other(run_config, name, aggregation="plain", overrides=overrides)


def through_codec(run_config, name="-codec"):
    return in_clear(run_config, name, "aggregation.through_codec=true")


def assert_same(first: ArrayRecord, second: ArrayRecord):
    for name in first:
        np.testing.assert_array_equal(first[name].numpy(), second[name].numpy())
