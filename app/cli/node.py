"""``tacet node``: check a node's configuration before it joins a federation."""

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
    check.add_argument(
        "--node-config",
        "-c",
        required=True,
        metavar="'KEY=VALUE ...'",
        help="the same string as flower-supernode's",
    )
    check.add_argument(
        "--task",
        metavar="NAME",
        help="also check the records against conf/task/NAME.yaml, as `tacet data check`",
    )
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    from app.preflight.node_check import inspect

    found = inspect(parse(arguments.node_config), arguments.task)
    gaps = [f"gap: {gap}" for gap in found.gaps]
    end = f"gaps: {len(gaps)}" if gaps else "no gap"
    return int(bool(gaps)), [*found.lines, *gaps, end]
