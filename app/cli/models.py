"""``tacet models``: a registry of models, with entries that a coordinator has signed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.common import CommandError, aligned, printable
from app.node.identity import readable_fingerprint
from app.node.lineage import total_of
from app.node.model_entry import ModelEntry

if TYPE_CHECKING:
    from app.models.registry import Found

_HEAD = ("model", "version", "signed", "scores", "epsilon", "signer")
_MOST_SCORES = 2
_LARGEST_CARD = 2**22
_NOTE = "nothing was verified: `tacet models verify NAME:VERSION --signer FILE` does"


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    models = commands.add_parser(
        "models", help="a registry of models: tag, list, show, verify"
    ).add_subparsers(required=True, metavar="COMMAND")
    tag = models.add_parser("tag", help="sign a run's model as the next version of a name")
    tag.add_argument("run_folder", type=Path, metavar="RUN", help="the run's folder")
    tag.add_argument("name", metavar="NAME", help="of the model, e.g. heart-risk")
    tag.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="a private key of `keys new`"
    )
    _add_registry(tag)
    tag.set_defaults(run=_tag)
    listed = models.add_parser("list", help="show all models, a line for each version")
    _add_registry(listed)
    _add_signer(listed)
    listed.set_defaults(run=_list)
    show = models.add_parser("show", help="print the card of a model")
    _add_reference(show)
    show.set_defaults(run=_show)
    verify = models.add_parser("verify", help="check signature, files and log of a model")
    _add_reference(verify)
    _add_signer(verify, required=True)
    verify.set_defaults(run=_verify)


def _add_reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reference", metavar="NAME[:VERSION]", help="the newest version unless given"
    )
    _add_registry(parser)


def _add_registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--registry", type=Path, metavar="FOLDER", help="default: ~/.tacet/models"
    )


def _add_signer(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--signer",
        type=Path,
        required=required,
        metavar="FILE",
        help="whose signatures count: a peers file, or a public key (.pub)",
    )


def _registry(arguments: argparse.Namespace) -> Path:
    from app.models.registry import default_registry

    given: Path | None = arguments.registry
    return default_registry() if given is None else given


def _found(arguments: argparse.Namespace) -> Found:
    from app.models.registry import RegistryError, find

    try:
        return find(_registry(arguments), arguments.reference)
    except RegistryError as error:
        raise CommandError(str(error)) from None


def _tag(arguments: argparse.Namespace) -> list[str]:
    from app.models.registry import RegistryError, tag

    try:
        folder, entry = tag(
            arguments.run_folder, arguments.name, arguments.key, _registry(arguments)
        )
    except RegistryError as error:
        raise CommandError(str(error)) from None
    return [
        f"{entry.reference}: {folder}",
        f"signed by {readable_fingerprint(entry.signer)}",
        f"privacy: {_privacy(entry)}",
    ]


def _list(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    from app.models.check import signers_of
    from app.models.registry import RegistryError, entries_of

    names = (
        {key: name for name, key in signers_of(arguments.signer).items()}
        if (arguments.signer)
        else {}
    )
    try:
        found = list(entries_of(_registry(arguments)))
    except RegistryError as error:
        raise CommandError(str(error)) from None
    good = [one.entry for one in found if one.entry is not None]
    rows = [_HEAD, *(_row(entry, names) for entry in good)]
    bad = [
        f"DAMAGED {one.name}:{one.version}: {one.objection}" for one in found if one.objection
    ]
    return int(bool(bad)), [*aligned(rows), *bad, _NOTE]


def _row(entry: ModelEntry, names: dict[bytes, str]) -> tuple[str, ...]:
    scores = [f"{name} {value:.4g}" for name, value in entry.metrics.items()]
    return (
        entry.name,
        str(entry.version),
        entry.created,
        ", ".join(scores[:_MOST_SCORES]) or "-",
        _privacy(entry),
        names.get(entry.signer, readable_fingerprint(entry.signer)[:19]),
    )


def _privacy(entry: ModelEntry) -> str:
    """Return what all runs of the chain have spent, in a few words."""
    found = total_of([run.privacy for run in entry.runs])
    if found is None:
        return "no bound"
    return f"{found.epsilon:.4g} at delta {found.delta:.3g}, {found.unit}"


def _show(arguments: argparse.Namespace) -> list[str]:
    from app.models.card import CARD
    from app.results.run_log import hash_of_bytes

    found = _found(arguments)
    if found.entry is None:
        raise CommandError(f"{found.name}:{found.version}: {found.objection}")
    file = found.folder / CARD
    try:
        is_card = not file.is_symlink() and file.stat().st_size <= _LARGEST_CARD
        content = file.read_bytes() if is_card else b""
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None
    if hash_of_bytes(content) != found.entry.files.get(CARD):
        raise CommandError(f"{file}: not as it was signed; `tacet models verify` tells more")
    text = content.decode("utf-8", "replace")
    # Nobody's signature was looked at, and a terminal obeys some letters.
    lines = [printable(line) for line in text.split("\n")]
    return [*lines, f"folder: {found.folder}", _NOTE]


def _verify(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    from app.models.check import CheckError, check, signers_of

    keys = signers_of(arguments.signer)
    try:
        done = check(_found(arguments), keys)
    except CheckError as error:
        return 1, [f"FAILED {error}"]
    told = [f"ok  {line}" for line in done.lines]
    return 0, [*told, *(f"not verified: {what}" for what in done.not_verified)]
