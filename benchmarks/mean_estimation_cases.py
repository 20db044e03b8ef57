"""The cases of mean estimation under distributed noise, and their error."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.calibration import CalibrationError, calibrate
from privacy.accounting.epsilon import Accountant, accountant, analytic_gaussian
from privacy.accounting.resolve import resolve
from privacy.bounding.bounded_sum import one_term
from privacy.bounding.rotation import SEED_BYTES, Rotation
from privacy.bounding.sensitivity import rounded_l2
from privacy.mode import Place
from privacy.plan.plan import PrivacyPlan
from privacy.plan.release import Mechanism, Neighbours, Release, Schedule
from privacy.plan.terms import BETA, PrivacyTerms
from privacy.unit import Unit
from strategies.codec.fixed_point import to_signed
from strategies.codec.private_codec import PrivateCodec
from strategies.codec.stages import SumContext
from workloads.values import PrivateContribution

#: The papers' setting.
DIMENSION, RADIUS, DELTA = 250, 10.0, 1e-5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One setting.

    Attributes
    ----------
    mechanism : Mechanism
    clients : int
        n; all of them survive.
    min_survivors, max_colluding : int
        T and c.
    modulus_bits : int
    epsilon : float
        Against the server and c clients.
    deviations : float
        k: so many standard deviations of the sum fit the modulus.
    """

    mechanism: Mechanism
    clients: int
    min_survivors: int
    max_colluding: int
    modulus_bits: int
    epsilon: float
    deviations: float

    def plan(self) -> PrivacyPlan:
        """Return noise and grid; CalibrationError if there is none."""
        terms = PrivacyTerms(
            unit=Unit.CLIENT,
            place=Place.DISTRIBUTED,
            mechanism=self.mechanism,
            epsilon=self.epsilon,
            noise_multiplier=None,
            delta=DELTA,
            dimension=DIMENSION,
            population=self.clients,
            cohort_fraction=1.0,
            min_survivors=self.min_survivors,
            max_colluding=self.max_colluding,
            sampling_rate=1.0,
            batch_size=0.0,
            num_rounds=1,
            num_local_steps=1,
            modulus_bits=self.modulus_bits,
            range_deviations=self.deviations,
        )
        return resolve(terms)


@dataclass(frozen=True)
class Factors:
    """The factors of the error over the central Gaussian's; their product is the total.

    Attributes
    ----------
    conversion : float
        Noise variance of a Gaussian by its Renyi curve over that by the analytic formula; 1
        where the accountant does not go by Renyi curves.
    curve : float
        What the mechanism's own proven curve asks for beyond the Gaussian's.
    rounded_norm : float
        The square of the norm that a rounded contribution may have, over the clip norm's,
        without padding.
    padding : float
        The factor of that norm for the padded dimension.
    spare_shares : float
        Noise of all n clients over the promised noise, of T - c.
    rounding : float
        1 + the variance of the rounding over that of the noise, for these vectors.
    wrapping : float
        Mean squared error over what it would be without the modulus, measured.
    rest : float
        What was measured over the product of all these: sampling error, and the little by
        which rounding within the norm is biased.
    """

    conversion: float
    curve: float
    rounded_norm: float
    padding: float
    spare_shares: float
    rounding: float
    wrapping: float
    rest: float


@dataclass(frozen=True)
class Measured:
    """The result of one case.

    Attributes
    ----------
    ratio : float
        Mean squared error of the mean over that of the central analytic Gaussian.
    standard_error : float
        The ratio's standard error, from the spread of all squared errors.
    repeats : int
        Means that were estimated.
    wrapped : int
        Numbers of rotated sums, of all repeats, that passed the modulus.
    step : float
        The step of the grid, in clip norms.
    factors : Factors
    """

    ratio: float
    standard_error: float
    repeats: int
    wrapped: int
    step: float
    factors: Factors


