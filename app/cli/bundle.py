"""``tacet bundle`` and ``tacet supernode``: hash and compare code, run only approved code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from app.approval.bundle import BundleError, build_bundle, differing_files, digest
from app.approval.superlink_tls import check_certificate
from app.approval.supernode import become_supernode
from app.node.node_config import POLICY_FILE, parse, paths
from app.node.policy import PolicyError


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    bundle = commands.add_parser("bundle", help="the code that a run ships").add_subparsers(
        required=True, metavar="COMMAND"
    )
    shown = bundle.add_parser("hash", help="print the SHA-256 that a node's policy lists")
    shown.add_argument("path", nargs="?", type=Path, default=Path(), metavar="CHECKOUT|FAB")
    shown.set_defaults(run=_hash)
    check = bundle.add_parser(
        "check", help="compare a .fab file with a checkout, where their hashes differ"
    )
    check.add_argument("fab", type=Path, metavar="FAB")
    check.add_argument("path", nargs="?", type=Path, default=Path(), metavar="CHECKOUT")
    check.set_defaults(run=_check)
    # No argument of it is ours: with another prefix, argparse leaves all to us.
    supernode = commands.add_parser(
        "supernode",
        help="flower-supernode, which runs approved bundles only; takes its arguments",
        add_help=False,
        prefix_chars="\0",
    )
    supernode.add_argument("rest", nargs="*")
    supernode.set_defaults(run=_supernode)


def _hash(arguments: argparse.Namespace) -> list[str]:
    return [digest(build_bundle(arguments.path))]


def _check(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    if not arguments.fab.is_file():
        raise BundleError(f"{arguments.fab}: no such file; make one with `flwr build`")
    bundle, own = build_bundle(arguments.fab), build_bundle(arguments.path)
    differ = differing_files(bundle, own)
    if differ:
        return 1, [f"differs: {name}" for name in differ]
    return 0, [f"the files are those of {arguments.path}", digest(bundle)]


def _supernode(arguments: argparse.Namespace) -> list[str]:
    rest: list[str] = arguments.rest
    parser = argparse.ArgumentParser(prog="tacet supernode", add_help=False)
    parser.add_argument("--node-config", default="")
    parser.add_argument("--isolation", default="subprocess")
    parser.add_argument("--allow-runtime-dependency-installation", action="store_true")
    given, _ = parser.parse_known_args(rest)
    if given.isolation != "subprocess":
        raise BundleError(
            f"--isolation {given.isolation}: the guard is in the processes that the SuperNode"
            " starts itself; take it out"
        )
    if given.allow_runtime_dependency_installation:
        raise BundleError(
            "--allow-runtime-dependency-installation: nobody approved what would be installed;"
            " take it out, and install the dependencies beforehand"
        )
    policy = paths(parse(given.node_config)).get(POLICY_FILE)
    if policy is None:
        raise PolicyError(
            "--node-config: policy-file is missing, and with it the list of approved bundles;"
            " give its path"
        )
    check_certificate(rest)
    become_supernode(policy, rest)
    return []
