"""Read ``key=value`` pairs as Flower's commands do: run configs and node configs."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

# A pair, as Flower looks for them; what is no part of one it passes over.
_PAIR = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")


def parse_pairs(text: str) -> dict[str, Any]:
    """Return the values of ``key1="text" key2=3``, or of the TOML file that the text names.

    Raises
    ------
    ValueError
        If Flower would not take the text, or would pass over a part of it; the message is one
        line that says which part, and how to write it.
    """
    text = text.strip()
    is_file = text.endswith(".toml")
    if not is_file:
        _check(text)
    # Seconds, which commands that parse nothing do without.
    from click import ClickException
    from flwr.common.config import parse_config_args

    try:
        return dict(parse_config_args([text]))
    except (ClickException, ValueError, OSError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def as_pairs(values: Mapping[str, Any]) -> str:
    """Return the text that ``parse_pairs`` reads as these values, for a shell's single quotes.

    Flower knows no escaped quote in a text, so one is written by its code point.
    """
    return " ".join(f"{key}={_toml(value)}" for key, value in values.items())


def _toml(value: bool | int | float | str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return text
    inner = text[1:-1].replace('\\"', "\\u0022").replace("'", "\\u0027")
    return f'"{inner}"'


def _check(text: str) -> None:
    """Refuse what is no pair, a value that is none of TOML's, and a key that comes twice."""
    if rest := _PAIR.sub(" ", text).split():
        raise ValueError(_no_pair(rest[0]))
    keys: set[str] = set()
    for key, value in _PAIR.findall(text):
        if not _is_toml(f"{key} = {value}"):
            raise ValueError(_no_value(key, value))
        if key in keys:
            raise ValueError(f"{key} is given twice; take one of them out")
        keys.add(key)


def _is_toml(line: str) -> bool:
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _no_pair(word: str) -> str:
    if not word.strip(","):
        return "pairs are separated by spaces, not by commas"
    return (
        f"{word!r} is no key=value pair; give e.g. 'task=\"heart\" num-rounds=5', text in"
        " double quotes, or the path of a file that ends in .toml"
    )


def _no_value(key: str, value: str) -> str:
    """Return what is wrong with a value, and how it is written."""
    pair = f"{key}={value}"
    if value.lower() in ("true", "false"):
        return f"{pair}: write {key}={value.lower()}, in small letters"
    if value[0] in "\"'":
        return f"{pair}: the closing quote is missing"
    if value.endswith(",") and _is_toml(f"{key} = {value[:-1]}"):
        return f"{pair}: pairs are separated by spaces, not by commas"
    if "," in value and all(_is_toml(f"{key} = {part}") for part in value.split(",")):
        return f"{pair}: several values, and a run takes one; start a run for each"
    return f'{pair}: text stands in double quotes: {key}="{value}"'
