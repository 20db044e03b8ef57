"""Write what the documents say of the messages from the message types themselves.

``python -m docs.make_leakage`` writes ``docs/leakage.md`` and the tables between the markers
of ``docs/secure-aggregation.md``. ``tests/runs/test_leakage.py`` fails while they differ.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from docs.leakage_words import APP_REFUSALS, METADATA, READERS, RECORDS, REFUSALS
from strategies.masked.config import SecAggConfig
from strategies.refusals import REFUSAL_CODE
from strategies.secagg.client.store import AdvertisedSecrets, MaskedSecrets, SharedSecrets
from strategies.secagg.client.transitions import as_markdown
from strategies.secagg.degree import loss_probability, partition_probability
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import MESSAGES
from strategies.secagg.sizes import key_bytes, steady_round
from strategies.secagg.wire import Field, Wire

DOCS = Path(__file__).parent
LEAKAGE, PROTOCOL = DOCS / "leakage.md", DOCS / "secure-aggregation.md"
SECRETS = (AdvertisedSecrets, SharedSecrets, MaskedSecrets)
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


class UndeclaredFieldError(ValueError):
    """A field says neither how it is encoded nor why it is safe."""


def fields_of(message: type[Any]) -> list[tuple[str, Field]]:
    """Return the declared fields of a message type.

    Raises
    ------
    UndeclaredFieldError
        Naming the first field without ``Annotated[..., Field(kind, why)]``, or without a why.
    """
    hints = get_type_hints(message, include_extras=True)
    declared: list[tuple[str, Field]] = []
    for field in dataclasses.fields(message):
        found = [m for m in getattr(hints[field.name], "__metadata__", ()) if _is_field(m)]
        if len(found) != 1 or not found[0].safe.strip():
            raise UndeclaredFieldError(
                f"{message.__name__}.{field.name}: declare it as Annotated[..., Field(kind,"
                " why it is safe)] and run `python -m docs.make_leakage`"
            )
        declared.append((field.name, found[0]))
    return declared


def _is_field(value: object) -> bool:
    return isinstance(value, Field)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _first_line(documented: type[Any]) -> str:
    return (inspect.getdoc(documented) or "").splitlines()[0].rstrip(".")


def message_table() -> str:
    """Return every message with its fields and their bytes."""
    rows = [
        (
            f"`{cls.__name__}` ({cls.TYPE})",
            _first_line(cls),
            "<br>".join(f"`{name}`: {field.kind.size}" for name, field in fields_of(cls)),
        )
        for cls in MESSAGES
    ]
    return table(("message (type)", "what", "fields: bytes"), rows)


def traffic_table() -> str:
    """Return a client's bytes in a steady round, by trip, for a few cohorts."""
    rows: list[tuple[object, ...]] = []
    for n, d in ((5, 10_000), (10, 1_000_000), (100, 100_000)):
        for agreed in ("hybrid", "classical"):
            parameters = ProtocolParameters(
                min_survivors=None, max_colluding=1, is_hybrid=agreed == "hybrid"
            )
            messages = steady_round(n, parameters, signed=True, num_parameters=d, num_scalars=8)
            sizes = [f"{len(message.encode()):,}" for message in messages]
            each = key_bytes(n, parameters, signed=True) / (n - 1) / 1000
            rows.append((n, f"{d:,}", agreed, *sizes, f"{each:.2f}"))
    trips = ("train, down", "train, up", "unmask, down", "unmask, up")
    return table(("n", "parameters", "keys", *trips, "kB a peer"), rows)


def threshold_table() -> str:
    """Return t, T and the dropouts survived for small cohorts."""
    rows: list[tuple[object, ...]] = []
    for n in (2, 3, 4, 5, 6, 7, 8, 10, 20, 32):
        parameters = ProtocolParameters(min_survivors=None, max_colluding=0 if n == 2 else 1)
        shape = parameters.shape(n)
        needed = max(shape.threshold, parameters.survivors(n), parameters.max_colluding + 2)
        name = f"{n} (simulated only)" if n == 2 else n
        rows.append(
            (
                name,
                parameters.max_colluding,
                shape.threshold,
                parameters.survivors(n),
                n - needed,
            )
        )
    return table(("n", "c", "t", "T", "dropouts survived"), rows)


