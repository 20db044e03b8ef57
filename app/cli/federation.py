"""``tacet federation``: who belongs to a federation, and how it stands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from app.cli.common import CommandError, aligned
from app.federation.members import Federation
from app.federation.status import HEAD, certificate_lines, rows


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    federation = commands.add_parser(
        "federation", help="who belongs to a federation, and how it stands"
    ).add_subparsers(required=True, metavar="COMMAND")
    init = federation.add_parser("init", help="make the coordinator's folder")
    _add_folder(init)
    init.add_argument(
        "--host",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME",
        help="DNS names and IP addresses by which nodes reach the SuperLink",
    )
    init.add_argument("--port", type=_port, default=9092, help="default: 9092")
    init.set_defaults(run=_init)
    join = federation.add_parser("add", help="take an organisation in, by its public keys")
    _add_folder(join)
    join.add_argument("name", metavar="NAME")
    join.add_argument(
        "--identity", type=Path, required=True, metavar="FILE.pub", help="of `keys new`"
    )
    join.add_argument(
        "--flower-key", type=Path, required=True, metavar="FILE.pub", help="of `keys node`"
    )
    join.set_defaults(run=_add)
    leave = federation.add_parser("remove", help="let an organisation go")
    _add_folder(leave)
    leave.add_argument("name", metavar="NAME")
    leave.set_defaults(run=_remove)
    status = federation.add_parser(
        "status",
        help="who is connected, what they refused, what is left of the budgets that they"
        " publish, until when certificates are valid",
    )
    _add_folder(status)
    status.add_argument(
        "--run",
        dest="runs",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="a run folder whose refusals and published budgets are shown; may be given again,"
        " newest last",
    )
    status.set_defaults(run=_status)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the coordinator's folder")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text}: must be from 1 to 65535")
    return int(text)


def _init(arguments: argparse.Namespace) -> list[str]:
    return Federation.create(arguments.folder, arguments.host, arguments.port)


def _add(arguments: argparse.Namespace) -> list[str]:
    federation = Federation(arguments.folder)
    return federation.add(arguments.name, arguments.identity, arguments.flower_key)


def _remove(arguments: argparse.Namespace) -> list[str]:
    return Federation(arguments.folder).remove(arguments.name)


def _status(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    for run in arguments.runs:
        if not (run / "metrics.jsonl").exists():
            raise CommandError(f"--run {run}: no run folder")
    federation = Federation(arguments.folder)
    found, trouble = rows(federation, arguments.runs)
    lines = aligned([HEAD, *found]) if found else ["no members yet"]
    reached = f"NOT reached: {trouble}" if trouble else "reached"
    told = [*lines, "", f"SuperLink {federation.address}: {reached}"]
    return int(bool(trouble)), [*told, *certificate_lines(federation)]
