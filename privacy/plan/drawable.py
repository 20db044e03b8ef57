"""Hold the noise of a plan against what the samplers draw."""

from privacy.plan.plan import PrivacyPlan
from privacy.plan.release import LARGEST_SCALE, SMALLEST_SCALE

# The server parts its noise into whole steps of the sum's grid and the rest, in int64.
_MOST_REFINED = 2**62


def check_drawable(plan: PrivacyPlan) -> None:
    """Refuse noise that no sampler draws: found in a round, nodes would have paid for it.

    Raises
    ------
    ValueError
        Naming key, value and mend.
    """
    terms = plan.terms
    for key, value, release in (
        ("adaptive_clip.bit_noise", terms.clip_bit_noise, plan.clip_bit_release),
        (
            "metrics.noise_multiplier",
            terms.metrics_noise_multiplier if terms.metrics_every else 0.0,
            plan.metrics_release,
        ),
    ):
        if value and not _is_drawable(scale := plan.share_scale(release())):
            least, most = (value * (end / scale) for end in (SMALLEST_SCALE, LARGEST_SCALE))
            # Three digits, rounded inwards.
            raise ValueError(
                f"privacy.{key}={value:g}: such noise cannot be drawn; take a value from"
                f" {1.01 * least:.3g} to {0.99 * most:.3g}"
            )
    scale = plan.share_scale(plan.update_release())
    if not _is_drawable(scale) or plan.refinement > _MOST_REFINED:
        given = (
            f"privacy.noise_multiplier={terms.noise_multiplier:g}: raise it"
            if terms.noise_multiplier is not None
            else f"privacy.epsilon={terms.epsilon:g}: lower it"
        )
        raise ValueError(
            f"{given}, or raise aggregation.codec.modulus_bits={terms.modulus_bits}: the"
            " noise is too small beside the steps of the grid to be drawn"
        )


def _is_drawable(scale: float) -> bool:
    return SMALLEST_SCALE <= scale <= LARGEST_SCALE
