"""Pages as an HTML parser reads them, and run folders that were written by hand."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

VOID = {"meta", "br", "hr", "img", "link", "input"}
#: Attributes by which a page loads something or leads somewhere.
LEADING = {"src", "href", "srcset", "action", "data", "poster", "formaction", "background"}
MOST_BYTES = 1_000_000


@dataclass
class Figure:
    title: str = ""
    alt: str = ""
    role: str = ""
    texts: list[str] = field(default_factory=list)


@dataclass
class Table:
    headers: list[str] = field(default_factory=list)
    scopes: list[str | None] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


class Page(HTMLParser):
    """What is on a page; raises where tags do not close as they opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[str] = []
        self.sections: list[str] = []
        self.figures: list[Figure] = []
        self.tables: list[Table] = []
        self.tiles: dict[str, tuple[str, str]] = {}
        self.ids: list[str] = []
        self.leading: list[str] = []
        self.text = ""
        self._open: list[tuple[str, str]] = []
        self._tile: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"]] if given.get("id") else []
        self.leading += [str(given[name]) for name in LEADING & given.keys()]
        if tag not in VOID:
            self._open.append((tag, given.get("class") or ""))
        if tag == "section":
            self.sections.append(given["id"])
        elif tag == "figure":
            self.figures.append(Figure())
        elif tag == "svg":
            self.figures[-1].alt, self.figures[-1].role = given["aria-label"], given["role"]
        elif tag == "table":
            self.tables.append(Table())
        elif tag == "tr" and self._within("tbody"):
            self.tables[-1].rows.append([])
        elif tag == "td":
            self.tables[-1].rows[-1].append("")
        elif tag == "th":
            self.tables[-1].headers.append("")
            self.tables[-1].scopes.append(given.get("scope"))

    def handle_startendtag(self, tag, attrs):
        # In SVG, tags may close themselves.
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        if tag == "li" and self._tile:
            name, value, *more = self._tile
            self.tiles[name] = (value, "".join(more))
            self._tile = []

    def handle_data(self, data):
        tag, kind = self._open[-1] if self._open else ("", "")
        if tag == "style":
            return
        self.text += data
        if tag == "span" and kind in ("name", "value", "more"):
            self._tile.append(data)
        if tag == "figcaption":
            self.figures[-1].title += data
        elif tag == "text" or (tag == "tspan"):
            self.figures[-1].texts.append(data)
        elif tag == "td":
            self.tables[-1].rows[-1][-1] += data
        elif tag == "th":
            self.tables[-1].headers[-1] += data

    def _within(self, tag: str) -> bool:
        return any(opened == tag for opened, _ in self._open)

    def figure(self, title: str) -> Figure:
        return next(one for one in self.figures if one.title == title)

    def table(self, *headers: str) -> Table:
        return next(one for one in self.tables if {*headers} <= {*one.headers})


def check(html: str) -> Page:
    """Return a page that is small, complete in itself, and told to who does not see it."""
    assert len(html.encode()) < MOST_BYTES
    page = Page(html)
    assert "script" not in page.tags
    assert not {"link", "img", "iframe", "object", "embed", "image"} & {*page.tags}
    # Parts of the page itself only.
    assert all(re.fullmatch(r"#[\w-]+", one) for one in page.leading), page.leading
    assert {one[1:] for one in page.leading} <= {*page.ids}
    assert "http:" not in html.replace("http-equiv", "")
    assert "https:" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert len(page.ids) == len({*page.ids})
    for figure in page.figures:
        assert figure.title
        assert figure.role == "img"
        assert len(figure.alt) > 10
        # Two labels of axes at least, and ticks.
        assert len([text for text in figure.texts if text.strip()]) >= 4, figure.title
    for table in page.tables:
        assert table.headers
        assert all(table.headers)
        assert {*table.scopes} == {"col"}
        assert all(len(row) == len(table.headers) for row in table.rows)
    return page


def page_in(folder: Path) -> Page:
    return check((folder / "report.html").read_text(encoding="utf-8"))


CONFIG: dict[str, Any] = {
    "task": {"name": "csv"},
    "algorithm": {"name": "fedavg"},
    "aggregation": {"name": "secagg"},
    "privacy": {"name": "none"},
    "num_rounds": 20,
}


def round_line(number: int, **values: Any) -> dict[str, Any]:
    return {
        "round": number,
        "seconds": 1.0 + number % 3,
        "num_asked": 5,
        "num_replies": 5,
        "train_loss": 1 / number,
        "evaluated_round": number - 1,
        "metrics": {"loss": 1 / number, "accuracy": 1 - 1 / (number + 1)},
        "failures": {},
        "privacy": {},
        "bytes_down": 1000 * number,
        "bytes_up": 900,
        "stage_seconds": {"train": 0.5, "train.unmask": 0.25},
        **values,
    }


def write_run(
    folder: Path,
    rounds: list[dict[str, Any]],
    status: str = "completed",
    report: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **summary: Any,
) -> Path:
    """Write what a run leaves; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | (config or {})))
    lines = [json.dumps(one) + "\n" for one in rounds]
    (folder / "metrics.jsonl").write_text("".join(lines))
    told = {
        "status": status,
        "num_rounds": len(rounds),
        "evaluated_round": len(rounds),
        "metrics": rounds[-1]["metrics"] if rounds else {},
        "privacy": rounds[-1]["privacy"] if rounds else {},
        "seconds": 12.5,
    }
    (folder / "summary.json").write_text(json.dumps(told | summary))
    for name, values in (("report", report), ("evaluation", evaluation)):
        if values is not None:
            (folder / f"{name}.json").write_text(json.dumps(values))
    return folder
