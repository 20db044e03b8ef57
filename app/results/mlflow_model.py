"""A run's model in MLflow's registry, where any program can load it that has its packages.

It is saved as the function ``predict`` of Tacet: columns by the names that the records have in,
predictions out. Nothing is pickled: the model is the run's ``model.safetensors``, and Tacet's
code goes with it.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from app.results.mlflow_run import MLflowRun

#: Imported by MLflow when it loads the model.
LOADER = "app.prediction.mlflow_loader"
_ROOT = Path(__file__).resolve().parents[2]
#: Copied into each model. There is another package named tacet on PyPI, so it is not required.
_CODE = ("app", "strategies", "workloads", "tasks", "privacy", "conf")
#: What Tacet's own package requires, and pandas, whose frames MLflow's functions take.
REQUIRED = (
    "flwr",
    "torch",
    "opacus",
    "hydra-core",
    "numpy",
    "safetensors",
    "scikit-learn",
    "cryptography",
    "scipy",
    "dp-accounting",
    "randomgen",
    "rich",
    "tensorboardX",
    "rfc8785",
    "jinja2",
    "matplotlib",
    "pillow",
    "pandas",
)


def requirements() -> list[str]:
    """Return the packages that a model needs, each in the version that is installed here."""
    # What is behind the plus, as in 2.13.0+cpu, names an index of its own.
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIRED]


def register(run: MLflowRun, model: Path, name: str) -> int:
    """Log a model file as the run's model, and make it the newest version of a name.

    Parameters
    ----------
    run : MLflowRun
        That has begun.
    model : Path
        A ``model.safetensors``.
    name : str
        In the registry; made if there is none.

    Returns
    -------
    int
        The version.
    """
    from mlflow.entities import LoggedModelOutput

    client = run.client
    logged = client.create_logged_model(
        run.experiment_id, name="model", source_run_id=run.run_id
    )
    try:
        with TemporaryDirectory() as folder:
            client.log_model_artifacts(logged.model_id, str(_saved(folder, model, logged)))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    _require_name(run, name)
    # A store without a server looks an id up in MLflow's global store, which may be another.
    source = f"models:/{logged.model_id}" if run.has_server() else logged.artifact_location
    found = client.create_model_version(
        name, source, run_id=run.run_id, model_id=logged.model_id
    )
    return int(found.version)


def _saved(folder: str, model: Path, logged: object) -> Path:
    """Save MLflow's form of the model below a folder; return where."""
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    path = Path(folder) / "model"
    save_model(
        path,
        loader_module=LOADER,
        data_path=str(model),
        code_paths=[str(_ROOT / name) for name in _CODE],
        pip_requirements=requirements(),
        mlflow_model=Model(model_id=getattr(logged, "model_id", None)),
    )
    return path


def _require_name(run: MLflowRun, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
