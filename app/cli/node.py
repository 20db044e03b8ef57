"""``tacet node``: check a node's configuration, and allow a cohort that was refused."""

from __future__ import annotations

import argparse
from typing import Any

from app.node.node_config import parse


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    node = commands.add_parser("node", help="a node's own configuration").add_subparsers(
        required=True, metavar="COMMAND"
    )
    check = node.add_parser("check", help="print what protects the node, and each gap")
    _add_node_config(check)
    check.add_argument(
        "--task",
        metavar="NAME",
        help="also check the records against conf/task/NAME.yaml, as `tacet data check`",
    )
    check.set_defaults(run=_check)
    allow = node.add_parser(
        "allow-cohort", help="show the cohorts of exact sums, and allow one that was refused"
    )
    _add_node_config(allow)
    allow.add_argument(
        "number", type=int, nargs="?", metavar="NUMBER", help="which; not given: only show them"
    )
    allow.set_defaults(run=_allow_cohort)


def _add_node_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--node-config",
        "-c",
        required=True,
        metavar="'KEY=VALUE ...'",
        help="the same string as flower-supernode's",
    )


def _check(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    from app.preflight.node_check import inspect

    found = inspect(parse(arguments.node_config), arguments.task)
    gaps = [f"gap: {gap}" for gap in found.gaps]
    end = f"gaps: {len(gaps)}" if gaps else "no gap"
    return int(bool(gaps)), [*found.lines, *gaps, end]


def _allow_cohort(arguments: argparse.Namespace) -> list[str]:
    from app.preflight.cohorts import allow, lines

    node_config = parse(arguments.node_config)
    if arguments.number is None:
        return lines(node_config)
    return allow(node_config, arguments.number)
