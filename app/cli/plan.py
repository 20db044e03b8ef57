"""``tacet plan``: predict what a run costs and guarantees, before anything runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.common import CommandError, add_run_config, aligned, run_config_of, write_json

if TYPE_CHECKING:
    from app.preflight.run_plan import RunPlan


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    plan = commands.add_parser(
        "plan", help="what a run would cost and promise, before anything runs"
    )
    add_run_config(plan)
    plan.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="KEY=V1,V2,...",
        help="compare plans with these values, a line for each, e.g. privacy.epsilon=0.5,1,3;"
        " given twice, for each pair of values",
    )
    plan.add_argument("--json", type=Path, metavar="FILE", help="also write it there")
    plan.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> list[str]:
    run_config = run_config_of(arguments.run_config)
    if arguments.sweep:
        return _compare(run_config, arguments)
    plan = _plan_of(run_config)
    write_json(arguments.json, plan.to_dict())
    return _lines(plan)


def _plan_of(run_config: dict[str, Any]) -> RunPlan:
    # Hydra, Flower and torch take seconds, and no other command needs them.
    from app.config.load import ConfigError, load_given
    from app.preflight.run_plan import PlanError, plan_run

    try:
        return plan_run(load_given(run_config), run_config)
    except (ConfigError, PlanError) as error:
        # A model that is refused has a line for each of its layers.
        raise CommandError(" ".join(str(error).split())) from None


def _compare(run_config: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Return a line for each combination of the values; one that is refused says why."""
    from app.preflight.sweep import combinations

    try:
        wanted = combinations(run_config, arguments.sweep)
    except ValueError as error:
        raise CommandError(f"--sweep: {error}") from None
    found: list[tuple[dict[str, str], RunPlan | str]] = []
    for values, changed in wanted:
        try:
            found.append((values, _plan_of(changed)))
        except CommandError as error:
            found.append((values, str(error)))
    rows = [
        {"values": values}
        | ({"refused": plan} if isinstance(plan, str) else {"plan": plan.to_dict()})
        for values, plan in found
    ]
    write_json(arguments.json, {"plans": rows})
    if all(isinstance(plan, str) for _, plan in found):
        raise CommandError("; ".join(str(plan) for _, plan in found))
    return _sweep_lines(found)


_SWEPT = ("epsilon", "noise multiplier", "signal of all steps", "learning rate", "result")


def _sweep_lines(found: Sequence[tuple[dict[str, str], RunPlan | str]]) -> list[str]:
    """Return a line for each plan, under a line of headers; one that is refused says why."""
    rows: list[list[str]] = []
    told: list[str] = []
    for values, plan in found:
        if not rows:
            rows.append([*values, *_SWEPT])
        if isinstance(plan, str):
            rows.append([*values.values(), "refused", *[""] * (len(_SWEPT) - 1)])
        else:
            rows.append([*values.values(), *_cells(plan)])
        if what := plan if isinstance(plan, str) else _objection(plan):
            told.append(f"{', '.join(f'{k}={v}' for k, v in values.items())}: {what}")
    return [*aligned(rows), *([""] if told else []), *told]


def _cells(plan: RunPlan) -> list[str]:
    told = plan.guarantee
    if not told:
        return ["none", "-", "-", "-", "no guarantee"]
    recipe, signal = told.get("recipe"), told.get("signal")
    result = "see below" if _objection(plan) else "no objection"
    return [
        f"{told['epsilon']:.4g}",
        f"{told['noise_multiplier']:.4g}",
        f"{signal['in_run']:.3g}" if signal else "-",
        f"{recipe['learning_rate']:.3g}" if recipe else "-",
        result,
    ]


def _objection(plan: RunPlan) -> str:
    """Return what speaks against a plan; empty if nothing does."""
    told = plan.guarantee
    if _is_noise(told):
        return "the result will be noise"
    return str((told.get("recipe") or {}).get("objection", ""))


def _is_noise(told: dict[str, Any]) -> bool:
    """Return whether the result will be noise, as far as the workload lets one tell."""
    return bool(told.get("signal", {}).get("is_noise"))


def _lines(plan: RunPlan) -> list[str]:
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
        ("bad server", plan.malicious_server),
        *[("same nodes", plan.same_nodes)] * bool(plan.same_nodes),
        ("privacy", plan.privacy),
    ]
    rows += [("warning", why) for why in (plan.cohort_objection, plan.grid_objection) if why]
    if plan.key_bytes:
        rows.insert(5, ("keys", f"{plan.key_bytes:,} bytes to and from a node, a round"))
    if not plan.guarantee:
        rows.append(("guarantee", "none: the model may reveal anything about a record"))
        return aligned(rows)
    told = plan.guarantee
    rows += [
        ("unit", f"{told['unit']}: {told['neighbours']}"),
        ("noise", f"{told['mechanism']}, multiplier {told['noise_multiplier']:.6g}"),
        ("sampling", f"rate {told['sampling_rate']:g}, {told['num_releases']} releases"),
        ("accountant", f"{told['accountant']}, delta {told['delta']:g}{_how(told)}"),
        ("model", "admissible"),
        ("sum", _sum_line(plan.modulus)),
    ]
    if signal := told.get("signal"):
        rows.append(("signal", _signal_line(signal)))
    if _is_noise(told):
        rows.append(("warning", _NOISE))
    rows += _how_it_steps(plan)
    width = max(len(adversary.who) for adversary in plan.adversaries)
    return [
        *aligned(rows),
        "",
        f"{'what can be learnt by':<{width}}  epsilon",
        *(f"{a.who:<{width}}  {_epsilon(a.epsilon)}" for a in plan.adversaries),
    ]


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
    if proposal := plan.guarantee.get("proposal"):
        rows.append(("proposal", proposal["run_config"]))
        rows.append(
            ("", f"with which the noise multiplier is {proposal['noise_multiplier']:.4g}")
        )
    return rows


_NOISE = (
    "the result will be noise: take more nodes or records in a step, a smaller model, fewer"
    " rounds, the example unit, or a larger epsilon"
)


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


def _signal_line(signal: dict[str, Any]) -> str:
    return (
        f"at most {signal['in_step']:.2g} times the noise of a step,"
        f" {signal['in_run']:.2g} times that of all steps"
    )


def _epsilon(value: float) -> str:
    return "unbounded" if value == float("inf") else f"{value:.6g}"
