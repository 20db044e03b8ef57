"""What a sum of honest contributions cannot be: under masks a liar is only seen in the sum.

Each check returns what is wrong, in words for the log, or None. They bound what approved code
can send, and not what is sensible: within the bounds a participant may send what it likes.
"""

from collections.abc import Iterable, Mapping
from math import log, sqrt

#: The chance that noise alone makes an honest sum look impossible.
_FALSE_ALARM = 1e-9


def deviations(num_values: int) -> float:
    """Return z: Gaussian noise on so many values stays within z sigma, but for 1e-9.

    A union bound over 2 exp(-z^2 / 2) for each.
    """
    return sqrt(2 * log(2 * max(1, num_values) / _FALSE_ALARM))


def wrong_weight(weight: float, num_survivors: int, slack: float) -> str | None:
    """Return why a weight, in units of the cap, is none that so many survivors have."""
    if 0 < weight <= num_survivors + slack:
        return None
    return f"a weight of {weight:g} where {num_survivors} clients have at most {num_survivors}"


def wrong_count(sums: Mapping[str, float], name: str, most: float, slack: float) -> str | None:
    """Return why a sum is no whole number from 0 to a bound."""
    value = sums.get(name, 0.0)
    whole = abs(value - round(value)) <= slack
    if whole and -slack <= value <= most + slack:
        return None
    return f"{name} of {value:g}, which is no count from 0 to {most:g}"


def wrong_share(
    sums: Mapping[str, float], names: Iterable[str], count: str, slack: float
) -> str | None:
    """Return which of these sums, of numbers from 0 to 1, is not between 0 and its count."""
    most = sums.get(count, 0.0)
    for name in names:
        value = sums.get(name, 0.0)
        if not -slack <= value <= most + slack:
            return f"{name} of {value:g} over {most:g} records"
    return None


def wrong_norm(norm: float, most: float) -> str | None:
    """Return why a sum is longer than its terms allow."""
    if norm <= most:
        return None
    return f"an update of norm {norm:.4g} where {most:.4g} is possible"
