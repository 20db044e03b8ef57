"""A regression over small files of noise, one for each of three nodes."""

import random
from pathlib import Path

from app.config import load
from app.config.load import GROUP_KEYS

_TASK = """defaults:
  - csv_schema
  - _self_
label: {column: days, min: 0, max: 100}
numeric:
  age: {min: 0, max: 120}
  bmi: {min: 10, max: 60}
categorical:
  sex: {categories: [f, m]}
model: linear
"""


def regression_run(folder: Path, monkeypatch) -> dict:
    """Write the files and the task; return the run config of six rounds."""
    conf = folder / "conf"
    for name in ("config.yaml", *(f"{group}/*.yaml" for group in GROUP_KEYS)):
        for file in load.CONF_DIR.glob(name):
            copy = conf / file.relative_to(load.CONF_DIR)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
    (conf / "task" / "days.yaml").write_text(_TASK)
    monkeypatch.setattr(load, "CONF_DIR", conf)
    for node in range(3):
        chance = random.Random(node)
        rows = [
            f"{chance.randint(0, 119)},{chance.randint(10, 59)},{chance.choice('fm')},"
            f"{chance.randint(0, 100)}"
            for _ in range(100)
        ]
        (folder / f"{node}.csv").write_text("\n".join(["age,bmi,sex,days", *rows]) + "\n")
    nodes = folder / "nodes.yaml"
    nodes.write_text("".join(f"- {{data-path: {folder}/{n}.csv}}\n" for n in range(3)))
    return {
        "task": "days",
        "num-rounds": 6,
        "deterministic": True,
        "simulation-nodes": str(nodes),
        "output-dir": str(folder / "run"),
    }
