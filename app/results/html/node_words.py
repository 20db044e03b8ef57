"""What a node's own report says in words."""

from __future__ import annotations

from app.node.own_report import OwnRun
from app.results.html.shown import in_order, metric_name, number


def gain_sentences(run: OwnRun) -> list[str]:
    """Return in plain words what the node gains by taking part, as far as it was worked out."""
    told = [one for one in run.rounds if "with" in one["contribution"]]
    if not told:
        why = [one["contribution"].get("not_told") for one in run.rounds[-1:]]
        return [f"What this node adds cannot be told: {text}." for text in why if text]
    last = told[-1]
    models, number_of = last["contribution"], last["num_test"]
    sentences: list[str] = []
    for name in in_order(models["with"]):
        called, value = metric_name(name), models["with"][name]
        if value is None:
            continue
        text = (
            f"{called}: the model of round {last['round'] - 1}, which all made together, has"
            f" {number(value)} on this node's {number(number_of)} held-out records"
        )
        if (without := models.get("without", {}).get(name)) is not None:
            text += f"; without this node's part of that round it would have {number(without)}"
        if (alone := models.get("alone", {}).get(name)) is not None:
            text += "; this node alone, trained in the rounds that it took part in, has"
            text += f" {number(alone)}. So taking part {_change(name, value - alone)}"
        sentences.append(f"{text}.")
    return sentences


def _change(name: str, difference: float) -> str:
    """Return whether a model is better, and by how much: a loss or an error is to be low."""
    lower_is_better = name in ("loss", "rmse", "mae", "brier", "log_loss")
    gained = -difference if lower_is_better else difference
    if gained == 0:
        return "changes nothing here"
    return f"{'gains' if gained > 0 else 'costs'} it {number(abs(gained))}"
