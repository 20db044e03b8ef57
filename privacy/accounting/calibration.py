"""The least noise that keeps a schedule within its epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable

from privacy.accounting.epsilon import Accountant, accountant, renyi_epsilon
from privacy.accounting.epsilon import epsilon as epsilon_of
from privacy.plan.release import Schedule

#: Noise multipliers that are tried.
SMALLEST, LARGEST = 2.0**-20, 2.0**20
# From one multiplier to the next while looking for one that keeps to epsilon.
_STRIDE = 1.5


class CalibrationError(ValueError):
    """An epsilon that no noise keeps."""


def calibrate(
    schedule_of: Callable[[float], Schedule],
    epsilon: float,
    delta: float,
    *,
    relative_tolerance: float = 1e-4,
) -> float:
    """Return the least noise multiplier whose schedule is within (epsilon, delta).

    Parameters
    ----------
    schedule_of : callable
        Returns the schedule of a noise multiplier; raises ValueError where none fits, say the
        modulus.
    epsilon, delta : float
        What may be spent.
    relative_tolerance : float
        How far the answer may be above the least one.

    Returns
    -------
    float
        One that was tried and found within epsilon, by ``accounting.epsilon``; at least 2^-20.

    Raises
    ------
    CalibrationError
        If no multiplier up to 2^20 will do; says what would help.
    ValueError
        If a value is out of range.

    Notes
    -----
    More noise need not cost less: on a fixed number of bits the grid gets coarser with the
    noise, and rounding moves a contribution further. Below the answer lies a multiplier that is
    too small; it is the least of all if there is no other range that will do below that one.
    RDP, which takes milliseconds, finds the neighbourhood; where ``accounting.epsilon`` uses
    PLD, a few evaluations finish.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon={epsilon}: must be finite and above 0")
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta}: must be above 0 and below 1")
    if not relative_tolerance >= 1e-12:
        raise ValueError(f"relative_tolerance={relative_tolerance}: must be at least 1e-12")
    search = _Search(schedule_of, epsilon, delta)
    high = search.usable()
    if high is None:
        # By RDP. What does not shrink with the noise may be cheaper by PLD.
        high = LARGEST
        if search.room(high, epsilon_of) < 0:
            raise search.refusal() from search.misfit
        while search.room(high / 8, epsilon_of) >= 0:
            high /= 8
        return search.finish(high, relative_tolerance)
    high = search.narrow(*search.bracket(high), relative_tolerance)
    if high <= SMALLEST or accountant(schedule_of(high)) is Accountant.RDP:
        return high
    return search.finish(high, relative_tolerance)


class _Search:
    """Search for the least multiplier with room: ln(epsilon allowed / spent) from 0 up."""

    def __init__(
        self, schedule_of: Callable[[float], Schedule], epsilon: float, delta: float
    ) -> None:
        self.schedule_of, self.epsilon, self.delta = schedule_of, epsilon, delta
        self.misfit: ValueError | None = None
        self.least_spent = math.inf

    def room(
        self, multiplier: float, spend: Callable[[Schedule, float], float] = renyi_epsilon
    ) -> float:
        """Return the room, by RDP unless told otherwise, at most 10 either way."""
        try:
            schedule = self.schedule_of(multiplier)
        except ValueError as error:
            self.misfit = error
            return -10.0
        spent = spend(schedule, self.delta)
        self.least_spent = min(self.least_spent, spent)
        if math.isinf(spent):
            return -10.0
        if spent > self.epsilon:
            # Never 0, whichever way the quotient rounds.
            return max(min(math.log(self.epsilon / spent), -1e-15), -10.0)
        return min(max(math.log(self.epsilon / spent), 0.0), 10.0) if spent > 0 else 10.0

    def usable(self) -> float | None:
        """Return some multiplier that keeps the epsilon, or None."""
        steps = round(math.log(LARGEST) / math.log(_STRIDE))
        up = [_STRIDE**i for i in range(steps + 1)]
        for multiplier in up + [1 / value for value in up[1:]]:
            if self.room(multiplier) >= 0:
                return multiplier
        # A narrow range may lie between two that were tried: look around the best.
        low, high = 1 / up[-1], up[-1]
        while high / low > 1.001:
            tried = [low * (high / low) ** (i / 8) for i in range(9)]
            best = max(range(9), key=lambda i: self.room(tried[i]))
            if self.room(tried[best]) >= 0:
                return tried[best]
            low, high = tried[max(best - 1, 0)], tried[min(best + 1, 8)]
        return None

    def bracket(self, high: float) -> tuple[float, float]:
        """Return (no room, room); twice the smallest of all if that has it."""
        while high > SMALLEST:
            low = max(high / _STRIDE, SMALLEST)
            if self.room(low) < 0:
                return low, high
            high = low
        return high, high

    def narrow(self, low: float, high: float, tolerance: float) -> float:
        """Return the end with room of a bracket no wider than the tolerance."""
        while high > low * (1 + tolerance):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self.room(middle) >= 0 else (middle, high)
        return high

    def finish(self, high: float, tolerance: float) -> float:
        """Return the least multiplier by the accountant itself, near ``high``, which will do.

        Each evaluation may take a second, so: secants, of the room over the logarithm of the
        multiplier, which is close to a straight line. RDP's slope starts them.
        """
        low, tried, room = SMALLEST / 2, high, self.room(high, epsilon_of)
        slope = (self.room(high * 1.01) - self.room(high)) / math.log(1.01)
        for trial in range(60):
            end = tried * math.exp(-room / max(slope, 1e-3))
            # A little above the end, and once something there will do, just below that.
            near = high <= end * (1 + 0.6 * tolerance)
            aim = high / (1 + 0.9 * tolerance) if near else end * (1 + 0.4 * tolerance)
            aim = max(aim, SMALLEST)
            # Halving now and then ends what is far from straight.
            stuck = trial % 4 == 3 and low >= SMALLEST
            if stuck or not low < aim < high:
                aim = math.sqrt(low * high)
            last, last_room = tried, room
            tried, room = aim, self.room(aim, epsilon_of)
            low, high = (low, tried) if room >= 0 else (tried, high)
            if high <= max(low, SMALLEST) * (1 + tolerance):
                break
            if abs(math.log(tried / last)) > tolerance:
                slope = (room - last_room) / math.log(tried / last)
        return high

    def refusal(self) -> CalibrationError:
        """Return the error for an epsilon that no noise keeps."""
        least = (
            f"the least that any noise spends is {self.least_spent:.4g}"
            if self.least_spent < math.inf
            else f"no noise fits ({self.misfit})"
        )
        return CalibrationError(
            f"no noise keeps to epsilon={self.epsilon:g} at delta={self.delta:g}: {least}; "
            "take more modulus bits, a larger epsilon, fewer rounds or less frequent metrics"
        )
