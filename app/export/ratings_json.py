"""Readable JSON of a recommender: what it takes to recommend. See docs/recommender.md."""

from __future__ import annotations

import json

import numpy as np

from tasks.ratings.task import Ratings
from workloads.als.als import Als
from workloads.values import State

_FORMAT = "tacet-ratings-1"


def ratings_json(task: Ratings, workload: Als, state: State) -> bytes:
    """Return the file: mean, biases and factors on [-1, 1], and the ridges of a user's fit."""
    items, bias_ridge, factor_ridge = workload.as_items(state)
    names = task.config.item_names()
    rows = zip(names, items.bias.tolist(), np.asarray(items.factors).tolist(), strict=True)
    told = {
        "format": _FORMAT,
        "min": task.config.min_rating,
        "max": task.config.max_rating,
        "mean": items.mean,
        "bias_ridge": bias_ridge,
        "factor_ridge": factor_ridge,
        "items": [{"item": item, "bias": bias, "factors": own} for item, bias, own in rows],
    }
    return (json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()
