"""Names that YAML 1.1 reads as something else: ``no`` is False, 010 is 8, 12:30 is 750.

A column or a category of such a name must stand in quotes. Without them a key fails in words
that do not help, and a category quietly becomes another text.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

# The C one takes a tenth of the time, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


def misread_key(file: Path) -> str:
    """Return what is wrong with the first key that is no text, or empty entry; empty if none.

    Parameters
    ----------
    file : Path
        A YAML that could not be composed.
    """
    return next(_misread_keys(file, _tree(file)), "")


def misread_text(file: Path, config: object) -> str:
    """Return what is wrong with the first text that is not what the YAML says; empty if none.

    Parameters
    ----------
    file : Path
        A YAML.
    config : object
        What was composed of it, a dataclass: it tells where a text is due.
    """
    return next(_misread_texts(file, _tree(file), config), "")


def _tree(file: Path) -> Any:
    try:
        return yaml.compose(file.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None  # whoever composes it says why


def _misread_keys(file: Path, node: Any) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not _is_text(key):
                yield _told(file, key)
            yield from _misread_keys(file, value)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            if isinstance(entry, yaml.ScalarNode) and entry.tag == _NULL:
                yield _told(file, entry)
            yield from _misread_keys(file, entry)


def _misread_texts(file: Path, node: Any, value: Any) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        for key, inner in node.value:
            name = key.value
            own = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
            yield from _misread_texts(file, inner, own)
    elif isinstance(node, yaml.SequenceNode) and isinstance(value, list):
        values = cast(list[Any], value)
        for inner, own in zip(node.value, values, strict=False):
            yield from _misread_texts(file, inner, own)
    elif isinstance(value, str) and node.value != value and _became(node) == value:
        yield _told(file, node)


def _became(node: Any) -> str | None:
    """Return the text that was made of a scalar; None for a text, which an override changed."""
    is_scalar = isinstance(node, yaml.ScalarNode)
    return str(_read(node)) if is_scalar and not _is_text(node) else None


def _is_text(node: Any) -> bool:
    """Whether a scalar is a text to those who compose the configuration."""
    # Plain scalars have no style, which the C loader tells as an empty one.
    if node.style or node.tag == _MERGE:
        return True
    return isinstance(_read(node), str)


def _read(node: Any) -> object:
    """Return a plain scalar as OmegaConf reads it, which knows more floats and no dates."""
    text = node.value
    # No number begins with a letter, and what else is no text has a tag of its own.
    if node.tag.endswith(":str") and text[:1].isalpha():
        return text
    try:
        values = OmegaConf.to_container(OmegaConf.create(f"- {text}"), resolve=False)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError):
        return text
    return cast(list[object], values)[0]


def _told(file: Path, node: Any) -> str:
    text, value = node.value, _read(node)
    kind = "the truth value" if isinstance(value, bool) else "the number"
    seen = "nothing" if value is None else f"{kind} {value}"
    return (
        f"conf/{file.parent.name}/{file.name}, line {node.start_mark.line + 1}: YAML reads"
        f' {text} as {seen}; put a name that looks like this in quotes: "{text}"'
    )
