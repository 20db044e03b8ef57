"""MLflow in a file: what a run has left there."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from app.config.tracking import MLflowConfig
from app.results.mlflow_run import MLflowRun
from tests.kits.killed_runs import plain_run

#: What MLflow warns of about itself: its use of SQLAlchemy, and its type hints.
QUIET = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]


def new_store(folder: Path) -> str:
    """Return the address of a store that has its tables, which take MLflow seconds."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    MLflowRun.connect(MLflowConfig(uri, experiment="first"))
    return uri


def tracked_run(folder: Path, uri: str, **changes: Any) -> dict[str, Any]:
    """Return the run config of four short rounds that go to a store; a name of their own."""
    run_config = plain_run(folder)
    free = f"{run_config['overrides']} tracking.uri={uri} tracking.experiment={folder.name}"
    free += f" tracking.registered_model=m-{folder.name} {changes.pop('free', '')}"
    return {**run_config, "tracking": "mlflow", "overrides": free.strip(), **changes}


def runs_of(uri: str, folder: Path) -> list[Any]:
    """Return MLflow's runs of a test, the newest first."""
    client = client_of(uri)
    found = client.get_experiment_by_name(folder.name)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def curves_of(uri: str, run: Any) -> dict[tuple[str, int], list[float]]:
    """Return the values at each step of each curve."""
    client = client_of(uri)
    found: dict[tuple[str, int], list[float]] = {}
    for name in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, name):
            found.setdefault((name, point.step), []).append(point.value)
    return found


def client_of(uri: str) -> Any:
    """Return a client of MLflow's own."""
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def all_text(database: Path) -> str:
    """Return everything that a store in a file has, as text."""
    with sqlite3.connect(database) as opened:
        return "\n".join(opened.iterdump())
