"""The privacy record of a run, as Markdown, for whoever has to assess it.

In the order of a data protection impact assessment (GDPR, article 35(7): description,
necessity, risks, measures), with what NIST SP 800-226 asks of a differential privacy guarantee:
unit, epsilon and delta, mechanisms, trust, what was not protected. What a run cannot know, such
as the purpose, is left for the controller to fill in, and marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.results.html.gather import RunData
from app.results.html.initial_words import initial_model_words
from strategies.registry import AGGREGATIONS

TO_FILL_IN = "*(to be filled in by the controller)*"
#: Rows of ``plan.json`` that say what a run costs, and nothing of trust.
_OF_COSTS = ("task", "rounds", "trips", "a round", "work")
_KEPT = (
    ("a participant's records", "on its own machine; no record is copied"),
    (
        "a participant's state file",
        "on its own machine: its charges, and whom it has met",
    ),
    ("the SuperLink's database", "messages until they are fetched, and the run's log"),
    ("this run folder", "the model, its figures, this record"),
)


def privacy_record(run: RunData) -> str:
    """Return the privacy record of a run, in Markdown."""
    parts = (
        _processing(run),
        _data(run),
        _necessity(run),
        _guarantee(run),
        _trust(run),
        _not_protected(run),
        _retention(),
        _evidence(run),
    )
    lines = [f"# Privacy record: {run.option('task')}, {run.option('algorithm')}", ""]
    for part in parts:
        lines += [*part, ""]
    return "\n".join(lines)


def _processing(run: RunData) -> Iterator[str]:
    yield "## 1. Processing"
    yield ""
    yield from _facts(
        {
            "What is computed": f"{run.option('algorithm')} on the task {run.option('task')}",
            "Run": str(run.summary.get("run_id", "unknown")),
            "Status": f"{run.status}, {len(run.rounds)} of {run.num_rounds} rounds",
            "Participants that answered in a round": _range_of(run, "num_replies"),
            "Purpose": TO_FILL_IN,
            "Legal basis": TO_FILL_IN,
            "Controller, participants, recipients of the model": TO_FILL_IN,
        }
    )


def _data(run: RunData) -> Iterator[str]:
    yield "## 2. Categories of data"
    yield ""
    task = run.config.get("task")
    known: Mapping[str, Any] = task if isinstance(task, dict) else {}
    numeric, categories = known.get("numeric"), known.get("categories")
    found = {
        "Numbers": ", ".join(map(str, numeric)) if isinstance(numeric, dict) else "",
        "Categories": ", ".join(map(str, categories)) if isinstance(categories, dict) else "",
        "Label": str(known.get("label", "")),
        "Held out, to score the model": f"{known.get('test_fraction', 'a fixed part')}",
        "Special categories (article 9), groups of people": TO_FILL_IN,
    }
    yield from _facts({name: text for name, text in found.items() if text})


def _necessity(run: RunData) -> Iterator[str]:
    yield "## 3. Necessity: what leaves a participant"
    yield ""
    words = dict(_rows(run, "rows"))
    known = AGGREGATIONS.get(run.option("aggregation"))
    masked = known is not None and not known.sees_contributions
    seen = (
        "its sum with the others' only (but see 5)" if masked else "each contribution by itself"
    )
    yield from _facts(
        {
            "What the server sees": seen,
            "A round": words.get("a round", "unknown"),
            "Rounds": words.get("rounds", str(run.num_rounds)),
            "Records": "none leaves",
        }
    )


def _guarantee(run: RunData) -> Iterator[str]:
    yield "## 4. Differential privacy"
    yield ""
    yield from (f"- {plain(text)}" for text in initial_model_words(run.summary))
    spent = run.spent()
    if not spent:
        yield (
            "None. What the model and the released sums tell about a person is not bounded; it"
            " may be a lot."
        )
        return
    cap = run.cap()
    yield from _facts(
        {
            "Unit": f"{spent.get('unit')} ({spent.get('neighbours')})",
            "Epsilon, towards the server": f"{spent.get('epsilon', float('nan')):.4g}",
            "Epsilon, towards who sees only the model": (
                f"{spent.get('epsilon_model_only', float('nan')):.4g}"
            ),
            "Delta": f"{spent.get('delta')}",
            "Cap of the run": "none" if cap is None else f"epsilon {cap:g}",
            "Accountant": str(spent.get("accountant")),
            "Noise": f"privacy={run.option('privacy')}: see config.yaml",
            "Releases": (
                f"{spent.get('num_updates')} updates, {spent.get('num_metrics')} scores"
            ),
            "Other runs on the same records": (
                "add up; each participant's ledger has the total, and holds it to its cap"
            ),
        }
    )


def _trust(run: RunData) -> Iterator[str]:
    yield "## 5. Who has to be trusted"
    yield ""
    rows = _rows(run, "rows") + _rows(run, "adversaries")
    told = {name: text for name, text in rows if name not in _OF_COSTS}
    if not told:
        yield "plan.json is missing; `tacet plan` with the run's configuration says it."
    yield from _facts(told)


def _not_protected(run: RunData) -> Iterator[str]:
    yield "## 6. Risks that remain"
    yield ""
    found = run.plan.get("not_promised")
    if isinstance(found, list) and found:
        yield "The run does not promise:"
        yield ""
    for text in found if isinstance(found, list) else ():
        yield f"- {plain(str(text))}"
    yield f"- Assessment of these risks for the people concerned: {TO_FILL_IN}"


def _retention() -> Iterator[str]:
    yield "## 7. Retention"
    yield ""
    yield from _facts({**dict(_KEPT), "Periods": TO_FILL_IN})


def _evidence(run: RunData) -> Iterator[str]:
    yield "## 8. Evidence"
    yield ""
    yield from _facts({f"SHA-256 of {name}": digest for name, digest in run.hashes.items()})
    yield "- `tacet verify` checks the folder against its log and works out epsilon anew."
    yield "- `tacet ledger show` reads on a participant's machine what it was charged."


def _facts(values: Mapping[str, str]) -> Iterator[str]:
    for name, text in values.items():
        yield f"- **{plain(name)}:** {text if text == TO_FILL_IN else plain(text)}"


def _rows(run: RunData, name: str) -> list[tuple[str, str]]:
    """Return the pairs of words that ``plan.json`` has under a name."""
    rows = run.plan.get(name)
    pairs = [row for row in rows if isinstance(row, list)] if isinstance(rows, list) else []
    return [(str(row[0]), " ".join(map(str, row[1:]))) for row in pairs if row]


def _range_of(run: RunData, name: str) -> str:
    found = [int(line[name]) for line in run.rounds if isinstance(line.get(name), int)]
    if not found:
        return "unknown"
    least, most = min(found), max(found)
    return str(least) if least == most else f"{least} to {most}"


def plain(text: str) -> str:
    """Return a text in which nothing is markup: names of columns come from anywhere."""
    flat = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|" else char for char in flat)
