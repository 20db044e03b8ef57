"""Windows of time series, and what is foretold at the end of each."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tasks.csv.scaling import scale
from tasks.records import Examples, LocalData
from tasks.series.reading import Rows
from tasks.series.schema import Goal, SeriesConfig, time_of

_DAY_SECONDS = 86_400.0
_HOLD_OUT_UNIT = b"tacet unit"
_PLACES = NDArray[np.intp]


def windows_of(rows: Rows, config: SeriesConfig, seed: int) -> LocalData:
    """Return the windows of a file: to train on, and held out.

    A window is a record. It ends with a row, and shows that and those of the unit before it; of
    ``remaining_life`` rows before the first are zeros, and said to be none.
    """
    features = _features(rows, config)
    inputs: list[NDArray[np.float32]] = []
    targets: list[float] = []
    is_held_out: list[bool] = []
    for unit, own in _by_unit(rows):
        for shown, target, time in _windows_of_unit(own, rows, config):
            window = np.zeros((config.window, config.num_features), np.float32)
            window[config.window - len(shown) :] = features[shown]
            inputs.append(window)
            targets.append(target)
            is_held_out.append(_is_held_out(unit, time, config, seed))
    shape = len(inputs), config.window, config.num_features
    scaled = scale(np.array(targets, np.float64), config.bounds).astype(np.float32)
    examples = Examples(np.array(inputs, np.float32).reshape(shape), scaled)
    chosen = np.array(is_held_out, bool)
    return LocalData(
        examples.take(np.flatnonzero(~chosen)), examples.take(np.flatnonzero(chosen))
    )


def last_windows(rows: Rows, config: SeriesConfig) -> tuple[list[str], Examples]:
    """Return the window that ends with each unit's last row, of nobody's target.

    Returns
    -------
    units : list of str
        In alphabetical order.
    windows : Examples
        One for each.
    """
    last = list(_last_rows(rows, config))
    return [unit for unit, _ in last], _shown_alone([own for _, own in last], rows, config)


def last_whole_windows(
    rows: Rows, config: SeriesConfig
) -> tuple[list[str], list[int], NDArray[np.bool_], Examples]:
    """Return the last window of each unit that has one as those are that a model learns from.

    Returns
    -------
    units : list of str
        All, in alphabetical order.
    ends : list of int
        The place of each one's last row.
    has_one : ndarray of bool, shape (units,)
        Whether its window has all rows and, where rows have a step, no gap; of
        ``remaining_life`` it may have fewer rows.
    windows : Examples
        Of the units that have one, of nobody's target.
    """
    last = list(_last_rows(rows, config))
    may_be_short = config.goal is Goal.remaining_life
    has_one = [
        (may_be_short or len(own) == config.window) and _is_whole(rows.times[own], config)
        for _, own in last
    ]
    chosen = [own for (_, own), one in zip(last, has_one, strict=True) if one]
    windows = _shown_alone(chosen, rows, config)
    ends = [int(own[-1]) for _, own in last]
    return [unit for unit, _ in last], ends, np.array(has_one, bool), windows


def _last_rows(rows: Rows, config: SeriesConfig) -> Iterator[tuple[str, _PLACES]]:
    """Yield each unit with the last rows that a window can show."""
    for unit, own in _by_unit(rows):
        yield unit, own[-config.window :]


def _shown_alone(shown: list[_PLACES], rows: Rows, config: SeriesConfig) -> Examples:
    """Return the windows that show these rows, of nobody's target."""
    features = _features(rows, config)
    inputs = np.zeros((len(shown), config.window, config.num_features), np.float32)
    for window, own in zip(inputs, shown, strict=True):
        window[config.window - len(own) :] = features[own]
    return Examples(inputs, np.zeros(len(shown), np.float32))


def _by_unit(rows: Rows) -> Iterator[tuple[str, _PLACES]]:
    """Yield each unit with its rows in the order of time, the first of equal times."""
    for unit in np.unique(rows.units):
        own = np.flatnonzero(rows.units == unit)
        _, first = np.unique(rows.times[own], return_index=True)
        yield str(unit), own[first]


def _windows_of_unit(
    own: _PLACES, rows: Rows, config: SeriesConfig
) -> Iterator[tuple[_PLACES, float, float]]:
    """Yield the rows that each window shows, its target and the target's time."""
    times = rows.times[own]
    ahead = config.horizon if config.goal is Goal.forecast else 0
    first = config.window - 1 if config.goal is Goal.forecast else 0
    for last in range(first, len(own) - ahead):
        start = max(0, last - config.window + 1)
        if not _begins(last, times, config) or not _is_whole(
            times[start : last + ahead + 1], config
        ):
            continue
        if config.goal is Goal.forecast:
            target = rows.values[own[last + ahead], list(config.values).index(config.target)]
        else:
            target = min(config.cap, times[-1] - times[last])
        yield own[start : last + 1], float(target), float(times[last + ahead])


def _begins(last: int, times: NDArray[np.float64], config: SeriesConfig) -> bool:
    """Whether there is a window that ends here.

    Where rows have a step of their own, by the time and not by the number of rows before: one
    row more or less moves no other window.
    """
    place = round(times[last] / config.step) if config.step else last
    return place % config.stride == 0


def _is_whole(times: NDArray[np.float64], config: SeriesConfig) -> bool:
    """Whether no row is missing in between."""
    return not config.step or bool(np.allclose(np.diff(times), config.step, rtol=1e-6))


def _is_held_out(unit: str, time: float, config: SeriesConfig, seed: int) -> bool:
    if config.held_out_from:
        return time >= time_of(config.held_out_from, config.time_form)
    key = seed.to_bytes(16, "little")
    digest = blake2b(unit.encode(), digest_size=8, key=key, person=_HOLD_OUT_UNIT).digest()
    return int.from_bytes(digest, "little") < int(config.test_fraction * 2**64)


def _features(rows: Rows, config: SeriesConfig) -> NDArray[np.float32]:
    """Return what a model sees of each row, shape (n, num_features), each within [-1, 1]."""
    columns = [
        scale(values, bounds)
        for values, bounds in zip(rows.values.T, config.values.values(), strict=True)
    ]
    columns.append(np.ones(len(rows.times)))
    if config.calendar:
        for period in (_DAY_SECONDS, 7 * _DAY_SECONDS):
            angle = 2 * np.pi * (rows.times % period) / period
            columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1).astype(np.float32)