def measure(case: Case, repeats: int, seed: int) -> Measured | None:
    """Return the result of a case by the real codec; None if it is refused.

    Parameters
    ----------
    case : Case
    repeats : int
        At least 1; each with new vectors, rotation and noise.
    seed : int
        The seed of vectors and rotations; rounding and noise are not seeded.
    """
    try:
        plan = case.plan()
    except CalibrationError:
        return None
    n, rng = case.clients, np.random.default_rng(seed)
    errors, unwrapped_errors = np.empty((2, repeats, DIMENSION))
    wrapped, rounding = 0, 0.0
    for i in range(repeats):
        vectors, rotation_seed = _on_sphere(n, rng), rng.bytes(SEED_BYTES)
        estimate, wraps = _estimate(plan, vectors, rotation_seed)
        if not i:
            rounding = _rounding_variance(plan, vectors, rotation_seed)
        errors[i] = estimate - vectors.mean(axis=0, dtype=np.float64)
        moved = Rotation(DIMENSION, rotation_seed).inverse(wraps * plan.step)
        unwrapped_errors[i] = errors[i] - moved * RADIUS / n
        wrapped += int(np.count_nonzero(wraps))
    # The central Gaussian's error is its variance, in every number of the mean.
    squares = np.square(errors) / (RADIUS * analytic_gaussian(case.epsilon, DELTA) / n) ** 2
    ratio = float(squares.mean())
    wrapping = float(np.square(errors).mean() / np.square(unwrapped_errors).mean())
    return Measured(
        ratio=ratio,
        standard_error=float(squares.std() / np.sqrt(squares.size)),
        repeats=repeats,
        wrapped=wrapped,
        step=plan.step,
        factors=_factors(case, plan, ratio, rounding, wrapping),
    )


def _on_sphere(num: int, rng: np.random.Generator) -> NDArray[np.float32]:
    vectors = rng.normal(size=(num, DIMENSION))
    vectors *= RADIUS / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def _estimate(
    plan: PrivacyPlan, vectors: NDArray[np.float32], seed: bytes
) -> tuple[Floats, Floats]:
    """Return the decoded mean, and by how much the modulus moved each number of the sum."""
    n = len(vectors)
    codec = PrivateCodec(
        plan=plan,
        clip_norm=RADIUS,
        score_names=(),
        loss_clip=1.0,
        clip_range=1.0,
    )
    context = SumContext(seed=seed, num_contributions=n, num_survivors=n)
    terms = [PrivateContribution(one_term(vector, RADIUS).bounded) for vector in vectors]
    encoded = [codec.encode(term, context)[0] for term in terms]
    bits = codec.modulus_bits
    # One client's own integers are far from the modulus: read as signed they are as they were.
    exact = np.sum([to_signed(vector, bits) for vector in encoded], axis=0, dtype=np.int64)
    total = np.sum(encoded, axis=0, dtype=np.uint64) & np.uint64((1 << bits) - 1)
    word = total.astype(encoded[0].dtype)
    aggregate = codec.decode(word, np.zeros(0, np.uint64), context, has_metrics=False)
    wraps = to_signed(word, bits) - exact
    return aggregate.total / n, wraps.astype(np.float64)


def _rounding_variance(plan: PrivacyPlan, vectors: NDArray[np.float32], seed: bytes) -> float:
    """Return the variance that unbiased rounding adds to a number of the sum, in steps."""
    rotation = Rotation(DIMENSION, seed)
    fractions = [rotation.forward(v / RADIUS) / plan.step % 1 for v in vectors.astype(float)]
    return sum(float((f * (1 - f)).mean()) for f in fractions)


def _factors(
    case: Case, plan: PrivacyPlan, ratio: float, rounding: float, wrapping: float
) -> Factors:
    central = analytic_gaussian(case.epsilon, DELTA)
    by_pld = accountant(plan.schedule()) is Accountant.PLD
    renyi = central if by_pld else calibrate(_gaussian, case.epsilon, DELTA)
    unpadded = rounded_l2(1.0, plan.step, DIMENSION, BETA)
    added = case.clients * plan.share_deviation**2
    computed = {
        "conversion": (renyi / central) ** 2,
        "curve": (plan.noise_multiplier / (renyi * plan.max_rounded_norm * plan.step)) ** 2,
        "rounded_norm": (unpadded * plan.step) ** 2,
        "padding": (plan.max_rounded_norm / unpadded) ** 2,
        "spare_shares": added / plan.noise_multiplier**2,
        "rounding": 1 + rounding * plan.step**2 / added,
        "wrapping": wrapping,
    }
    return Factors(**computed, rest=ratio / prod(computed.values()))


def _gaussian(noise_multiplier: float) -> Schedule:
    """Return one Gaussian, on a grid too coarse for any accountant but Renyi's."""
    release = Release(
        unit=Unit.CLIENT,
        neighbours=Neighbours.ZERO_OUT,
        mechanism=Mechanism.GAUSSIAN,
        l1_sensitivity=1.0,
        l2_sensitivity=1.0,
        noise_scale=noise_multiplier,
        num_shares=1,
        dimension=1,
    )
    return [(release, 1)]
