"""``tacet data``: check a node's records against a task before a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from app.cli.common import CommandError


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    data = commands.add_parser("data", help="a node's own records").add_subparsers(
        required=True, metavar="COMMAND"
    )
    check = data.add_parser(
        "check",
        help="print all that does not fit a task; exit 1 if the node would contribute nothing",
    )
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument(
        "--task", required=True, metavar="NAME", help="the YAML conf/task/NAME.yaml"
    )
    check.add_argument(
        "--private",
        action="store_true",
        help="read as a private run does: line by line, leaving out what does not fit",
    )
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    # Hydra and Flower take seconds, and commands about keys do without.
    from app.config.load import ConfigError
    from app.preflight.data_check import check_data
    from tasks.base import DataSource

    source = DataSource(data_path=arguments.file)
    try:
        found = check_data(arguments.task, source, is_private=arguments.private)
    except ConfigError as error:
        raise CommandError(str(error)) from None
    if found.objection:
        return 1, [*found.lines, f"contributes nothing: {found.objection}"]
    return 0, [
        *found.lines,
        f"contributes: {found.num_train} records to train on, {found.num_test} held out",
    ]
