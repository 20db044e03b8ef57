"""Fixtures of the benchmarks' tests."""

import logging

import numpy as np
import pytest
import torch

import app.node.settings
from tasks.heart import HOSPITALS


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """Undo what a benchmark sets for its whole process."""
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", False)
    level, threads = logging.getLogger("flwr").level, torch.get_num_threads()
    yield
    logging.getLogger("flwr").setLevel(level)
    torch.set_num_threads(threads)


@pytest.fixture
def made_up_hospitals(tmp_path):
    """Return a folder with UCI's four files, whose patients are drawn from a generator."""
    rng = np.random.default_rng(0)
    for hospital in HOSPITALS:
        lines: list[str] = []
        for sick in rng.permutation([0, 1] * 20):
            plain = [rng.integers(35, 75), rng.integers(2), rng.integers(1, 5)]
            measured = [rng.integers(100, 170), rng.integers(150, 350), rng.integers(2)]
            stress = [
                rng.integers(3),
                rng.integers(80, 190),
                sick,
                round(rng.random() + sick, 1),
            ]
            lines.append(",".join(map(str, [*plain, *measured, *stress, "?", "?", "?", sick])))
        (tmp_path / f"processed.{hospital}.data").write_text("\n".join(lines) + "\n")
    return tmp_path
