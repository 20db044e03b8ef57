"""Labels of three classes and of numbers, from files of the nodes, through both apps."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import r2_score

from app.config import load
from app.config.load import GROUP_KEYS
from app.results.model_file import load_model
from app.simulation.in_process import simulate

COLUMNS = """numeric:
  age: {min: 0, max: 100}
  dose: {min: 0, max: 10}
categorical:
  ward: {categories: [a, b, c]}
"""
CLASSES = f"""defaults:
  - csv_schema
  - _self_
label: {{column: kind, classes: [x, y, z]}}
{COLUMNS}"""
NUMBERS = f"""defaults:
  - csv_schema
  - _self_
label: {{column: days, min: 0, max: 80}}
model: linear
{COLUMNS}"""
NUM_NODES, NUM_ROWS = 3, 400


def rows(num: int, seed: int):
    draws = np.random.default_rng(seed)
    age, dose = draws.uniform(0, 100, num), draws.uniform(0, 10, num)
    ward = draws.integers(3, size=num)
    return draws, np.stack([age, dose, ward], axis=1)


def kinds(num: int, seed: int):
    draws, columns = rows(num, seed)
    far = (columns[:, 0] - 50) ** 2 / 400 - 2
    scores = np.stack([far, columns[:, 1] - 5, 2.0 * (columns[:, 2] == 1)], axis=1)
    noise = draws.gumbel(size=scores.shape)
    return columns, (scores + noise).argmax(axis=1), [*"xyz"]


def days(num: int, seed: int):
    draws, columns = rows(num, seed)
    label = 20 + (columns[:, 0] - 50) ** 2 / 100 + 2 * columns[:, 1] + 5 * columns[:, 2]
    return columns, np.clip(label + draws.normal(size=num), 0, 80), None


@pytest.fixture
def run_config(tmp_path, monkeypatch):
    """Return a function that writes task and files, and gives the run config."""

    def make(name: str, text: str, records) -> dict:
        conf = tmp_path / "conf"
        for pattern in ("config.yaml", *(f"{group}/*.yaml" for group in GROUP_KEYS)):
            for file in load.CONF_DIR.glob(pattern):
                copy = conf / file.relative_to(load.CONF_DIR)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(file.read_text())
        (conf / "task" / f"{name}.yaml").write_text(text)
        monkeypatch.setattr(load, "CONF_DIR", conf)
        for node in range(NUM_NODES):
            write(tmp_path / f"{node}.csv", *records(NUM_ROWS, node))
        nodes = tmp_path / "nodes.yaml"
        nodes.write_text(
            "".join(f"- {{data-path: {tmp_path}/{n}.csv}}\n" for n in range(NUM_NODES))
        )
        return {
            "task": name,
            "algorithm": "ebm",
            "simulation-nodes": str(nodes),
            "output-dir": str(tmp_path / "run"),
        }

    return make


def write(file: Path, columns, label, classes) -> None:
    lines = ["age,dose,ward,kind,days"]
    for (age, dose, ward), value in zip(columns, label, strict=True):
        told = f"{classes[value]},0" if classes else f"x,{value}"
        lines.append(f"{age},{dose},{'abc'[int(ward)]},{told}")
    unused = 4 if classes else 3
    kept = [[f for n, f in enumerate(line.split(",")) if n != unused] for line in lines]
    file.write_text("\n".join(",".join(fields) for fields in kept) + "\n")


def private(epsilon: float) -> dict:
    free = (
        f"privacy.epsilon={epsilon} privacy.delta=1e-5 privacy.population=3"
        " privacy.sampling_rate=1 privacy.expected_batch_size=1200"
        " aggregation.min_survivors=3 task.test_fraction=0"
    )
    return {"privacy": "example_distributed", "num-rounds": 6, "overrides": free}


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "least"), [({"num-rounds": 8}, 0.7), (private(20), 0.68)])
def test_three_classes(tmp_path, run_config, keys, least):
    """The true scores are right about 0.75 of the records; the largest class is 0.37."""
    simulate(run_config("kinds", CLASSES, kinds) | keys, NUM_NODES)
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    columns, label, _ = kinds(4000, 99)
    found = model.predict(columns)
    assert found.shape == (4000, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == label).mean() > least


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "least"), [({"num-rounds": 25}, 0.95), (private(20), 0.8)])
def test_a_number(tmp_path, run_config, keys, least):
    """In the label's own unit; the noise of the label is under 1 % of its variance."""
    simulate(run_config("days", NUMBERS, days) | keys, NUM_NODES)
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    columns, label, _ = days(4000, 99)
    found = model.predict(columns)
    assert found.shape == (4000,)
    assert r2_score(label, found) > least
