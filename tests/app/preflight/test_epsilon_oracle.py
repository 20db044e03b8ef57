"""What ``tacet plan`` says of every mode, against an oracle that shares no code with it."""

import math

import pytest
from scipy import special

from app.config.load import load_config
from app.preflight.run_plan import RunPlan, plan_run
from tests.kits import epsilon_oracle as oracle
from tests.kits.private_kit import DELTA, LEGAL, run_config_of

# The numbers of ``run_config_of``, and of the model of breast_cancer.
Z, ROUNDS, LOCAL_STEPS, T, C = 2.0, 3, 2, 3, 1
LENGTH, PADDED = 31, 32
RATE = 0.25
# So few bits that what the grid adds shows.
COARSE = "aggregation.codec.modulus_bits=14 privacy.range_deviations=5"


def planned(tmp_path, option, free=COARSE, **keys) -> RunPlan:
    return plan_run(
        load_config(run_config_of(tmp_path, option, LEGAL[option][-1], free, **keys))
    )


def of_servers(plan: RunPlan) -> list[float]:
    """Epsilon by the number of colluders; the server that is trusted left out."""
    return [a.epsilon for a in plan.adversaries[1:] if math.isfinite(a.epsilon)]


def example_norm(step, kept=PADDED):
    """A record's clipped term, and the rounding of the rotated sum: privacy.md, section 2."""
    return 1 + (math.sqrt(kept) + math.sqrt(PADDED) * 2.0**-10) * step


def noise_of(colluding):
    """What so many colluders leave of noise that T - c shares make up."""
    return Z * math.sqrt((T - colluding) / (T - C))


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, RATE])
def test_example_distributed(tmp_path, rate):
    plan = planned(tmp_path, "example_distributed", rate=rate)
    g = plan.modulus["step"]
    expected = [
        oracle.sampled_gaussian(
            example_norm(g) / g, math.sqrt((noise_of(k) / g) ** 2 - 9 / 4), rate, ROUNDS, DELTA
        )
        for k in range(T)
    ]
    assert plan.guarantee["accountant"] == "pld"
    assert of_servers(plan) == pytest.approx(expected, rel=2e-3)
    assert plan.adversaries[0].epsilon == pytest.approx(expected[0], rel=2e-3)
    # Less would be no bound; and the rounding is not nothing.
    assert example_norm(g) > 1.001


@pytest.mark.parametrize("option", ["example_distributed", "client_distributed"])
@pytest.mark.parametrize("rate", [1.0, RATE])
def test_skellam(tmp_path, option, rate):
    if option == "client_distributed":
        rate = 1.0
    plan = planned(tmp_path, option, f"privacy.mechanism=skellam {COARSE}", rate=rate)
    g = plan.modulus["step"]
    moved = example_norm(g) if option.startswith("e") else oracle.rounded_norm(1.0, g, PADDED)
    l2 = moved / g
    l1 = l2 * min(math.sqrt(PADDED), l2)
    expected = [
        oracle.sampled_skellam(l1, l2, (noise_of(k) / g) ** 2, rate, ROUNDS, DELTA)
        for k in range(T)
    ]
    assert plan.guarantee["accountant"] == "rdp"
    assert of_servers(plan) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("option", ["example_distributed", "client_distributed"])
def test_of_kept_entries_only_their_own_roundings_count(tmp_path, option):
    """Eight of 32, by the accountant whose figure has the dimension in it most."""
    free = f"privacy.mechanism=skellam aggregation.codec.keep_fraction=0.25 {COARSE}"
    plan = planned(tmp_path, option, free)
    g, kept = plan.modulus["step"], 8
    assert plan.modulus["num_kept"] == kept
    of_example = option.startswith("e")
    moved = example_norm(g, kept) if of_example else oracle.rounded_norm(1.0, g, kept)
    l2 = moved / g
    l1 = l2 * min(math.sqrt(kept), l2)
    expected = [
        oracle.sampled_skellam(l1, l2, (noise_of(k) / g) ** 2, 1.0, ROUNDS, DELTA)
        for k in range(T)
    ]
    assert of_servers(plan) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, RATE])
