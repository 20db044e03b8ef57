"""The JSON of an additive model is read by its documented schema alone."""

import json
import math

import numpy as np
import pytest

from app.export.curves_json import curves_json
from tests.app.export.models import COLUMNS, LABELS, model, records, rows, trees


def told(label: str) -> dict:
    found = model("ebm", label)
    return json.loads(curves_json(found.workload.as_curves(found.state)))


def bin_of(column: dict, value: float) -> dict:
    """Return the bin that a value is in, as docs/tables.md has it."""
    *places, missing = column["bins"]
    assert missing["missing"] is True
    if math.isnan(value):
        return missing
    if column["kind"] == "category":
        return places[int(value)]
    (found,) = [
        place
        for place in places
        if (place["from"] is None or place["from"] <= value)
        and (place["to"] is None or value < place["to"])
    ]
    return found


def predicted(file: dict, row: np.ndarray) -> list[float]:
    sums = list(file["intercept"])
    for column, value in zip(file["columns"], row, strict=True):
        sums = [a + b for a, b in zip(sums, bin_of(column, value)["adds"], strict=True)]
    if file["link"] == "number":
        return [min(max(sums[0], file["min"]), file["max"])]
    if file["link"] == "logistic":
        p = 1 / (1 + math.exp(-sums[0]))
        return [1 - p, p]
    powers = [math.exp(one) for one in sums]
    return [one / sum(powers) for one in powers]


@pytest.mark.parametrize("label", LABELS)
def test_a_person_can_work_out_what_the_model_says(label):
    file = told(label)
    columns = rows(trees("ebm", label).cuts, 2000)
    for place, column in enumerate(COLUMNS):
        if column.is_categorical:
            # A position that is none has no bin here.
            columns[columns[:, place] >= len(column.categories), place] = np.nan
    found = np.array([predicted(file, row) for row in columns])
    due = model("ebm", label).predict(columns).reshape(found.shape)
    size = 1.0 if file["link"] != "number" else file["max"] - file["min"]
    np.testing.assert_allclose(found, due, rtol=0, atol=1e-13 * size)


def test_names_categories_and_counts_are_those_of_the_records():
    file = told("three")
    assert (file["format"], file["label"]) == ("tacet-curves-1", "kind")
    assert file["classes"] == ["x", "y", "z"]
    assert [column["name"] for column in file["columns"]] == [one.name for one in COLUMNS]
    ward = file["columns"][4]["bins"]
    assert [one.get("category") for one in ward] == [*"abcdefg", None]
    values = records("three", 1000).columns[:, 4]
    counted = [(values == place).sum() for place in range(7)] + [np.isnan(values).sum()]
    assert [one["count"] for one in ward] == counted
