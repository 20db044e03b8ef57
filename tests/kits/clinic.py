"""A csv task of three nodes, with every kind of label, and runs of it that are made once."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import numpy as np
import yaml

from app.config import load as loading
from app.simulation.in_process import simulate

LABELS = {
    "ill": {"column": "ill", "classes": ["no", "yes"]},
    "kind": {"column": "kind", "classes": ["a", "b", "c"]},
    "days": {"column": "days", "min": 0, "max": 60},
    "died": {"time": {"column": "months", "max": 40}, "event": "died"},
}
FEATURES = {
    "numeric": {"age": {"min": 20, "max": 90}, "dose": {"min": 0, "max": 4, "fill": 2}},
    "categorical": {"ward": {"categories": ["a", "b", "other"], "unknown": "other"}},
}
HEADER = "id,age,dose,ward,ill,kind,days,months,died"
_OF_LABELS = ["ill", "kind", "days", "months", "died"]


def rows(num: int, seed: int) -> list[list[str]]:
    """Return rows as texts, in the order of ``HEADER``; none misses a value."""
    draws = np.random.default_rng(seed)
    found: list[list[str]] = []
    for number in range(num):
        age, dose = draws.uniform(20, 90), draws.uniform(0, 4)
        ward = ("a", "b", "other")[draws.integers(3)]
        score = (age - 55) / 15 + dose - 2 + (ward == "a") + draws.normal()
        ill, kind = ("yes" if score > 0 else "no"), "abc"[int(np.digitize(score, [-1, 1]))]
        days = np.clip(20 + 8 * score, 0, 60)
        months = max(0.5, draws.exponential(10 * np.exp(-score / 3)))
        values = [f"{age:.1f}", f"{dose:.2f}", ward, ill, kind, f"{days:.1f}"]
        died = str(int(draws.random() < 0.8))
        found.append([str(number), *values, f"{months:.2f}", died])
    return found


def write(file: Path, found: list[list[str]], header: str = HEADER) -> Path:
    file.write_text("\n".join([header, *(",".join(row) for row in found)]) + "\n")
    return file


def task_yaml(label: str, **more) -> dict:
    """Return the keys of a task that predicts one of the labels."""
    own = {LABELS[label].get("column"), LABELS[label].get("event")}
    own |= {LABELS[label].get("time", {}).get("column")}
    drop = ["id", *(name for name in _OF_LABELS if name not in own)]
    keys = {"defaults": ["csv_schema", "_self_"], "label": LABELS[label], "drop": drop}
    training = {"training": {"learning_rate": 0.1, "num_epochs": 1}}
    return {**keys, **FEATURES, **training, **more}


def run(label: str, algorithm: str, num_rounds: int = 2, overrides: str = "", **more) -> Path:
    """Return the folder of a run over three nodes of 60 rows each, made once."""
    return _run(label, algorithm, num_rounds, overrides, yaml.safe_dump(more))


@cache
def _run(label: str, algorithm: str, num_rounds: int, overrides: str, more: str) -> Path:
    home = Path(mkdtemp(prefix="tacet-clinic-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    conf = home / "conf"
    (conf / "task").mkdir(parents=True)
    for name in ("algorithm", "aggregation", "privacy", "tracking", "config.yaml"):
        (conf / name).symlink_to(loading.CONF_DIR / name)
    (conf / "task" / "clinic.yaml").write_text(
        yaml.safe_dump(task_yaml(label, **yaml.safe_load(more)))
    )
    nodes = [{"data-path": str(write(home / f"{n}.csv", rows(60, seed=n)))} for n in range(3)]
    (home / "nodes.yaml").write_text(yaml.safe_dump(nodes))
    given = {"task": "clinic", "algorithm": algorithm, "num-rounds": num_rounds}
    given |= {"overrides": overrides}
    given |= {"simulation-nodes": str(home / "nodes.yaml"), "output-dir": str(home / "run")}
    with patch.object(loading, "CONF_DIR", conf):
        simulate(given, 3)
    return home / "run"
