"""Configurations of the task ``csv``, and files that fit them or do not."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tasks.csv.schema import CsvConfig
from tests import ROOT

CONF = ROOT / "conf" / "task"

KEYS: dict[str, Any] = {
    "label": {"column": "ill", "classes": ["no", "yes"]},
    "numeric": {"age": {"min": 0, "max": 100}, "bmi": {"min": 10, "max": 50, "fill": 20}},
    "categorical": {
        "sex": {"categories": ["f", "m"]},
        "ward": {"categories": ["a", "b", "other"], "fill": "other", "unknown": "other"},
    },
    "drop": ["id"],
}
HEADER = "id,age,bmi,sex,ward,ill"
GOOD = "1,50,30,f,a,no"
REGRESSION: dict[str, Any] = {
    "label": {"column": "days", "min": 0, "max": 80},
    "numeric": {"age": {"min": 0, "max": 100}},
    "model": "linear",
}


def make(keys: dict[str, Any]) -> CsvConfig:
    """Build the configuration as the app does: a wrong type or an unknown key is an error."""
    merged = OmegaConf.merge(OmegaConf.structured(CsvConfig), OmegaConf.create(keys))
    return OmegaConf.to_object(merged)


def config_with(**keys: Any) -> CsvConfig:
    return make({**KEYS, **keys})


def from_yaml(name: str, keys: dict[str, Any] | None = None) -> CsvConfig:
    values = OmegaConf.load(CONF / f"{name}.yaml")
    assert values.pop("defaults") == ["csv_schema", "_self_"]
    return make(OmegaConf.merge(values, keys or {}))


def write(directory: Path, *rows: str, header: str = HEADER, name: str = "p.csv") -> Path:
    file = directory / name
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8", newline="")
    return file
