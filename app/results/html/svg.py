"""Draw with matplotlib, and make of it an SVG that takes its colours and fonts from the page.

A drawing is in made-up colours, which become CSS variables: so one figure is right in light, in
dark and in print. Texts stay texts. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import count
from typing import Any

#: What is drawn in these colours has the page's: text, lines of the grid, and series.
INK, MUTED, LINE = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0a0a0{number}" for number in range(1, 9))
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)
}
#: Points of a line; more cannot be told apart.
MOST_POINTS = 400

# Of the figures of one page, whose ids must differ; a page drawn again has the same.
_numbers = count()

_POINTS_PER_INCH = 72
# In pixels: an axis's label with its gaps, a letter, a line of tick labels, the other margins.
_LABEL, _LETTER, _LINE_HEIGHT, _MARGIN = 27, 6.2, 12, 12
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tacet",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "axes.formatter.use_mathtext": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "lines.solid_joinstyle": "round",
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
}


@dataclass(frozen=True)
class Figure:
    """A drawing with what a reader needs who does not see it.

    Attributes
    ----------
    title : str
        What it shows.
    alt : str
        What is to be seen, in words.
    svg : str
        The element, without a name space, for HTML.
    note : str
        What a reader must know of it.
    width : int
        Pixels that it may take where there is room; 0 for a place among others.
    """

    title: str
    alt: str
    svg: str
    note: str = ""
    width: int = 0


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style: around all figures of a page, as entering takes a while."""
    import matplotlib as mpl

    global _numbers
    _numbers = count()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():  # pyright: ignore[reportArgumentType]
        # The font is the reader's; matplotlib's own, which lacks most scripts, only measures.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def axes(width: float = 340, height: float = 220) -> Any:
    """Return axes of a new drawing, within ``style``; ``to_svg`` ends it.

    Parameters
    ----------
    width, height : float
        In CSS pixels at the scale of a phone.
    """
    from matplotlib.figure import Figure as Drawing

    # As an object: nothing of this is known to pyplot, which would keep each figure.
    size = (width / _POINTS_PER_INCH, height / _POINTS_PER_INCH)
    return Drawing(figsize=size).subplots()


def to_svg(drawn: Any, alt: str) -> str:
    """Return the SVG element of axes, with a text that says what is to be seen."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    _fit(drawn)
    drawn.figure.savefig(text, format="svg", metadata=nothing)
    return _for_page(text.getvalue(), alt)


def _fit(drawn: Any) -> None:
    """Leave room for the labels. matplotlib's layouts measure each text, in twice the time."""
    width, height = (_POINTS_PER_INCH * side for side in drawn.figure.get_size_inches())
    left = _LABEL + _LETTER * _longest(drawn.yaxis)
    xlabels = drawn.get_xticklabels() if drawn.xaxis.get_tick_params().get("rotation") else []
    turned = max((len(label.get_text()) for label in xlabels), default=0)
    bottom = _LABEL + (_LETTER * turned if turned else _LINE_HEIGHT)
    drawn.figure.subplots_adjust(
        left / width, bottom / height, 1 - _MARGIN / width, 1 - _MARGIN / height
    )


def _longest(axis: Any) -> int:
    """Return the letters of the longest label of an axis."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
    return max(map(len, axis.get_major_formatter().format_ticks(ticks)), default=0)


_HEAD = re.compile(r"^.*?<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>", re.DOTALL)
_DEAD = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", re.DOTALL)
_GROUP_ID = re.compile(r"<(g|path|rect|use) id=\"([\w.]+)\"")
_TAG = re.compile(r"<[^>]*>")
_DECIMALS = re.compile(r"(-?\d+\.\d)\d+")
_FONT = re.compile(r"font: ([\d.]+)px [^;\"]*")


def _for_page(svg: str, alt: str) -> str:
    """Return an SVG as an element of a page: no name spaces, the page's colours, own ids."""
    svg = _DEAD.sub("", svg)
    head = _HEAD.match(svg)
    # matplotlib has written it.
    assert head is not None  # noqa: S101
    view, svg = head[1], svg[head.end() :]
    svg = svg.replace("xlink:href", "href")
    used = set(re.findall(r"#(\w+)\)|href=\"#(\w+)\"", svg))
    names = {one or other for one, other in used}
    own = f"f{next(_numbers)}-"
    svg = _GROUP_ID.sub(
        lambda found: f'<{found[1]} id="{found[2]}"' if found[2] in names else f"<{found[1]}",
        svg,
    )
    for number, name in enumerate(sorted(names, key=len, reverse=True)):
        for before, after in (('id="', '"'), ("url(#", ")"), ('href="#', '"')):
            svg = svg.replace(f"{before}{name}{after}", f"{before}{own}{number}{after}")
    # In tags only: what a reader sees keeps its digits.
    svg = _TAG.sub(lambda tag: _DECIMALS.sub(r"\1", tag[0]), svg)
    svg = _FONT.sub(r"font-size: \1px", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").strip()
    return f'<svg role="img" aria-label="{escape(alt)}" {view}>{svg}'
