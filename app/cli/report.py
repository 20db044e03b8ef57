"""``tacet report``: the report of a run from its folder alone, or a comparison of several."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from app.cli.common import CommandError


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    report = commands.add_parser(
        "report", help="draw the report of a run from its folder, or compare several runs"
    )
    report.add_argument(
        "runs",
        type=Path,
        nargs="*",
        metavar="RUN",
        help="a run folder, of a run that goes on, has ended or was killed",
    )
    report.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write; by default report.html in the folder of one run, and with"
        " several runs it must be given",
    )
    report.add_argument(
        "--compliance",
        action="store_true",
        help="write the privacy record of one run instead, in the order of an impact"
        " assessment; by default privacy-record.md in its folder",
    )
    report.add_argument(
        "--node",
        action="store_true",
        help="report on a node's own side instead, for its owner: what it gave, what that"
        " cost, how the models do on its own records",
    )
    report.add_argument(
        "--state-path",
        type=Path,
        metavar="STATE_FILE",
        help="with --node: the node's own file, its state-path",
    )
    report.add_argument(
        "--dataset", metavar="NAME", help="with --node: only runs about this data set"
    )
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> list[str]:
    runs: list[Path] = arguments.runs
    output: Path | None = arguments.output
    if arguments.node:
        return _node(arguments)
    for name in ("state_path", "dataset"):
        if getattr(arguments, name) is not None:
            raise CommandError(f"--{name.replace('_', '-')} goes with --node; add it")
    if not runs:
        raise CommandError("name a run folder, e.g. ~/.tacet/runs/..., or give --node")
    if arguments.compliance:
        return _record(runs, output)
    if len(runs) > 1 and output is None:
        raise CommandError(
            f"{len(runs)} runs make one page that belongs to none of their folders;"
            " say where: --output FILE"
        )
    # Hydra, Flower and matplotlib take seconds, and no other command needs them.
    from app.results.html.comparison import write_comparison
    from app.results.html.gather import NoRunError
    from app.results.html.page import write_page
    from app.results.html.shown import bytes_of, seconds_of

    begun = time.monotonic()
    try:
        if output is not None and len(runs) > 1:
            file = write_comparison(runs, output)
        else:
            file = write_page(runs[0], output)
        size = bytes_of(file.stat().st_size)
    except NoRunError as error:
        raise CommandError(f"{error}; give a run folder, e.g. ~/.tacet/runs/...") from None
    except OSError as error:
        raise CommandError(f"{output or runs[0]}: {error.strerror}") from None
    return [f"report: {file}", f"{size}, drawn in {seconds_of(time.monotonic() - begun)}"]


def _node(arguments: argparse.Namespace) -> list[str]:
    from app.results.html.node_page import NoReportError, write_node_page
    from app.results.html.shown import bytes_of

    state, output = arguments.state_path, arguments.output
    if arguments.runs or arguments.compliance:
        raise CommandError("--node reports on a node's own file: give no RUN or --compliance")
    for name, value in (("--state-path STATE_FILE", state), ("--output FILE", output)):
        if value is None:
            raise CommandError(f"--node needs {name}")
    if output.exists() and state.exists() and output.samefile(state):
        raise CommandError(f"--output {output}: that is the node's own file; name another")
    try:
        file = write_node_page(state, output, arguments.dataset)
        size = bytes_of(file.stat().st_size)
    except NoReportError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror}") from None
    return [f"report: {file}", f"{size}; it is for the node's owner: nothing of it is sent"]


def _record(runs: list[Path], output: Path | None) -> list[str]:
    from app.results.html.compliance import TO_FILL_IN, privacy_record
    from app.results.html.gather import NoRunError, gather
    from app.results.model_file import write_whole

    if len(runs) > 1:
        raise CommandError(f"--compliance: a record is of one run, and {len(runs)} are given")
    file = output or runs[0] / "privacy-record.md"
    try:
        text = privacy_record(gather(runs[0]))
        write_whole(file, text.encode())
    except NoRunError as error:
        raise CommandError(f"{error}; give a run folder, e.g. ~/.tacet/runs/...") from None
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None
    return [f"privacy record: {file}", f"{text.count(TO_FILL_IN)} entries are yours to fill in"]