def graph_table() -> str:
    """Return the degree that is chosen above 32 nodes, and the bounds on its failures."""
    parameters = ProtocolParameters(min_survivors=None, max_colluding=1, is_sparse=True)
    rows = list[tuple[object, ...]]()
    for n in (33, 50, 100, 300, 1000):
        shape, dropouts, least = parameters.shape(n), n // 10, parameters.survivors(n)
        k, t = shape.num_neighbors, shape.threshold
        bounds = (
            partition_probability(n, k, 1, dropouts, least),
            loss_probability(n, k, t, dropouts),
        )
        shown = (f"{bound:.1e}" if bound else "0" for bound in bounds)
        rows.append((n, k, t, least, dropouts, *shown))
    heads = ("n", "k", "t", "T", "dropouts assumed", "apart at most", "lost at most")
    return table(heads, rows)


def refusal_table() -> str:
    """Return every reason of a client's refusal."""
    rows = [(f"`secagg_{r.name.lower()}`", 1100 + r, why) for r, why in REFUSALS.items()]
    return table(("reason", "code", "when"), rows)


def config_table() -> str:
    """Return the configuration keys, from the schema's own docstrings."""
    rows: list[tuple[str, object, str]] = []
    for prefix, cls in (("aggregation", SecAggConfig), ("aggregation.codec", _codec())):
        words = dict(_attributes(inspect.getdoc(cls) or ""))
        for field in dataclasses.fields(cls):
            if field.default is not dataclasses.MISSING:
                default = field.default
                default = default.value if isinstance(default, Enum) else str(default).lower()
                default = default or '""'
                rows.append((f"`{prefix}.{field.name}`", f"`{default}`", words[field.name]))
    return table(("key", "default", "meaning"), rows)


def _codec() -> type[Any]:
    return get_type_hints(SecAggConfig)["codec"]


def _attributes(text: str) -> list[tuple[str, str]]:
    """Return names and descriptions of a numpydoc Attributes section."""
    section = text.split("----------\n", 1)[1]
    entries = re.findall(r"^(\w+) : [^\n]*\n((?:[ ]{4}[^\n]*\n?)+)", section, re.MULTILINE)
    return [(name, " ".join(words.split())) for name, words in entries]


BLOCKS = {
    "messages": message_table,
    "traffic": traffic_table,
    "thresholds": threshold_table,
    "graph": graph_table,
    "transitions": as_markdown,
    "refusals": refusal_table,
    "config": config_table,
}


def fill(page: str) -> str:
    """Return the page with the table of each marker written anew."""

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}"

    return _BLOCK.sub(block, page)


def _section(cls: type[Wire]) -> str:
    rows = [(f"`{n}`", f.kind.size, f.safe) for n, f in fields_of(cls)]
    reader = f"Read by: {READERS[cls]}.\n\n" if cls in READERS else ""
    return f"### {cls.__name__}\n\n{_first_line(cls)}.\n{reader}\n" + table(
        ("field", "bytes", "why it is safe"), rows
    )


def leakage_page() -> str:
    """Return the page ``docs/leakage.md``."""
    errors = [(f"`{r.value}`", why) for r, why in APP_REFUSALS.items()]
    return (
        "\n\n".join(
            [
                (DOCS / "leakage_head.md").read_text(encoding="utf-8").strip(),
                "## The protocol's messages",
                *(_section(cls) for cls in MESSAGES),
                "## Flower's records around them",
                table(("record", "key", "direction", "why it is safe"), RECORDS),
                "## Error replies",
                "A refusal of the protocol has one of the codes and reasons of [the table of"
                " refusals](secure-aggregation.md#what-a-client-refuses): it depends on the"
                " server's own messages and the stage. Any other refusal has code"
                f" {REFUSAL_CODE} and one of these reasons:",
                table(("reason", "what it tells"), errors),
                "## Flower's metadata",
                "Not ours to hide. " + _METADATA_WORDS,
                table(("field", "what it tells"), [(f"`{n}`", w) for n, w in METADATA.items()]),
                "## What stays on the node",
                "The secrets of an open attempt, listed so that a new field in them is noticed."
                " When they go: [State on a node](secure-aggregation.md#state-on-a-node).",
                *(_section(cls) for cls in SECRETS),
            ]
        ).replace("\n\n\n", "\n\n")
        + "\n"
    )


_METADATA_WORDS = (
    "Times are a side channel: training takes longer with more records. Beside these fields,"
    " Flower reports each reply's size, the node's heartbeats, and the running time of its"
    " client process (`clientapp_runtime`)."
)


def pages() -> dict[Path, str]:
    """Return both pages as they should be."""
    return {LEAKAGE: leakage_page(), PROTOCOL: fill(PROTOCOL.read_text(encoding="utf-8"))}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
