"""An audit through the real masked path catches broken mechanisms, and leaves healthy ones be.

By a model in numpy of the very canaries (500 audits each): healthy code is never refuted, noise
that is 30 % too small in all but 3 of 1000. A healthy audit fails with a chance of 0.01 at most
by the bounds themselves, and far less as the attack is not perfect.
"""

import pytest
from torch import Tensor

import privacy.bounding.bounded_sum
import strategies.codec.private_stages
from app.audit.audit import AuditOptions, audit
from privacy.bounding.bounded_sum import FINENESS
from tasks.training.record_gradients import RecordGradient
from tests.app.audit.test_audit import run_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def audited(num_runs):
    options = AuditOptions(num_canaries=8, num_runs=num_runs, confidence=0.99)
    return audit(run_config(), options, lambda done: None)


def test_healthy_code_is_not_refuted():
    found = audited(200)
    assert not found.is_refuted
    assert found.least_share < found.claim.largest_share
    assert found.one_run_epsilon < found.claim.epsilon
    # And it was a real attack: its bound is over two thirds of the way.
    assert found.largest_noise < 1.5 * found.noise_multiplier


def test_noise_that_is_30_percent_too_small_is_caught(monkeypatch):
    real = strategies.codec.private_stages.draw

    def too_little(mechanism, scale, *rest):
        return real(mechanism, 0.7 * scale, *rest)

    monkeypatch.setattr(strategies.codec.private_stages, "draw", too_little)
    found = audited(250)
    assert found.is_refuted
    assert found.least_share > found.claim.largest_share
    assert found.largest_noise < found.noise_multiplier


def test_clipping_that_is_off_is_caught(monkeypatch):
    def not_clipped(self: RecordGradient, record):
        found: Tensor = self.gradient(record)
        return found.numpy()

    def not_measured(term, bound, steps):
        steps[:] = (term * (FINENESS / bound)).round()
        return True

    monkeypatch.setattr(RecordGradient, "clipped", not_clipped)
    monkeypatch.setattr(privacy.bounding.bounded_sum, "_round", not_measured)
    found = audited(60)
    assert found.reach > 5
    assert found.is_refuted
    assert found.one_run_epsilon > 0
