"""The cost of the imports of a process that answers one message.

Flower's SuperNode starts a new Python for every message, so these seconds are in every trip;
under ``tacet supernode`` a fork has done most of it before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: What each kind of message imports, beside what stands above it.
STEPS = {
    "Flower's process for any message": "import flwr.supernode.cli",
    "this app: keys and unmasking": (
        "import app.client, strategies.masked.client; from app.config.load import load_config;"
        " load_config({})"
    ),
    "torch: training": (
        "import tasks.training.local, torch; from tasks.schema import TrainingConfig;"
        " from tasks.training.optimizer import build_optimizer;"
        " build_optimizer(torch.nn.Linear(1, 1), TrainingConfig())"
    ),
    "Opacus: private training": "import tasks.training.dp_sgd",
}
HEADERS = ("imports", "CPU s", "in all")
_REPEATS = 3
_CODE = """\
import json, time
took = []
for step in {steps!r}:
    started = time.process_time()
    exec(step)
    took.append(time.process_time() - started)
print(json.dumps(took))
"""


def measure() -> dict[str, float]:
    """Return the CPU seconds of each step, the least of several fresh processes."""
    code = _CODE.format(steps=list(STEPS.values()))
    root = Path(__file__).resolve().parent.parent
    runs: list[list[float]] = []
    for _ in range(_REPEATS):
        told = subprocess.run(
            [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
        )
        runs.append(json.loads(told.stdout.splitlines()[-1]))
    return dict(zip(STEPS, map(min, *runs), strict=True))


def cells(seconds: dict[str, float]) -> list[list[str]]:
    """Return the rows of the table."""
    total, rows = 0.0, list[list[str]]()
    for step, took in seconds.items():
        total += took
        rows.append([step, f"{took:.2f}", f"{total:.2f}"])
    return rows
