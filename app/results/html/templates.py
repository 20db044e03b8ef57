"""The templates of the report, in Jinja.

They are Python, as Flower's bundles hold no other kind of file that a template could be.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from app.results.html.style_sheet import STYLE_SHEET

if TYPE_CHECKING:
    from jinja2 import Environment

_PARTS = """
{% macro figure(one) %}
{% if one.width %}<figure class="wide" style="max-width: {{ one.width }}px">
{% else %}<figure>{% endif %}

<figcaption>{{ one.title }}</figcaption>
{{ one.svg|safe }}
{% if one.note %}<p>{{ one.note }}</p>{% endif %}
</figure>
{% endmacro %}
{% macro inner(one) %}
{% if one.note %}<p class="note">{{ one.note }}</p>{% endif %}
<div class="scroll" tabindex="0" role="region" aria-label="{{ one.title }}"><table>
<thead><tr>{% for name in one.columns %}
<th scope="col"{{ ' class="right"'|safe if one.rows and one.rows[0][loop.index0].is_number }}>
{{- name or "term" }}</th>
{%- endfor %}</tr></thead>
<tbody>{% for row in one.rows %}<tr>{% for cell in row %}
<td class="{{ 'right' if cell.is_number else 'text' }}">{{ cell.text }}</td>
{%- endfor %}</tr>{% endfor %}</tbody>
</table></div>
{% endmacro %}
{% macro table(one) %}
{% if one.is_folded %}<details><summary>{{ one.title }}</summary>{{ inner(one) }}</details>
{% else %}<h3>{{ one.title }}</h3>{{ inner(one) }}{% endif %}
{% endmacro %}
{% macro tiles(all) %}
<ul class="tiles">{% for one in all %}
<li><span class="name">{{ one.name }}</span><span class="value">{{ one.value }}</span>
{%- if one.more %}<span class="more">{{ one.more }}</span>{% endif %}</li>
{%- endfor %}</ul>
{% endmacro %}
{% macro facts(all) %}
{% set is_long = all|map(attribute=1)|map("string")|map("length")|max > 48 %}
<dl{{ "" if is_long else ' class="short"'|safe }}>{% for name, value in all %}
<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>{% endfor %}</dl>
{% endmacro %}
{% macro section(one) %}
<section id="{{ one.key }}">
<h2>{{ one.title }}</h2>
{% for text in one.texts %}<p>{{ text }}</p>{% endfor %}
{% if one.figures %}
<div class="figures">{% for each in one.figures %}{{ figure(each) }}{% endfor %}</div>
{% endif %}
{% if one.facts %}{{ facts(one.facts) }}{% endif %}
{% if one.items %}<h3>{{ one.items_title }}</h3>
<ul class="plain">{% for item in one.items %}<li>{{ item }}</li>{% endfor %}</ul>{% endif %}
{% if one.small %}<h3>{{ one.small_title }}</h3>
<div class="figures small">{% for each in one.small %}{{ figure(each) }}{% endfor %}</div>
{% endif %}
{% for each in one.tables %}{{ table(each) }}{% endfor %}
</section>
{% endmacro %}
"""

_BASE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>{{ style|safe }}</style>
</head>
<body><main>
{% block body %}{% endblock %}
<footer>{{ footer }}</footer>
</main></body>
</html>
"""

_RUN = """{% extends "base" %}{% import "parts" as parts %}
{% block body %}
<header>
<h1>{{ title }}</h1>
<p class="under">{{ under }}</p>
<p><span class="status {{ status_class }}">{{ status }}</span> {{ progress }}</p>
{% if reason %}<p class="reason">{{ reason }}</p>{% endif %}
{{ parts.tiles(tiles) }}
</header>
{% for one in sections %}{{ parts.section(one) }}{% endfor %}
<section id="configuration">
<h2>Configuration</h2>
{{ parts.facts(provenance) }}
<details><summary>The resolved configuration</summary><pre>{{ config_text }}</pre></details>
</section>
{% endblock %}
"""

_COMPARISON = """{% extends "base" %}{% import "parts" as parts %}
{% block body %}
<header><h1>{{ title }}</h1><p class="under">{{ under }}</p></header>
{% for one in sections %}{{ parts.section(one) }}{% endfor %}
{% endblock %}
"""

_NODE = """{% extends "base" %}{% import "parts" as parts %}
{% block body %}
<header>
<h1>{{ title }}</h1><p class="under">{{ under }}</p>
{{ parts.tiles(tiles) }}
</header>
{% for one in sections %}{{ parts.section(one) }}{% endfor %}
{% endblock %}
"""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined

    texts = {"parts": _PARTS, "base": _BASE, "run": _RUN, "comparison": _COMPARISON}
    texts["node"] = _NODE
    # What comes from a configuration, a file's header or a node is text, never markup.
    return Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: Any) -> str:
    """Return the page that a template makes of these values."""
    return _environment().get_template(name).render(style=STYLE_SHEET, **values)
