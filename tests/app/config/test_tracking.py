"""The group ``tracking``: what it takes, and that no secret gets into a run config."""

import pytest

from app.config.load import ConfigError, load_config, resolved
from app.config.tracking import MLflowConfig

SECRET = "correct-horse"


def refused(free: str, **keys) -> str:
    with pytest.raises(ConfigError) as info:
        load_config({"overrides": free, **keys})
    return str(info.value)


def of_uri(uri: str) -> str:
    return refused(f"tracking=mlflow tracking.uri=\"'{uri}'\"")


def test_nothing_is_tracked_by_default():
    assert resolved(load_config({}))["tracking"] == {"name": "none"}


@pytest.mark.parametrize(
    "uri", ["", "http://127.0.0.1:5000", "https://mlflow.example.org/x", "sqlite:////a/b.db"]
)
def test_a_server_or_a_file_is_taken(uri):
    free = f"tracking.uri={uri}" if uri else ""
    assert load_config({"tracking": "mlflow", "overrides": free}).tracking == MLflowConfig(uri)


@pytest.mark.parametrize(
    "uri",
    [
        f"https://me:{SECRET}@example.org",
        f"https://{SECRET}@example.org",
        f"https://example.org/?token={SECRET}",
        f"https://example.org/#{SECRET}",
        f"postgresql://me:{SECRET}@example.org/mlflow",
        f"https://me:{SECRET}@[example.org",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(uri):
    said = of_uri(uri)
    assert said.startswith("tracking.uri")
    assert SECRET not in said
    assert "environment of the SuperLink" in said or "is no address" in said


@pytest.mark.parametrize(
    ("uri", "mend"),
    [
        ("mlruns", "must begin with http://"),
        ("file:///mlruns", "must begin with http://"),
        ("postgresql://host/mlflow", "mlflow server --backend-store-uri"),
        ("sqlite:///mlflow.db", "four slashes"),
        ("http://", "names no host"),
        ("http://host:port", "is no address"),
    ],
)
def test_an_address_where_mlflow_is_not_found_is_refused(uri, mend):
    assert mend in of_uri(uri)


@pytest.mark.parametrize("name", ["a/b", "a:1", "' a'"])
def test_a_name_that_the_registry_refuses_is_refused(name):
    free = f'tracking=mlflow tracking.registered_model="{name}"'
    assert "tracking.registered_model=" in refused(free)


def test_an_experiment_needs_a_name():
    assert "tracking.experiment=" in refused("tracking=mlflow tracking.experiment=\"' '\"")


def test_tables_have_no_name_in_the_registry():
    free = "tracking=mlflow tracking.registered_model=x"
    said = refused(free, task="breast_cancer", algorithm="statistics")
    assert (
        "tracking.registered_model has no effect here: the result is no model that predicts"
        in said
    )


def test_a_key_of_mlflow_without_mlflow_is_refused():
    assert "tracking.uri is not a key" in refused("tracking.uri=http://127.0.0.1:5000")
