"""What ``tacet plan`` and the report of a run say of a plan, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.preflight.run_plan import RunPlan

Row = tuple[str, str]

NO_GUARANTEE = "none: the model may reveal anything about a record"

_NOISE = (
    "the result will be noise: take more nodes or records in a step, a smaller model, fewer"
    " rounds, the example unit, or a larger epsilon"
)


def is_noise(told: dict[str, Any]) -> bool:
    """Return whether the result will be noise, as far as the workload lets one tell.

    Parameters
    ----------
    told : dict
        A plan's ``guarantee``.
    """
    return bool(told.get("signal", {}).get("is_noise"))


def adversary_rows(plan: RunPlan) -> list[Row]:
    """Return who could learn of one unit, and how much: an epsilon, or unbounded."""
    return [(one.who, _epsilon(one.epsilon)) for one in plan.adversaries]


def plan_rows(plan: RunPlan) -> list[Row]:
    """Return what a run costs and promises: a name and a sentence each."""
    spare = ""
    if plan.spare_attempts:
        spare = f", and {plan.spare_attempts} spare attempts that are paid for"
    rows = [
        ("task", f"{plan.task}, {plan.num_parameters:,} parameters"),
        ("rounds", f"{plan.num_rounds} of {plan.algorithm} over {plan.aggregation}{spare}"),
        # An option of its own is named in the line before.
        *[("sums", plan.workload.replace("_", " ") + "s")] * (plan.workload != plan.algorithm),
        ("trips", f"{plan.num_trips}, one after the other"),
        ("a round", f"{plan.bytes_down:,} bytes to a node, {plan.bytes_up:,} bytes from it"),
        *[("first round", _first_line(plan))] * bool(plan.bytes_up_first),
        *[("whole model", _whole_line(plan))] * bool(plan.bytes_down_first),
        ("bad server", plan.malicious_server),
        *[("same nodes", plan.same_nodes)] * bool(plan.same_nodes),
        ("privacy", plan.privacy),
    ]
    rows += [("warning", why) for why in (plan.cohort_objection, plan.grid_objection) if why]
    if plan.work:
        rows.insert(5, ("work", f"a round, {plan.work}"))
    if plan.key_bytes:
        rows.insert(
            5, ("keys", f"{plan.key_bytes:,} bytes to and from a deployed node, a round")
        )
    if not plan.guarantee:
        rows.append(("guarantee", NO_GUARANTEE))
        return rows
    told = plan.guarantee
    rows += [
        ("unit", f"{told['unit']}: {told['neighbours']}"),
        ("noise", f"{told['mechanism']}, multiplier {told['noise_multiplier']:.6g}"),
        ("sampling", f"rate {told['sampling_rate']:g}, {told['num_releases']} releases"),
        ("accountant", f"{told['accountant']}, delta {told['delta']:g}{_how(told)}"),
        ("model", "admissible"),
        ("sum", _sum_line(plan.modulus)),
    ]
    if "num_kept" in plan.modulus:
        rows.append(("kept", _kept_line(plan.modulus)))
    if signal := told.get("signal"):
        rows.append(("signal", _signal_line(signal)))
    if is_noise(told):
        rows.append(("warning", _NOISE))
    return rows + _how_it_steps(plan)


def _first_line(plan: RunPlan) -> str:
    return (
        f"{plan.bytes_up_first:,} bytes from a node: by its sum the ranges of values in few"
        " bits are chosen"
    )


def _whole_line(plan: RunPlan) -> str:
    return f"{plan.bytes_down_first:,} bytes to a node, at first and after a round missed"


def _how_it_steps(plan: RunPlan) -> list[tuple[str, str]]:
    """Return the lines on learning rate, rounds and sampling, where there are such."""
    rows: list[tuple[str, str]] = []
    if recipe := plan.guarantee.get("recipe"):
        step = f"learning rate {recipe['learning_rate']:.4g}, clip norm {recipe['clip_norm']:g}"
        if recipe["average_from"]:
            step += f", mean of the models of rounds {recipe['average_from']}-{plan.num_rounds}"
        rows.append(("step", step))
        if recipe["objection"]:
            rows.append(("warning", recipe["objection"]))
    # Without the run config as given it is not known in which keys it is proposed.
    proposal = plan.guarantee.get("proposal", {})
    if "run_config" in proposal:
        rows.append(("proposal", proposal["run_config"]))
        rows.append(
            ("", f"with which the noise multiplier is {proposal['noise_multiplier']:.4g}")
        )
    return rows


def _how(told: dict[str, Any]) -> str:
    """Return what makes the accountant what it is."""
    if told["no_pld_because"]:
        return f"; not pld: {told['no_pld_because']}"
    return f"; 2 K kappa {told['two_k_kappa']:.2g}, in epsilon"


def _sum_line(modulus: dict[str, Any]) -> str:
    line = f"fits {modulus['modulus_bits']} bits"
    if "step" in modulus:
        line += f", grid step {modulus['step']:.3g} clip norms"
    if "wrap_probability" in modulus:
        line += f", chance of a wrap in a round at most {modulus['wrap_probability']:.2g}"
    return line


def _kept_line(modulus: dict[str, Any]) -> str:
    return (
        f"{modulus['num_kept']:,} entries, others for each sum; the variance of its noise is"
        f" {modulus['noise_times']:.3g} times as large, and what is left out adds"
        f" {modulus['left_out']:.3g} times the squared length of the sum"
    )


def _signal_line(signal: dict[str, Any]) -> str:
    return (
        f"at most {signal['in_step']:.2g} times the noise of a step,"
        f" {signal['in_run']:.2g} times that of all steps"
    )


def _epsilon(value: float) -> str:
    return "unbounded" if value == float("inf") else f"{value:.6g}"
