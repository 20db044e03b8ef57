"""Readable JSON of an additive model: what each bin of each column adds. See docs/tables.md."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tasks.table import Column
from workloads.decisions import Curves, Floats, Link

_FORMAT = "tacet-curves-1"


def curves_json(model: Curves) -> bytes:
    """Return the file: of a number in the label's unit, of classes in log-odds or scores."""
    half, middle = 1.0, 0.0
    classes, label = model.table.classes, model.table.label
    told: dict[str, Any] = {"format": _FORMAT, "link": model.link.value, "label": label.name}
    if model.link is Link.number:
        half, middle = (label.high - label.low) / 2, (label.low + label.high) / 2
        told |= {"min": label.low, "max": label.high}
    else:
        told["classes"] = list(classes)
    told["intercept"] = (half * model.start + middle).tolist()
    parts = zip(model.table.columns, model.cuts, model.curves, model.counts, strict=True)
    told["columns"] = [
        _column(column, cuts, half * curve, counts) for column, cuts, curve, counts in parts
    ]
    return (json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _column(column: Column, cuts: Floats, curve: Floats, counts: Floats) -> dict[str, Any]:
    """Return the name and the bins of a column; the last is that of missing values."""
    if column.is_categorical:
        places: list[dict[str, Any]] = [{"category": name} for name in column.categories]
    else:
        edges = [None, *cuts.tolist(), None]
        places = [
            {"from": edges[place], "to": edges[place + 1]} for place in range(len(cuts) + 1)
        ]
    places.append({"missing": True})
    told = zip(places, np.transpose(curve).tolist(), counts.tolist(), strict=True)
    bins = [place | {"adds": adds, "count": count} for place, adds, count in told]
    kind = "category" if column.is_categorical else "number"
    return {"name": column.name, "kind": kind, "bins": bins}
