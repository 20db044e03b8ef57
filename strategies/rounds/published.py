"""What nodes publish of themselves beside their contributions, read with no trust in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from flwr.app import Message

log = logging.getLogger("flwr.tacet")

#: Name of the record in a reply.
PUBLISHED = "published"
#: Epsilon and delta of what a node's cap leaves.
EPSILON_LEFT, DELTA = "epsilon_left", "delta"
#: What a node gains in a score, and the parameter b of the Laplace noise in it.
GAINS = ("gain_accuracy", "gain_loss")
GAIN_NOISE = "gain_noise"
#: A gain is cut to +- this, a quarter: more is rare, and the noise is in proportion to it.
LARGEST_GAIN = 0.25
#: What a node's owner may spend on it, as ``app.node.policy`` says.
LEAST_GAIN_EPSILON, MOST_GAIN_EPSILON = 1e-3, 100.0
_NAMES = {EPSILON_LEFT, DELTA, *GAINS, GAIN_NOISE}
_LARGEST = 1e9
# Laplace noise is beyond so many of its scale with a chance of exp(-30) = 1e-13.
_FARTHEST = 30.0
# For rounding.
_SLACK = 1 + 1e-6

Figures = dict[str, float]


class BadFiguresError(ValueError):
    """A record that no node of ours writes."""


class PublishedFigures:
    """The last figures that each node has published, since ``take``."""

    def __init__(self) -> None:
        self._figures: dict[int, Figures] = {}

    def note(self, replies: Mapping[int, Message]) -> None:
        """Read the figures in the replies of a trip, by the node that was asked.

        What is wrong is passed over with a line in the log: a node may say what it likes, and
        no round ends for it.
        """
        for node, reply in replies.items():
            if reply.has_error() or PUBLISHED not in reply.content:
                continue
            try:
                found = _read(reply.content[PUBLISHED])
            except BadFiguresError as error:
                log.warning("client %d publishes what is passed over: %s", node, error)
                continue
            self._figures[node] = self._figures.get(node, {}) | found

    def take(self) -> dict[int, Figures]:
        """Return figures by node, and begin anew."""
        found, self._figures = self._figures, {}
        return dict(sorted(found.items()))


def _read(record: Any) -> Figures:
    """Return the figures of a record.

    Raises
    ------
    BadFiguresError
        If it is anything but a few numbers that go together.
    """
    # Light for whoever reads figures from a file.
    from flwr.app import MetricRecord

    # A record may have a million keys: its length is looked at before them.
    if not isinstance(record, MetricRecord) or not 0 < len(record) <= len(_NAMES):
        raise BadFiguresError("no record of a few figures")
    found: Figures = {}
    for name, value in record.items():
        if name not in _NAMES or type(value) is not float or not abs(value) < _LARGEST:
            raise BadFiguresError("a figure of another name, or no finite number")
        found[name] = value
    if objection := _objection(found):
        raise BadFiguresError(objection)
    return found


def _objection(found: Figures) -> str:
    """Return which figures do not go together; empty if all do."""
    if (EPSILON_LEFT in found) != (DELTA in found):
        return "a budget without its delta, or the other way round"
    if DELTA in found and not (found[EPSILON_LEFT] >= 0 and 0 < found[DELTA] < 1):
        return "a budget below 0, or no delta"
    gains = [name for name in GAINS if name in found]
    if len(gains) > 1 or bool(gains) != (GAIN_NOISE in found):
        return "a gain without its noise, or the other way round"
    return _gain_objection(found[gains[0]], found[GAIN_NOISE]) if gains else ""


def _gain_objection(gain: float, noise: float) -> str:
    """Return why no node of ours says so, which would decide a mean alone; empty if one may."""
    least, most = (2 * LARGEST_GAIN / one for one in (MOST_GAIN_EPSILON, LEAST_GAIN_EPSILON))
    if not least / _SLACK <= noise <= most * _SLACK:
        return "a gain with noise of no epsilon that a policy may have"
    if abs(gain) > LARGEST_GAIN + _FARTHEST * noise:
        return "a gain that its noise does not explain"
    return ""


def plain_figures(values: Any) -> dict[str, Figures]:
    """Return figures by node id as text, from JSON of a run folder; others are left out."""
    if not isinstance(values, dict):
        return {}
    return {
        str(node): {str(name): float(one) for name, one in _items(own) if _is_number(one)}
        for node, own in _items(values)
    }


def _items(values: Any) -> list[tuple[Any, Any]]:
    return [*cast(dict[Any, Any], values).items()] if isinstance(values, dict) else []


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST
