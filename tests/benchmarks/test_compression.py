"""The benchmark of compression: its bytes, its peers and its verdicts."""

import argparse

import pytest

from benchmarks import compression
from benchmarks.compression import FULL, Row

OPTIONS = argparse.Namespace(rounds=2, steps=1, seeds=[1], epsilon=None)


@pytest.mark.parametrize(
    ("name", "first", "later"),
    [("32 bits", 4.0, 4.0), ("4 bits", 4.0, 1.0), ("4 bits, 70 % kept", 4.0, 0.7)],
)
def test_bytes_are_those_of_the_plan(name, first, later):
    found = compression.bytes_each(compression._run_config(name, OPTIONS))
    # The mean squares of two parts are 16 bytes more.
    assert found == pytest.approx((first, later), abs=0.001)


@pytest.mark.parametrize(
    ("name", "size"), [("32 bits", 4.0), ("16 bits", 2.0), ("50 % kept", 2.0)]
)
def test_under_privacy_there_is_no_other_first_round(name, size):
    options = argparse.Namespace(rounds=20, steps=1, seeds=[1], epsilon=3.0)
    given = compression._run_config(name, options)
    assert "algorithm.average_from=19" in str(given["overrides"])
    # 20,490 parameters are padded to eleven blocks of the rotation.
    each = size * 22_528 / 20_490
    assert compression.bytes_each(given) == pytest.approx((each, each))
    assert name in compression.PRIVATE


def test_flowers_own_functions_take_eight_bytes_and_a_header():
    assert 8.0 < compression.secaggplus_bytes() < 8.1


@pytest.mark.parametrize(
    ("size", "accuracies", "holds"),
    [
        (1.0, [96.0, 97.0], True),
        (1.0, [96.2, 96.1], False),
        (1.02, [97.0, 98.0], False),
        (1.0, [96.6, 96.4], True),
    ],
)
def test_a_row_fails_by_bytes_or_by_the_mean_of_its_points(size, accuracies, holds):
    full = Row(FULL, 4.0, 4.0, [96.5, 97.0])
    row = Row("4 bits", size, 4.0, accuracies)
    found, line = compression._verdict(row, full)
    assert found is holds
    assert f"{row.points(full):+.2f} points" in line
