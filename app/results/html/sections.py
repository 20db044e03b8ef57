"""The sections of a run's report, from the model's scores to what was not protected."""

from __future__ import annotations

from math import exp
from typing import Any

from app.results.html.cost_section import cost_section
from app.results.html.gains_section import gains_section
from app.results.html.gather import PLAN_FILE, RunData
from app.results.html.initial_words import initial_model_words
from app.results.html.parts import Section, Table, facts, table, table_of_dicts
from app.results.html.pictures import pictures_section
from app.results.html.run_figures import (
    epsilons,
    learning_curves,
)
from app.results.html.score_figures import score_figures
from app.results.html.shown import in_order, metric_name, number
from app.results.html.small_figures import small_figures
from app.results.html.table_figures import table_figures

_NO_FACTS = ("title", "rows", "tables", "notes", "note")
_TITLES = {
    "curves": "The model: a curve for each column",
    "trees": "The model: trees",
    "regression": "Regression",
    "survival": "Survival",
    "statistics": "Statistics",
    "marginals": "The synthetic table, and what it is made from",
}
#: What a result's main table is called, and whether a figure already says the same.
_TABLES = {
    "curves": ("Importance in numbers", True),
    "trees": ("Importance in numbers", True),
    "regression": ("Coefficients", False),
    "Cox regression": ("Coefficients", False),
    "survival": ("The curves in numbers", True),
    "statistics": ("Columns of numbers", False),
    "marginals": ("Columns", False),
}
_MOST_ROUNDS = 100
# No more of a factor e^epsilon can be read.
_LARGEST_EXPONENT = 30
_PLAN_NAMES = {
    "bad server": "a server that breaks the protocol",
    "guarantee": "guarantee",
    "unit": "privacy unit",
    "noise": "noise",
    "sampling": "sampling",
    "accountant": "accountant",
    "same nodes": "who takes part",
    "warning": "warning",
}
#: How each unit is named in a sentence.
_WHOM = {
    "example": "any one record",
    "client": "any one participant, with all of its records",
}


def sections_of(data: RunData) -> list[Section]:
    """Return all sections, some of which may be empty; figures are drawn within ``style``."""
    return [
        pictures_section(data),
        _scores(data),
        _result(data),
        _learning(data),
        _privacy(data),
        cost_section(data),
        gains_section(data),
    ]


def _result(data: RunData) -> Section:
    """Return what the run computed, where that is read from tables."""
    report = data.report
    if report is None:
        return Section("result", "Result")
    title = str(report.get("title", "Result"))
    rows: list[dict[str, Any]] = report.get("rows") or []
    name, is_drawn = _TABLES.get(title, ("The table", False))
    main = table_of_dicts(name, rows, is_folded=is_drawn, file="report.csv") if rows else None
    tables = [] if main is None else [main]
    tables += _other_tables(report)
    small, small_title = small_figures(report)
    return Section(
        "result",
        _TITLES.get(title, title),
        facts=_facts(report, "report.json"),
        items=[f"{_capital(note)}." for note in report.get("notes") or ()],
        items_title="Notes",
        figures=table_figures(report),
        small=small,
        small_title=small_title,
        tables=tables,
    )


def _other_tables(report: dict[str, Any]) -> list[Table]:
    # Curves are drawn.
    return [
        table_of_dicts(_capital(name), rows, is_folded=True, file=f"report-{name}.csv")
        for name, rows in _tables(report).items()
        if rows and name != "curves"
    ]


def _tables(report: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return report.get("tables") or {}


def _facts(report: dict[str, Any], file: str) -> list[tuple[str, str]]:
    return facts([one for one in report.items() if one[0] not in _NO_FACTS], file)


def _scores(data: RunData) -> Section:
    evaluation = data.evaluation
    if evaluation is None:
        return Section("scores", "How good the model is")
    rows = evaluation.get("rows") or []
    note = evaluation.get("note")
    tables = [
        table_of_dicts("Scores in numbers", rows, is_folded=True, file="evaluation.csv")
    ] * bool(rows)
    return Section(
        "scores",
        "How good the model is",
        texts=["On records of the participants that no model was trained on."]
        + ([f"{_capital(note)}."] if note else []),
        facts=_facts(evaluation, "evaluation.json"),
        figures=score_figures(evaluation),
        tables=tables,
    )


def _learning(data: RunData) -> Section:
    figures = learning_curves(data)
    names = in_order({name for one in data.rounds for name in one["metrics"]})
    rounds = data.rounds[-_MOST_ROUNDS:]
    columns = ["round", "seconds", "asked", "in the sum", "training loss"]
    columns += [metric_name(name) for name in names]
    rows = [
        [
            one["round"],
            one["seconds"],
            one.get("num_asked"),
            one.get("num_replies"),
            one.get("train_loss"),
            *(one["metrics"].get(name) for name in names),
        ]
        for one in rounds
    ]
    note = "A round's scores are those of the model that it began with."
    if len(rounds) < len(data.rounds):
        note += f" The last {len(rounds)} of {len(data.rounds)} rounds; metrics.jsonl has all."
    tables = [table("The rounds in numbers", columns, rows, note=note, is_folded=True)]
    texts = [] if names else ["The models were not scored in this run."]
    if not rounds:
        return Section("rounds", "Round by round", texts=["No round has closed."])
    return Section("rounds", "Round by round", texts=texts, figures=figures, tables=tables)


def _privacy(data: RunData) -> Section:
    """Return who could learn what, in the words of ``tacet plan``, and what is not promised."""
    plan = data.plan
    rows = [(str(name), str(words)) for name, words in plan.get("rows") or ()]
    texts = [_guarantee(data), *_whoever(data), *initial_model_words(data.summary)]
    if not rows:
        texts.append(
            f"What the run was to promise is not in its folder: {PLAN_FILE} is missing."
        )
    told = plan.get("adversaries") or []
    tables = []
    if told:
        note = "What each could learn about one unit by the end of the run, as planned."
        tables = [table("Who could learn how much", ["who", "epsilon"], told, note=note)]
    return Section(
        "privacy",
        "What is protected, and what is not",
        texts=[text for text in texts if text],
        figures=epsilons(data),
        facts=[(_PLAN_NAMES[name], words) for name, words in rows if name in _PLAN_NAMES],
        items=plan.get("not_promised") or (),
        items_title="Not promised",
        tables=tables,
    )


def _guarantee(data: RunData) -> str:
    """Return what the run has spent, in a sentence; empty without differential privacy."""
    spent = data.spent()
    if "epsilon" not in spent:
        return ""
    whom = _WHOM.get(str(spent.get("unit")), str(spent.get("unit")))
    epsilon, delta = spent["epsilon"], number(spent.get("delta"))
    text = (
        f"Whatever all that was released shows about {whom} is bounded by epsilon"
        f" {number(epsilon)} at delta {delta} ({spent.get('neighbours')}; accountant"
        f" {str(spent.get('accountant')).upper()})."
    )
    if isinstance(epsilon, (int, float)) and epsilon < _LARGEST_EXPONENT:
        text += (
            f" With it or without it, nothing that was released is more than"
            f" {number(exp(epsilon))} times as likely, but for a chance of {delta}."
        )
    if (cap := data.cap()) is not None:
        text += f" The run keeps to a cap of {number(cap)}."
    return text


def _whoever(data: RunData) -> list[str]:
    models = data.spent().get("epsilon_model_only")
    if not isinstance(models, (int, float)):
        return []
    return [f"For whoever sees the models only it is epsilon {number(models)}."]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