def test_example_central(tmp_path, rate):
    plan = planned(tmp_path, "example_central", rate=rate)
    assert plan.guarantee["sampling_rate"] == rate
    moved = example_norm(plan.modulus["step"])
    expected = oracle.sampled_gaussian(moved, Z, rate, ROUNDS, DELTA)
    assert of_servers(plan) == pytest.approx([expected], rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, RATE])
def test_example_local(tmp_path, rate):
    plan = planned(tmp_path, "example_local", "", rate=rate)
    expected = oracle.sampled_gaussian(1.0, Z, rate, ROUNDS * LOCAL_STEPS, DELTA)
    assert of_servers(plan) == pytest.approx([expected], rel=2e-3)


def test_client_distributed(tmp_path):
    plan = planned(tmp_path, "client_distributed")
    g = plan.modulus["step"]
    moved = oracle.rounded_norm(1.0, g, PADDED)
    expected = [
        oracle.sampled_gaussian(
            moved / g, math.sqrt((noise_of(k) / g) ** 2 - 9 / 4), 1.0, ROUNDS, DELTA
        )
        for k in range(T)
    ]
    assert of_servers(plan) == pytest.approx(expected, rel=2e-3)


def test_client_central_and_what_a_hidden_cohort_gains(tmp_path):
    many = 100
    free = f"rounds.cohort_fraction=0.3 rounds.min_clients={many} {COARSE}"
    plan = planned(tmp_path, "client_central", free, population=many)
    moved = oracle.rounded_norm(1.0, plan.modulus["step"], PADDED)
    seen = oracle.sampled_gaussian(moved, Z, 1.0, ROUNDS, DELTA)
    assert of_servers(plan) == pytest.approx([seen], rel=2e-3)
    # Under 2 of 100 are drawn with a chance that delta does not feel.
    hidden = oracle.sampled_gaussian(moved, Z, 0.3, ROUNDS, DELTA)
    assert plan.adversaries[0].epsilon == pytest.approx(hidden, rel=2e-3)


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_client_local(tmp_path, noise):
    # Gaussian noise that is not in shares has the tighter accountant on a fine grid only.
    bits = COARSE if noise == "laplace" else ""
    plan = planned(tmp_path, "client_local", f"privacy.mechanism={noise} {bits}")
    g = plan.modulus["step"]
    if noise == "laplace":
        moved = 2 * (1 + LENGTH * g)
        # Discrete noise reveals a little more than continuous noise of the same parameter.
        most = moved / Z + 2 * math.log(math.cosh(g / (2 * Z)))
        expected = oracle.laplace(most, 1.0, ROUNDS, DELTA)
    else:
        moved = 2 * oracle.rounded_norm(1.0, g, PADDED)
        expected = oracle.sampled_gaussian(moved, Z, 1.0, ROUNDS, DELTA)
    assert of_servers(plan) == pytest.approx([expected], rel=2e-3)


def test_the_oracle_knows_the_check_values():
    assert oracle.sampled_gaussian(1, 6.264, 0.0683, 585, 1e-5) == pytest.approx(
        1.0005, rel=1e-3
    )
    assert oracle.sampled_gaussian(1, 10.05, 0.5, 60, 1e-3) == pytest.approx(1.0005, rel=1e-3)
    # One Laplace release: delta(e) = 1 - exp((e - x)/2).
    exact = 2 + 2 * math.log1p(-1e-3)
    assert oracle.laplace(2.0, 1.0, 1, 1e-3) == pytest.approx(exact, rel=1e-3)
    # One Gaussian: Balle and Wang's curve.
    found = oracle.sampled_gaussian(1.0, 1.0, 1.0, 1, 1e-3)
    above, below = special.ndtr([0.5 - found, -0.5 - found])
    assert above - math.exp(found) * below == pytest.approx(1e-3, rel=1e-2)
