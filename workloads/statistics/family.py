"""What a record says of a regression, for each kind of response.

Everything is elementwise, so a record's numbers do not depend on others nor on their place.
scipy is imported where it is used: a process that trains no regression does not pay for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log, pi
from typing import ClassVar

import numpy as np

from workloads.values import Vector

#: No entry of a record's score, weight or deviance is larger, whatever the coefficients are.
LARGEST = 128.0
# Beyond, a probability is 1e-13 from 0 or 1.
_MOST_LOGIT = 30.0
# A fit of a response within [-1, 1] is not so far out.
_MOST_FIT = 8.0


@dataclass(frozen=True)
class Said:
    """What records say at some coefficients, each of shape (n,).

    Attributes
    ----------
    residual, weight : ndarray
        The derivative of the log likelihood by the linear predictor, and minus its mean's.
    deviance : ndarray
        Twice the log likelihood that is missing to a fit through the record.
    """

    residual: Vector
    weight: Vector
    deviance: Vector


class Family(ABC):
    """One kind of response, with its canonical link."""

    #: Whether the dispersion is estimated, and tests are by Student's t.
    has_dispersion: ClassVar[bool] = False
    #: What exp(coefficient) is called; empty where it says nothing.
    ratio: ClassVar[str] = ""

    @abstractmethod
    def response(self, targets: Vector) -> Vector:
        """Return the response from a task's targets: a class, or a number on [-1, 1]."""

    @abstractmethod
    def said(self, predictor: Vector, response: Vector) -> Said:
        """Return what each record says, its entries at most ``LARGEST``."""

    @abstractmethod
    def predicted(self, predictor: Vector) -> Vector:
        """Return what is predicted: of classes probabilities (n, 2), else numbers in units."""

    @property
    def unit(self) -> float:
        """Return what a coded deviance is multiplied by."""
        return 1.0

    @abstractmethod
    def null_deviance(self, num_records: float, deviance: float, score: float) -> float:
        """Return the deviance of one mean for all, in the response's own unit.

        Parameters
        ----------
        num_records : float
            That were used, each as often as its weight says, above 0.
        deviance, score : float
            Coded sums at coefficients of 0: of the deviance, and of the residuals.
        """

    def aic(self, num_records: float, deviance: float, num_coefficients: int) -> float | None:
        """Return Akaike's criterion; None where the sums do not tell.

        Parameters
        ----------
        num_records, deviance : float
            Of the fit, the deviance in the response's own unit.
        num_coefficients : int
            That were fitted.
        """
        return None


@dataclass(frozen=True)
class Gaussian(Family):
    """A number: linear regression, on the response mapped to [-1, 1] by its bounds.

    Attributes
    ----------
    low, high : float
        The public bounds of the response.
    """

    low: float
    high: float

    has_dispersion = True

    @property
    def half(self) -> float:
        """Return what 1 of the coded response is in its own unit."""
        return (self.high - self.low) / 2

    @property
    def unit(self) -> float:
        """Return the square of ``half``."""
        return self.half**2

    def response(self, targets: Vector) -> Vector:
        """Return the targets."""
        return targets

    def said(self, predictor: Vector, response: Vector) -> Said:
        """Return residuals and their squares."""
        residual = response - np.clip(predictor, -_MOST_FIT, _MOST_FIT)
        return Said(residual, np.ones_like(residual), residual * residual)

    def predicted(self, predictor: Vector) -> Vector:
        """Return the mean in the response's own unit, which may lie beyond its bounds."""
        return (self.low + self.high) / 2 + predictor * self.half

    def null_deviance(self, num_records: float, deviance: float, score: float) -> float:
        """Return the sum of squares around the mean: at 0 all squares and the sum are known."""
        return max(0.0, deviance - score**2 / num_records) * self.unit

    def aic(self, num_records: float, deviance: float, num_coefficients: int) -> float | None:
        """Return it as R does: the variance is one more number that was fitted."""
        if deviance <= 0:
            return None
        spread = log(2 * pi * deviance / num_records) + 1
        return num_records * spread + 2 * (num_coefficients + 1)


@dataclass(frozen=True)
class Binomial(Family):
    """One of two classes: logistic regression of the second."""

    ratio = "odds ratio"

    def response(self, targets: Vector) -> Vector:
        """Return 0 or 1."""
        return targets

    def said(self, predictor: Vector, response: Vector) -> Said:
        """Return what the logit says."""
        from scipy.special import expit  # pyright: ignore[reportMissingTypeStubs]

        logit = np.clip(predictor, -_MOST_LOGIT, _MOST_LOGIT)
        mean = expit(logit)
        deviance = 2 * (np.logaddexp(0.0, logit) - response * logit)
        return Said(response - mean, mean * (1 - mean), deviance)

    def predicted(self, predictor: Vector) -> Vector:
        """Return the probabilities of both classes."""
        from scipy.special import expit  # pyright: ignore[reportMissingTypeStubs]

        return np.stack([expit(-predictor), expit(predictor)], axis=1)

    def null_deviance(self, num_records: float, deviance: float, score: float) -> float:
        """Return that of the share of the second class: at 0 a residual is y - 1/2."""
        share = min(1.0, max(0.0, score / num_records + 0.5))
        terms = (p * log(p) for p in (share, 1 - share) if p > 0)
        return -2 * num_records * sum(terms)

    def aic(self, num_records: float, deviance: float, num_coefficients: int) -> float | None:
        """Return the deviance and 2 for each coefficient: a fit through all records has 0."""
        return deviance + 2 * num_coefficients


@dataclass(frozen=True)
class Poisson(Family):
    """A count from 0 on: log-linear regression. Sums are in units of the largest count.

    Attributes
    ----------
    low, high : float
        The public bounds of the count.
    """

    low: float
    high: float

    ratio = "rate ratio"

    def response(self, targets: Vector) -> Vector:
        """Return the counts, from [-1, 1]."""
        return np.rint(self.low + (targets + 1) / 2 * (self.high - self.low))

    def said(self, predictor: Vector, response: Vector) -> Said:
        """Return what the log of the rate says."""
        from scipy.special import xlogy  # pyright: ignore[reportMissingTypeStubs]

        rate = np.exp(np.clip(predictor, *self.limits))
        gap = response - rate
        deviance = 2 * (xlogy(response, response / rate) - gap)
        return Said(gap / self.high, rate / self.high, deviance / self.high)

    def predicted(self, predictor: Vector) -> Vector:
        """Return the mean count."""
        return np.exp(np.clip(predictor, *self.limits))

    @property
    def limits(self) -> tuple[float, float]:
        """Return between what the log of a rate is taken."""
        return -_MOST_LOGIT, log(_MOST_FIT * self.high)

    @property
    def unit(self) -> float:
        """Return the largest count."""
        return self.high

    def null_deviance(self, num_records: float, deviance: float, score: float) -> float:
        """Return that of the mean count: at 0 the rate is 1 and a residual y - 1.

        With the rate m the deviance is 2 sum (y log y - y log m - y + m).
        """
        total = score * self.high + num_records
        if total <= 0:
            return 0.0
        return (
            deviance * self.high
            - 2 * total * log(total / num_records)
            + 2 * (total - num_records)
        )
