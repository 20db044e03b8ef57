"""A node's physics is in its file, within bounds, or drawn from the seed and its number."""

import numpy as np
import pytest

from tasks.records import DataError
from tasks.reinforcement.physics import drawn_physics, read_physics

USUAL = {"gravity": 9.8, "mass": 1.0, "length": 0.5}


def read(tmp_path, text: str) -> dict[str, float]:
    file = tmp_path / "physics.yaml"
    file.write_text(text)
    return read_physics(file, USUAL, 10.0)


def test_what_a_file_leaves_out_is_as_usual(tmp_path):
    assert read(tmp_path, "length: 0.7\nmass: 2\n") == {
        "gravity": 9.8,
        "mass": 2.0,
        "length": 0.7,
    }
    assert read(tmp_path, "{}") == USUAL


@pytest.mark.parametrize("value", [0.05, 5.0])
def test_the_bounds_themselves_are_taken(tmp_path, value):
    assert read(tmp_path, f"length: {value}")["length"] == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lenght: 0.7", "'lenght' is none of gravity, mass, length"),
        ("length: 5.01", r"length: 5.01 is not in \[0.05, 5\]"),
        ("length: 0.0499", r"length: 0.0499 is not in \[0.05, 5\]"),
        ("gravity: -9.8", r"gravity: -9.8 is not in \[0.98, 98\]"),
        ("gravity: .nan", r"gravity: nan is not in"),
        ("gravity: .inf", r"gravity: inf is not in"),
        (f"gravity: 1{'0' * 400}", r"gravity: 10{39} is not in"),
        ("mass: 2026-99-99", "month must be in"),
        ("mass: heavy", "mass: 'heavy' is no number"),
        ("mass: true", "mass: True is no number"),
        ("- 0.7", "must be a mapping from quantities to numbers"),
        ("", "must be a mapping from quantities to numbers"),
        ("length: [0.7", r"physics\.yaml: while parsing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, says):
    with pytest.raises(DataError, match=says) as told:
        read(tmp_path, text)
    assert "\n" not in str(told.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match="must be a YAML file of the environment's physics"):
        read_physics(tmp_path, USUAL, 10.0)


def test_a_drawn_physics_is_in_the_public_range_and_the_nodes_own():
    drawn = [drawn_physics(USUAL, 2.0, seed, node) for seed in (0, 1) for node in range(50)]
    factors = np.array([[one[name] / USUAL[name] for name in USUAL] for one in drawn])
    assert (factors >= 0.5).all()
    assert (factors <= 2).all()
    assert len(np.unique(factors)) == factors.size
    # As often over the usual value as under it, and near to both ends.
    assert 0.3 < np.mean(factors > 1) < 0.7
    assert factors.min() < 0.55
    assert factors.max() > 1.8
    assert drawn_physics(USUAL, 2.0, 1, 7) == drawn[57]


def test_without_variation_it_is_the_usual_one():
    assert drawn_physics(USUAL, 1.0, 0, 3) == USUAL
