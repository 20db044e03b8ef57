"""What a coordinator sees of a federation: who is connected, what they refused, dates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from app.federation.certificates import validity
from app.federation.members import Federation
from app.federation.superlink import SuperLinkError
from app.node.identity import read_peers, readable_fingerprint

HEAD = (
    "name",
    "node",
    "since",
    "connected",
    "last refusal",
    "epsilon left",
    "fingerprint",
)


def rows(federation: Federation, runs: Sequence[Path]) -> tuple[list[tuple[str, ...]], str]:
    """Return a row for each member, and what is wrong with the SuperLink, if anything is.

    Parameters
    ----------
    federation : Federation
        The folder.
    runs : sequence of Path
        Run folders, in whose rounds nodes may have refused, or published what is left of their
        budgets.
    """
    trouble, connected = "", dict[str, str]()
    try:
        connected = {
            str(node["node-id"]): _connected(node) for node in federation.superlink.nodes()
        }
    except SuperLinkError as error:
        trouble = str(error)
    refused, left = refusals(runs), budgets(runs)
    peers = read_peers(federation.peers_file) if federation.peers_file.exists() else {}
    found = [
        (
            name,
            member.node_id or "not registered",
            member.since,
            connected.get(member.node_id, "unknown" if trouble else "no"),
            refused.get(member.node_id, "" if runs else "?"),
            left.get(member.node_id, "not published" if runs else "?"),
            readable_fingerprint(peers[name])[:19] if name in peers else "not pinned",
        )
        for name, member in federation.members.items()
    ]
    known = {member.node_id for member in federation.members.values()}
    strangers = sorted(connected.keys() - known)
    found += [
        ("?", node, "", connected[node], refused.get(node, ""), left.get(node, ""), "")
        for node in strangers
    ]
    return found, trouble


def certificate_lines(federation: Federation) -> list[str]:
    """Return a line for each certificate: until when it is valid.

    Raises
    ------
    IdentityError
        If one is missing.
    """
    tls = federation.folder / "tls"
    return [f"{file}: valid {validity(tls / file)}" for file in ("superlink.pem", "ca.crt")]


def refusals(runs: Sequence[Path]) -> dict[str, str]:
    """Return the last reason for which each node refused, or was left out, by node id.

    Parameters
    ----------
    runs : sequence of Path
        Run folders, oldest first. Lines that are no report are passed over.
    """
    found: dict[str, str] = {}
    for values in _lines(runs):
        try:
            for node, reason in dict(values["failures"]).items():
                found[str(node)] = f"{reason} (round {int(values['round'])})"
        except (ValueError, KeyError, TypeError):
            continue
    return found


def budgets(runs: Sequence[Path]) -> dict[str, str]:
    """Return what is left of each node's cap, by node id, as far as the nodes publish it.

    Parameters
    ----------
    runs : sequence of Path
        Run folders, oldest first.
    """
    # It loads Flower, which other commands do without.
    from strategies.rounds.published import DELTA, EPSILON_LEFT, plain_figures

    found: dict[str, str] = {}
    for values in _lines(runs):
        for node, figures in plain_figures(values.get("published")).items():
            left, delta = figures.get(EPSILON_LEFT), figures.get(DELTA)
            if left is not None and delta is not None:
                found[node] = f"{left:.4g} at delta {delta:g}"
    return found


def _lines(runs: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the lines of the runs' histories, and after each the run's summary."""
    for run in runs:
        for name in ("metrics.jsonl", "summary.json"):
            try:
                text = (run / name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            for line in [text] if name == "summary.json" else text.splitlines():
                try:
                    values: Any = json.loads(line)
                except ValueError:
                    continue
                if isinstance(values, dict):
                    yield cast(dict[str, Any], values)


def _connected(node: Mapping[str, object]) -> str:
    if node["status"] == "online":
        return f"since {node['online-at']}"
    if node["status"] == "offline":
        return f"no, until {node['offline-at']}"
    return f"never ({node['status']})"
