"""``MODEL.md``, the card of a model: what goes in, what comes out, what it reveals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.node.lineage import PastRun, objection, total_of
from app.node.model_entry import ModelEntry
from app.results.html.compliance import plain
from app.results.run_log import LOG
from tasks.base import Task
from workloads.registry import WORKLOADS

CARD = "MODEL.md"
_MOST_COLUMNS = 200


def card_of(entry: ModelEntry, task: Task, not_promised: Sequence[str]) -> str:
    """Return the card of an entry, in Markdown; its own hash is not in it.

    Parameters
    ----------
    entry : ModelEntry
        What is going to be signed.
    task : Task
        With the configuration that the model was trained with.
    not_promised : sequence of str
        What its run does not promise, as ``plan.json`` has it.
    """
    parts = (
        _head(entry),
        _inputs(entry, task),
        _metrics(entry),
        _privacy(entry),
        _not_protected(entry, not_promised),
        _use(entry, task),
        _hashes(entry),
    )
    lines: list[str] = []
    for part in parts:
        lines += [*part, ""]
    return "\n".join(lines)


def _head(entry: ModelEntry) -> Iterator[str]:
    yield f"# {entry.name}, version {entry.version}"
    yield ""
    run = entry.runs[0]
    yield from _facts(
        {
            "Signed": f"{entry.created} by the key {entry.signer.hex()}",
            "Made by": f"algorithm {entry.workload} on the task {entry.task}",
            "Run": f"{run.run_id}, {entry.status}, {run.num_rounds} rounds",
            "Participants asked in its last round": str(entry.participants),
        }
    )


def _inputs(entry: ModelEntry, task: Task) -> Iterator[str]:
    yield "## What goes in, what comes out"
    yield ""
    table = task.table
    if table is None:
        shape = ", ".join(map(str, task.input_shape))
        yield f"Inputs of shape (n, {shape}), as the task {plain(entry.task)} encodes them."
        return
    label = table.label
    if table.event:
        told = f"the chance to be without {plain(table.event)} at times up to {label.high:g}"
    elif table.classes:
        told = f"one of {', '.join(map(plain, table.classes))}"
    else:
        told = f"a number from {label.low:g} to {label.high:g}"
    yield f"It predicts {plain(label.name)}: {told}. Inputs, in the columns' own units:"
    yield ""
    yield "| column | values |"
    yield "|---|---|"
    for column in table.columns[:_MOST_COLUMNS]:
        values = ", ".join(map(plain, column.categories))
        values = values or f"numbers from {column.low:g} to {column.high:g}"
        yield f"| {plain(column.name)} | {values} |"
    for name in table.texts:
        yield f"| {plain(name)} | free text |"
    if len(table.columns) > _MOST_COLUMNS:
        yield f"| and {len(table.columns) - _MOST_COLUMNS} more | as in config.yaml |"


def _metrics(entry: ModelEntry) -> Iterator[str]:
    yield "## How good it is"
    yield ""
    if not entry.metrics:
        yield "The run did not score its last model."
        return
    yield "On records that its participants held out:"
    yield ""
    yield from _facts({name: f"{value:.6g}" for name, value in entry.metrics.items()})


def _privacy(entry: ModelEntry) -> Iterator[str]:
    yield "## What it reveals of the records it was trained on"
    yield ""
    for place, run in enumerate(entry.runs, start=1):
        yield f"- {_run_words(place, run)}"
    spent = [run.privacy for run in entry.runs]
    found = total_of(spent)
    yield ""
    if found is None:
        yield f"**No bound**: {plain(objection(spent))}."
        return
    yield (
        f"Together: epsilon **{found.epsilon:.6g}** at delta {found.delta:.3g}"
        f" ({plain(found.unit)}: {plain(found.neighbours)}) on what was in all of these runs"
        " (basic composition: epsilons and deltas add). For whoever sees the models only it is"
        f" epsilon {found.epsilon_model_only:.6g}; not for readers of {LOG}, which says who"
        " took part where messages were signed. Other runs on the same records add to it."
    )


def _run_words(place: int, run: PastRun) -> str:
    said = f"run {plain(run.run_id)}"
    if run.entry:
        said += f", taken as {plain(run.entry)}"
    said += ": " if place == 1 else ", whose model it began with: "
    spent = run.privacy
    if spent is None:
        return f"{said}no differential privacy"
    return f"{said}epsilon {spent.epsilon:.6g} at delta {spent.delta:.3g}, {plain(spent.unit)}"


def _not_protected(entry: ModelEntry, not_promised: Sequence[str]) -> Iterator[str]:
    yield "## What was not protected"
    yield ""
    if not not_promised:
        yield "- The run folder had no plan.json; `tacet plan` with its configuration says it."
    for text in not_promised:
        yield f"- {plain(text)}"
    yield "- That participants clipped and added their noise is their own promise."


def _use(entry: ModelEntry, task: Task) -> Iterator[str]:
    place = f"REGISTRY/{entry.name}/{entry.version}"
    yield "## Use it"
    yield ""
    yield "```bash"
    # Of a workload with no neural model the key has no effect.
    is_shared_only = WORKLOADS[entry.workload].has_model and bool(task.config.personal)
    own = " --node-state STATE" if is_shared_only else ""
    yield f"tacet models verify {entry.reference} --registry REGISTRY --signer peers.yaml"
    if type(task).new_rows is not Task.new_rows:
        yield f"tacet predict {place} --input new.csv --output predictions.csv{own}"
    yield f"tacet export {place} --format FORMAT --output FILE{own}"
    yield "```"
    if own:
        names = ", ".join(map(plain, task.config.personal))
        yield ""
        yield (
            f"It is the shared part only: {names} stays on each node. STATE is the state-path"
            " of a node that took part in its run. Who did not can begin a run with it"
            f" (initial-model={place}), and trains a part of their own."
        )


def _hashes(entry: ModelEntry) -> Iterator[str]:
    yield "## Evidence"
    yield ""
    files = {f"SHA-256 of {name}": digest for name, digest in entry.files.items()}
    heads = {
        f"Head of the log of run {run.run_id}": run.head
        for run in reversed(entry.runs)
        if run.head
    }
    yield from _facts({**files, **heads, "SHA-256 of its numbers": entry.state})


def _facts(values: Mapping[str, Any]) -> Iterator[str]:
    for name, text in values.items():
        yield f"- **{plain(name)}:** {plain(str(text))}"
