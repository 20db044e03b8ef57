"""``tacet plan``: predict what a run costs and guarantees, before anything runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.common import CommandError, add_run_config, aligned, run_config_of, write_json
from app.preflight.plan_words import adversary_rows, is_noise, plan_rows

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
    initial = _initial_model(run_config, plan)
    more = {"initial_model": initial} if initial else {}
    write_json(arguments.json, plan.to_dict() | more)
    return [*_lines(plan), *_initial_lines(str(run_config.get("initial-model", "")), initial)]


def _plan_of(run_config: dict[str, Any]) -> RunPlan:
    # Hydra, Flower and torch take seconds, and no other command needs them.
    from app.config.load import ConfigError, load_given
    from app.preflight.run_plan import PlanError, plan_run
    from app.results.same_meaning import check_base

    try:
        config = load_given(run_config)
        check_base(config)
        return plan_run(config, run_config)
    except (ConfigError, PlanError) as error:
        # A model that is refused has a line for each of its layers.
        raise CommandError(" ".join(str(error).split())) from None


def _initial_model(run_config: dict[str, Any], plan: RunPlan) -> dict[str, Any]:
    """Return what the run begins with and what that has spent; empty where it cannot be seen.

    Raises
    ------
    CommandError
        If the run cannot begin with it.
    """
    given = str(run_config.get("initial-model", ""))
    if not given or not Path(given).expanduser().is_dir():
        return {}
    from app.builders.workload import build_workload
    from app.config.load import ConfigError, load_given
    from app.results.starting_model import start_of

    config = load_given(run_config)
    workload = build_workload(config)
    try:
        start = start_of(config, workload, workload.initial_state())
    except ConfigError as error:
        raise CommandError(str(error)) from None
    if start is None:
        return {}
    told = plan.guarantee
    # The first adversary is who sees the models only.
    models = {"epsilon_model_only": plan.adversaries[0].epsilon} if told else {}
    return start.record.to_summary({**told, **models})


def _initial_lines(given: str, found: dict[str, Any]) -> list[str]:
    """Return what ``_initial_model`` found, in words; none without an initial model."""
    if not given:
        return []
    lines = ["", f"begins with {given}: only the model is taken, not the optimiser's state"]
    if not found:
        return [*lines, "it is not on this machine: the server looks at it before the run"]
    if why := found.get("no_sum_because"):
        return [*lines, f"warning: {why}"]
    return [
        *lines,
        f"with the {len(found['runs'])} before it: epsilon"
        f" {found['epsilon_with_initial_model']:.6g} at delta"
        f" {found['delta_with_initial_model']:g} on whatever is in all of them, as epsilons and"
        " deltas add",
    ]


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
    if is_noise(told):
        return "the result will be noise"
    return str((told.get("recipe") or {}).get("objection", ""))


def _lines(plan: RunPlan) -> list[str]:
    lines = aligned(plan_rows(plan))
    if not plan.guarantee:
        return lines
    told = adversary_rows(plan)
    width = max(len(who) for who, _ in told)
    rows = [("what can be learnt by", "epsilon"), *told]
    return [*lines, "", *(f"{who:<{width}}  {much}" for who, much in rows)]
