"""The ``tacet`` command, which imports no torch."""

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from app.approval.bundle import BundleError
from app.cli import (
    audit,
    bundle,
    data,
    export,
    federation,
    keys,
    ledger,
    models,
    node,
    plan,
    predict,
    report,
    sample,
    verify,
    watch,
)
from app.cli.common import CommandError
from app.federation.members import FederationError
from app.node.identity import IdentityError
from app.node.node_config import NodeConfigError
from app.node.policy import PolicyError
from privacy.ledger.budget import LedgerError

# A group of commands is a module with ``add``, which gives each command its ``run``: from the
# arguments to the lines to print, or, where the exit status says something, to it and them.
_GROUPS = (
    keys,
    data,
    plan,
    node,
    bundle,
    ledger,
    federation,
    watch,
    report,
    verify,
    predict,
    sample,
    export,
    models,
    audit,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Instead of the process's own arguments.

    Returns
    -------
    int
        The exit status: 0, the command's own, or 2 after an error, which stands in one line on
        stderr.
    """
    arguments = _parser().parse_args(argv)
    try:
        result = arguments.run(arguments)
    except (
        BundleError,
        CommandError,
        FederationError,
        IdentityError,
        LedgerError,
        NodeConfigError,
        PolicyError,
    ) as error:
        print(f"tacet: {error}", file=sys.stderr)
        return 2
    status, lines = result if isinstance(result, tuple) else (0, result)
    _tell(lines)
    return status


def _tell(lines: Iterable[str]) -> None:
    """Print lines, as far as anybody reads them: ``tacet plan | head`` is no error."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # As Python's documentation of SIGPIPE has it: nothing is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Parser that prints an error as one line, without the usage."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Leave with the message and status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Version(argparse.Action):
    """Print the versions of Tacet, Flower and Python, looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Leave with status 0."""
        found = ", ".join(f"{name} {version(name)}" for name in ("tacet", "flwr"))
        parser.exit(0, f"{found}, Python {platform.python_version()}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tacet", description="Federated learning that hears only the sum.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the versions")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
