"""The section on who took part, and what the run cost in time and bytes."""

from __future__ import annotations

from itertools import groupby

from app.results.html.gather import RunData
from app.results.html.parts import Section, Table, table
from app.results.html.run_figures import participation, times, traffic
from app.results.html.shown import bytes_of, seconds_of


def cost_section(data: RunData) -> Section:
    """Return the section; figures are drawn within ``style``."""
    rounds = data.rounds
    facts: list[tuple[str, str]] = []
    if rounds:
        seconds = sum(one["seconds"] for one in rounds)
        facts.append(("time of a round, on average", seconds_of(seconds / len(rounds))))
        for name, words in (("bytes_down", "to all nodes"), ("bytes_up", "from all nodes")):
            counted = [one[name] for one in rounds if isinstance(one.get(name), int)]
            if counted:
                facts.append((f"sent {words}, in all rounds", bytes_of(sum(counted))))
    tables = [one for one in (_participants(data), _failures(data)) if one is not None]
    return Section(
        "costs",
        "Participants, time and bytes",
        figures=[*participation(data), *times(data), *traffic(data)],
        facts=facts,
        tables=tables,
    )


def _participants(data: RunData) -> Table | None:
    """Return who was in the sum how often, by pseudonym; None if the history does not say."""
    given: dict[str, list[int]] = {}
    missing: dict[str, int] = {}
    for one in data.rounds:
        for node in one["took_part"]:
            given.setdefault(node, []).append(one["round"])
        # Whoever failed after its contribution came is in the sum all the same.
        for node in one["failures"].keys() - set(one["took_part"]):
            missing[node] = missing.get(node, 0) + 1
    if not given:
        return None
    nodes = sorted({*given, *missing}, key=lambda node: int(node.removeprefix("node ")))
    rows = [
        [node, len(own := given.get(node, [])) + missing.get(node, 0), len(own), _ranges(own)]
        for node in nodes
    ]
    return table(
        "Nodes by round",
        ["node", "rounds asked", "in the sum", "which"],
        rows,
        note="Of the attempt that closed each round.",
        is_folded=True,
        file="metrics.jsonl",
    )


def _failures(data: RunData) -> Table | None:
    """Return who failed, how often and why, by pseudonym; None if nobody did."""
    when: dict[tuple[str, str], list[int]] = {}
    for one in data.rounds:
        for failed in one["failures"].items():
            when.setdefault(failed, []).append(one["round"])
    if not when:
        return None
    rows = [[*failed, len(own), _ranges(own)] for failed, own in when.items()]
    note = "Of the attempt that closed each round. Reasons are those of docs/architecture.md."
    return table(
        "Nodes whose contribution is missing",
        ["node", "reason", "rounds", "which"],
        rows,
        note=note,
        file="metrics.jsonl",
    )


def _ranges(numbers: list[int]) -> str:
    """Return numbers as ``1-3, 7``."""
    parts: list[str] = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        own = [value for _, value in run]
        parts.append(str(own[0]) if len(own) == 1 else f"{own[0]}-{own[-1]}")
    shown = parts[:20]
    return ", ".join(shown) + (", ..." if len(parts) > len(shown) else "")
