"""What noise in the counts makes of curve and test, and whether error bars tell it."""

import numpy as np
import pytest

from tests.kits import survival as kit
from workloads.survival.curves import Counts, curve_of, log_rank
from workloads.survival.kaplan_meier import KaplanMeier, KaplanMeierConfig

SIGMA = 2.0


def counts(num=3000, seed=0, steps=20) -> list[Counts]:
    work = kit.workload(KaplanMeier, KaplanMeierConfig(by="sex", steps=steps))
    return work._counts(kit.fitted(work, [kit.made_up(num, seed)]))


def noised(exact: Counts, rng) -> Counts:
    draws = [
        rng.normal(scale=SIGMA, size=each.shape) for each in (exact.events, exact.censored)
    ]
    return Counts(exact.events + draws[0], exact.censored + draws[1])


def test_the_error_of_noise_is_what_the_noise_does_and_no_less():
    """The curve's deviation over 400 draws is that told beside Greenwood's, to 15 %."""
    exact, _ = counts()
    plain = curve_of(exact, least=1, noise=0.0, confidence=0.95)
    told = curve_of(exact, least=1, noise=SIGMA, confidence=0.95)
    rng = np.random.default_rng(1)
    drawn = [
        curve_of(noised(exact, rng), least=1, noise=SIGMA, confidence=0.95) for _ in range(400)
    ]
    for place in (2, 7, 12):
        (where,) = np.flatnonzero(plain.places == place)
        found = np.std([curve.survival[place] for curve in drawn])
        own = np.sqrt(told.error[place] ** 2 - plain.error[where] ** 2)
        # A standard error of a deviation of 400 is 3.5 %: 15 % are over four, and 30 % fail.
        assert found == pytest.approx(own, rel=0.15)
        # And without bias that matters beside it.
        mean = np.mean([curve.survival[place] for curve in drawn])
        assert abs(mean - plain.survival[where]) < 0.5 * own


def test_intervals_under_noise_hold_the_curve_of_the_population():
    """Both are drawn anew: records, and the noise. 95 % of 300 intervals are due."""
    truth, _ = counts(200_000, seed=99)
    due = curve_of(truth, least=1, noise=0.0, confidence=0.95)
    rng = np.random.default_rng(2)
    hits = np.zeros(3)
    for draw in range(300):
        exact, _ = counts(600, seed=draw)
        found = curve_of(noised(exact, rng), least=1, noise=SIGMA, confidence=0.95)
        for number, place in enumerate((3, 8, 13)):
            hits[number] += found.low[place] <= due.survival[place] <= found.high[place]
    # 285 are due, and 3.8 is the deviation.
    assert (hits > 285 - 5 * 3.8).all()
    assert (hits < 300).any()


def test_a_curve_under_noise_falls_and_ends_where_noise_is_all():
    exact, _ = counts(300)
    rng = np.random.default_rng(3)
    for _ in range(20):
        found = curve_of(noised(exact, rng), least=3, noise=SIGMA, confidence=0.95)
        assert (np.diff(found.survival) <= 0).all()
        assert ((found.low <= found.survival) & (found.survival <= found.high)).all()
        assert ((found.survival > 0) & (found.survival <= 1)).all()
        assert (found.at_risk >= 3 * SIGMA).all()
    assert found.is_cut
    nothing = Counts(rng.normal(size=20), rng.normal(size=21))
    assert len(curve_of(nothing, least=3, noise=9.0, confidence=0.95).places) == 0


def test_the_test_under_noise_has_its_level():
    """Of groups that are the same: the statistic is chi-squared of one degree."""
    rng = np.random.default_rng(4)
    found = []
    for draw in range(400):
        sexless = kit.made_up(800, seed=draw)
        sexless.columns[:, 2] = rng.integers(2, size=800)
        work = kit.workload(KaplanMeier, KaplanMeierConfig(by="sex", steps=20))
        groups = work._counts(kit.fitted(work, [sexless]))
        test = log_rank([noised(group, rng) for group in groups], SIGMA)
        found.append(test.chi2)
    # The mean of 400 has a deviation of 0.07, and 5 % are 20 with one of 4.4.
    assert np.mean(found) == pytest.approx(1, abs=0.35)
    assert abs((np.array(found) > 3.84).sum() - 20) < 22


def test_the_tests_variance_of_noise_is_that_of_its_derivatives():
    """Noise alone, over fixed records: the excess moves as far as is added to its variance."""
    groups = counts(3000)
    rng = np.random.default_rng(5)
    without, told = log_rank(groups, 0.0), log_rank(groups, SIGMA)
    # chi2 = excess^2 / variance, so the two variances are as the two statistics.
    excess = np.sqrt(without.chi2)
    drawn = [log_rank([noised(g, rng) for g in groups], SIGMA) for _ in range(600)]
    moved = np.std([np.sqrt(test.chi2) for test in drawn]) * excess / np.sqrt(told.chi2)
    # In units of the records' own deviation, which noise adds to.
    due = np.sqrt(without.chi2 / told.chi2 - 1)
    assert moved == pytest.approx(due, rel=0.15)


@pytest.mark.parametrize("num_groups", [2, 3])
def test_groups_with_nobody_make_no_degree_of_freedom(num_groups):
    groups = [*counts(400), Counts(np.zeros(20), np.zeros(21))][:num_groups]
    assert log_rank(groups, 0.0).degrees == 1
    assert log_rank(groups[1:2], 0.0) is None
