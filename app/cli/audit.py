"""``tacet audit``: attack a run's privacy, and hold what that proves against the claim."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.common import CommandError, add_run_config, aligned, run_config_of, write_json

if TYPE_CHECKING:
    from app.audit.verdict import Findings

_HELP = "attack a run's privacy with made-up records, and compare with what it claims"
_DESCRIPTION = """\
Play the run many times in this process, through the code of the real server and of the real
nodes, over made-up records (canaries), each of which a coin puts in or leaves out. Guess from
the noisy sums which were in, and print what so many right guesses prove beside what the run
claims. No network, no real record and no ledger is touched.

Exit status: 0 if the claim stands, 1 if it is refuted, 2 after an error, or if so few runs
could refute nothing. A claim that stands is not proved: this attack failed to refute it, no
more. It is sharpest for few rounds, little noise, sampling_rate=1 and a clip norm that every
canary reaches."""
_SECONDS_BETWEEN = 5.0


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    audit = commands.add_parser(
        "audit",
        help=_HELP,
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_config(audit)
    audit.add_argument(
        "--canaries",
        type=int,
        metavar="M",
        help="canaries of each run (8; under a client_ option each node is one). More than a"
        " quarter of the model's parameters hide each other",
    )
    audit.add_argument(
        "--repeats", type=int, default=250, metavar="K", help="independent runs (250)"
    )
    audit.add_argument(
        "--confidence",
        type=float,
        default=0.99,
        metavar="P",
        help="chance at least that no true claim is refuted (0.99)",
    )
    audit.add_argument("--json", type=Path, metavar="FILE", help="also write it there")
    audit.set_defaults(run=_audit)


def _audit(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    # Hydra, Flower and torch take seconds, and no other command needs them.
    from app.audit.audit import AuditError, AuditOptions, audit

    started = time.monotonic()
    if arguments.json is not None and not arguments.json.parent.is_dir():
        # Before the minutes that the runs take.
        raise CommandError(f"--json {arguments.json}: there is no such folder")
    try:
        options = AuditOptions(
            num_canaries=arguments.canaries,
            num_runs=arguments.repeats,
            confidence=arguments.confidence,
        )
        found = audit(run_config_of(arguments.run_config), options, _Progress(options.num_runs))
    except AuditError as error:
        raise CommandError(str(error)) from None
    seconds = time.monotonic() - started
    write_json(arguments.json, found.to_dict() | {"seconds": seconds})
    lines = _lines(found, seconds)
    return int(found.is_refuted) if found.could_refute else 2, lines


class _Progress:
    """Tell on stderr, every few seconds, how many runs are done."""

    def __init__(self, num_runs: int) -> None:
        self._num_runs = num_runs
        self._started = self._told = time.monotonic()

    def __call__(self, num_done: int) -> None:
        """Take note of one more run."""
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN and num_done < self._num_runs:
            return
        self._told = now
        text = f"tacet: {num_done} of {self._num_runs} runs, {now - self._started:.0f} s"
        print(text, file=sys.stderr, flush=True)


def _lines(found: Findings, seconds: float) -> list[str]:
    claim, runs = found.claim, found.num_runs
    coins = f"{found.num_canaries * runs:,} coins"
    rows = [
        (
            "claim",
            f"epsilon {claim.epsilon:.4g} at delta {claim.delta:g}, of all model sums together",
        ),
        ("canaries", f"{found.num_canaries} in each of {runs} runs, {coins}"),
        ("reach", f"a canary adds {found.reach:.3f} clip norms"),
        (
            "one run",
            f"{found.num_right:,} of the {found.num_guesses:,} surest guesses are right:"
            f" epsilon at least {found.one_run_epsilon:.4g}",
        ),
        (
            "all runs",
            f"{found.share:.2%} of all guesses are right, {found.least_share:.2%} are expected"
            f" at least; the claim allows {claim.largest_share:.2%}",
        ),
        ("", f"so epsilon is at least {found.share_epsilon:.4g}, whatever the noise"),
        *_noise_rows(found),
        ("confidence", f"{found.confidence:.4g}, of both bounds together"),
        ("verdict", _verdict(found)),
        ("seconds", f"{seconds:.0f}"),
    ]
    return aligned(rows)


def _noise_rows(found: Findings) -> list[tuple[str, str]]:
    """Return what the share says of the plan's own kind of noise, if anything."""
    if found.largest_noise is None or found.epsilon_with_it is None:
        return []
    noise = f"the noise multiplier is at most {found.largest_noise:.4g}"
    planned = f"planned {found.noise_multiplier:.4g}"
    epsilon = f"epsilon at least {found.epsilon_with_it:.4g}"
    return [("", f"if the noise is of the planned kind, {noise} ({planned}), {epsilon}")]


def _verdict(found: Findings) -> str:
    if found.is_refuted:
        return "REFUTED: what is released tells more than is claimed"
    if not found.could_refute:
        return (
            "none: so few runs could not refute the claim, however many guesses are right;"
            " take more --repeats"
        )
    return "the claim stands: this attack did not refute it, which proves no more than that"
