"""The items that a user has not rated and would like best, worked out where the ratings are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.results.model_file import TableModel
from tasks.base import Task
from tasks.ratings.raters import NOT_RATED
from tasks.ratings.task import Ratings
from tasks.records import DataError

# Users that are worked on at once, to bound the memory.
_CHUNK = 256

#: How many items each user is told of, where nobody says.
USUAL_TOP = 10


def ratings_task(task: Task) -> Ratings | None:
    """Return the task if items are recommended for its records, else None."""
    return task if isinstance(task, Ratings) else None


def recommended(
    task: Ratings, model: Any, given: Any, top: int
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the best items of each user, and what was found in the ratings.

    Parameters
    ----------
    task : Ratings
        Of the model.
    model : torch.nn.Module or TableModel
        What foresees ratings. Of ``algorithm=als`` each user's bias and factors are solved from
        the ratings that are given, here, and kept nowhere.
    given : Path or mapping
        Ratings of some users: a file like those that were trained on, or columns by name.
    top : int
        How many items of each user, at least 1; fewer where few are left.

    Returns
    -------
    columns : dict
        ``user``, ``item`` and ``prediction``, a row for each user and item: users in their
        order, and of each the item with the highest rating first. What is rated is left out.
    lines : list of str
        To be printed.

    Raises
    ------
    DataError
        If ``top`` is wrong, or a row does not fit; a line for each.
    """
    if top < 1:
        raise DataError(f"--top {top}: must be at least 1")
    raters, lines = task.raters(given)
    names = np.array(task.config.item_names(), object)
    users: list[str] = []
    items: list[NDArray[Any]] = []
    values: list[NDArray[np.float64]] = []
    for first in range(0, len(raters.users), _CHUNK):
        records = raters.records[first : first + _CHUNK]
        foreseen = _foreseen(task, model, records)
        for user, record, own in zip(
            raters.users[first : first + _CHUNK], records, foreseen, strict=True
        ):
            free = np.flatnonzero(record == NOT_RATED)
            best = free[np.argsort(-own[free], kind="stable")[:top]]
            users += [user] * len(best)
            items.append(names[best])
            values.append(own[best])
    columns: dict[str, NDArray[Any]] = {
        "user": np.array(users, object),
        "item": np.concatenate(items),
        "prediction": np.concatenate(values),
    }
    return columns, [*lines, f"  users: {len(raters.users)}, {top} items each at most"]


def _foreseen(task: Ratings, model: Any, records: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what is foreseen of every item, in the unit of ratings, shape (n, items)."""
    if isinstance(model, TableModel):
        return model.predict(records)  # pyright: ignore[reportArgumentType]
    from tasks.training.local import outputs_of

    return task.to_label_units(outputs_of(model, records))
