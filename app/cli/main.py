"""The ``tacet`` command, which imports no torch."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence

from app.approval.bundle import BundleError
from app.cli import audit, bundle, data, export, keys, ledger, node, plan, predict
from app.cli.common import CommandError
from app.node.identity import IdentityError
from app.node.node_config import NodeConfigError
from app.node.policy import PolicyError
from privacy.ledger.budget import LedgerError

# A group of commands is a module with ``add``, which gives each command its ``run``: from the
# arguments to the lines to print, or, where the exit status says something, to it and them.
_GROUPS = (keys, data, ledger, node, bundle, plan, audit, predict, export)


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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tacet", description="Federated learning that hears only the sum.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in _GROUPS:
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
