"""What several commands share: their error, the run config, the JSON file, aligned lines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.config.pairs import parse_pairs


class CommandError(ValueError):
    """A command cannot do its work. The message is one line and names the key or reason."""


def add_run_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--run-config``, for `run_config_of`."""
    parser.add_argument(
        "--run-config",
        default="",
        metavar="CONFIG",
        help="as for `flwr run`: a string of key=value, or a TOML file",
    )


def run_config_of(text: str) -> dict[str, Any]:
    """Return the run config that ``--run-config`` gives; empty text gives the defaults.

    Raises
    ------
    CommandError
        If Flower would not take it.
    """
    if not text.strip():
        return {}
    try:
        return parse_pairs(text)
    except ValueError as error:
        raise CommandError(f"--run-config {text!r}: {error}") from None


def write_json(file: Path | None, values: dict[str, Any]) -> None:
    """Write values where ``--json`` says; nothing where it is not given.

    Raises
    ------
    CommandError
        If the file cannot be written.
    """
    if file is None:
        return
    try:
        file.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise CommandError(f"--json {file}: {error.strerror}") from None


def printable(text: str) -> str:
    """Return a line from elsewhere without letters that a terminal obeys."""
    return "".join(c if c.isprintable() else "?" for c in text)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, cells of a column under each other; at least one row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
