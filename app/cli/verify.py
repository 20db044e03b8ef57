"""``tacet verify``: check a run folder against its own log."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from app.cli.common import CommandError, printable


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    verify = commands.add_parser(
        "verify", help="check a run folder against its log, and epsilon against the releases"
    )
    verify.add_argument("run_folder", type=Path, metavar="RUN", help="the run's folder")
    verify.add_argument(
        "--head",
        type=_head,
        metavar="SIZE:ROOT",
        help="a head that was kept, as this command prints it: the log must have grown from it",
    )
    verify.add_argument(
        "--peers",
        type=Path,
        metavar="FILE",
        help="a peers file: whose signatures these are, and whether they are",
    )
    verify.add_argument(
        "--node-state",
        type=Path,
        metavar="FILE",
        help="a node's state-path: the log must have grown from what that node has signed",
    )
    verify.set_defaults(run=_verify)


def _head(text: str) -> tuple[int, str]:
    if not re.fullmatch("[0-9]{1,9}:[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(
            f"{text}: must be the number of entries, a colon and 64 hexadecimal digits"
        )
    size, _, root = text.partition(":")
    return int(size), root


_ANEW = (
    "that the whole folder was not made anew: compare signatures with the participants' keys"
    " (--peers), or the head with one that was kept elsewhere (--head)"
)


def _verify(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    from app.node.identity import read_peers
    from app.results.run_log import Head
    from app.results.verify import VerificationError, verify

    folder: Path = arguments.run_folder
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "there is no such folder"
        raise CommandError(f"RUN {folder}: {what}; give that of a run (~/.tacet/runs/...)")
    kept = Head(*arguments.head) if arguments.head else None
    # A wrong argument is no folder that was changed: it ends with another status.
    keys = read_peers(arguments.peers) if arguments.peers else None
    try:
        found = verify(folder, kept, keys, arguments.node_state)
    except VerificationError as error:
        return 1, [printable(f"FAILED {error}")]
    told = [f"ok  {line}" for line in found.lines]
    left_open = found.not_verified if keys else (*found.not_verified, _ANEW)
    told += [f"not verified: {what}" for what in left_open]
    # The folder may be anybody's.
    return 0, [printable(line) for line in (*told, f"head {found.head.size}:{found.head.root}")]
