"""A run in MLflow, written through a client of its own.

MLflow's fluent functions (``mlflow.start_run``, ``mlflow.log_metric``) would change what else a
program logs to MLflow; nothing here calls them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config.load import ConfigError
from app.config.tracking import MLflowConfig, check_uri

#: What MLflow is told unless the environment says otherwise: by default it tries for minutes.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
# What MLflow takes in one request.
_MOST_PARAMS, _MOST_METRICS = 100, 1000
#: In every round's line, so its last step is the last round that MLflow has.
_IN_EVERY_ROUND = "seconds"
_LONGEST_ERROR = 300

#: Name, value and step of a point of a curve.
Point = tuple[str, float, int]


@dataclass
class MLflowRun:
    """A run of an experiment.

    Attributes
    ----------
    client : mlflow.MlflowClient
        Of the store.
    uri : str
        Of the store, without any secret.
    experiment, experiment_id : str
        The name, and MLflow's id.
    run_id : str
        MLflow's id of the run; empty until it has begun.
    """

    client: Any
    uri: str
    experiment: str
    experiment_id: str
    run_id: str = ""

    @classmethod
    def connect(cls, config: MLflowConfig) -> MLflowRun:
        """Return a run that has not begun, in a store that answers.

        Raises
        ------
        ConfigError
            If MLflow is not installed, or the store or its model registry gives no answer.
        """
        client_class, uri = _client_class(), store_uri(config)
        try:
            client = client_class(tracking_uri=uri, registry_uri=uri)
            experiment_id = _experiment(client, config.experiment, uri)
            # Both are asked now, as what they lack would show after the last round only.
            client.search_registered_models(max_results=1)
            client.search_logged_models([experiment_id], max_results=1)
        except ConfigError:
            raise
        except Exception as error:
            raise _unusable(uri, error) from None
        return cls(client, uri, config.experiment, experiment_id)

    def begin(self, name: str, tags: Mapping[str, str], files: Iterable[Path]) -> None:
        """Make the run, and put its first files to see whether MLflow's storage takes them.

        Raises
        ------
        ConfigError
            If it does not.
        """
        try:
            run = self.client.create_run(self.experiment_id, run_name=name, tags=dict(tags))
            self.run_id = str(run.info.run_id)
            self.put(files)
        except Exception as error:
            raise _unusable(self.uri, error) from None

    def go_on(self, run_id: str) -> int | None:
        """Go on with a run.

        Returns
        -------
        int or None
            The last round that it has; None if there is no such run, or it was deleted.

        Raises
        ------
        ConfigError
            If the store gives no answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
            if run.info.lifecycle_stage != "active":
                return None
            self.client.update_run(run_id, status="RUNNING")
            history = self.client.get_metric_history(run_id, _IN_EVERY_ROUND)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise _unusable(self.uri, error) from None
        except Exception as error:
            raise _unusable(self.uri, error) from None
        self.run_id = run_id
        return max((int(point.step) for point in history), default=0)

    def tell(self, parameters: Mapping[str, str]) -> None:
        """Log parameters. MLflow keeps the first value of each; a later one is a tag."""
        from mlflow.entities import Param, RunTag

        known = self.client.get_run(self.run_id).data.params
        new = [Param(key, value) for key, value in parameters.items() if key not in known]
        changed = [
            RunTag(f"resumed.{key}", value)
            for key, value in parameters.items()
            if known.get(key, value) != value
        ]
        for start in range(0, len(new), _MOST_PARAMS):
            self.client.log_batch(self.run_id, params=new[start : start + _MOST_PARAMS])
        if changed:
            self.client.log_batch(self.run_id, tags=changed[:_MOST_PARAMS])

    def log(self, points: Iterable[Point]) -> None:
        """Log points of curves, at their steps."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [Metric(name, value, now, step) for name, value, step in points]
        for start in range(0, len(found), _MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=found[start : start + _MOST_METRICS])

    def put(self, files: Iterable[Path]) -> None:
        """Put files into the run's artifacts, over those of the same name."""
        for file in files:
            self.client.log_artifact(self.run_id, str(file))

    def end(self, status: str) -> None:
        """Mark the run FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status=status)

    def has_server(self) -> bool:
        """Return whether the store is a server, and not a file here."""
        return not _is_file(self.uri)

    def where(self) -> str:
        """Return where a person finds the run."""
        if not self.has_server():
            return (
                f"run {self.run_id} of experiment {self.experiment};"
                f" mlflow ui --backend-store-uri {self.uri}"
            )
        return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"


def store_uri(config: MLflowConfig) -> str:
    """Return the address of the store, by the configuration or by the environment.

    Raises
    ------
    ConfigError
        If the environment's is no good.
    """
    if config.uri:
        return config.uri
    if given := os.environ.get("MLFLOW_TRACKING_URI", ""):
        try:
            check_uri("MLFLOW_TRACKING_URI", given)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return given
    return f"sqlite:///{Path.home() / '.tacet' / 'mlflow.db'}"


def _client_class() -> Any:
    """Import MLflow, which then tells its makers nothing.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    # It says home which functions are called unless this is set.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise ConfigError(
            f"tracking=mlflow: MLflow is not installed where the server runs ({error});"
            " pip install 'mlflow>=3.17,<4' in the Python of the SuperLink (it is Tacet's extra"
            " `mlflow`), or take tracking=none"
        ) from None
    return MlflowClient


def _experiment(client: Any, name: str, uri: str) -> str:
    """Return the id of an experiment, which is made if there is none of that name."""
    found = client.get_experiment_by_name(name)
    if found is None:
        place = None
        if _is_file(uri):
            # Else it would be below the directory in which the SuperLink was started.
            folder = Path(uri.removeprefix("sqlite:///")).with_suffix("")
            place = (folder.parent / f"{folder.name}-artifacts").as_uri()
        return str(client.create_experiment(name, artifact_location=place))
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking.experiment={name!r}: was deleted in MLflow; mlflow experiments restore"
            f" --experiment-id {found.experiment_id}, or choose another name"
        )
    return str(found.experiment_id)


def _unusable(uri: str, error: Exception) -> ConfigError:
    mend = "`mlflow server` runs and can be reached from the SuperLink"
    if _is_file(uri):
        mend = "the SuperLink may write that file, and MLflow is as new as the file's maker"
    return ConfigError(
        f"tracking.uri={uri!r}: MLflow cannot be used there: {told(error)}; see that {mend}, or"
        " take tracking=none"
    )


def _is_file(uri: str) -> bool:
    return uri.startswith("sqlite")


def told(error: BaseException) -> str:
    """Return an error in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}..."
