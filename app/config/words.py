"""The free overrides of a run config: split into words, each ``key=value`` with one value."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
# What a word cannot have outside of quotes.
_SPECIAL = re.compile(r"[\s'\"\\]")
_SECOND_KEY = re.compile(r",[A-Za-z_][\w.]*=")


def split_words(text: str) -> list[str]:
    """Return the words of ``overrides``.

    Raises
    ------
    ValueError
        Naming the word that is not of the form ``key=value``, and the mend.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"overrides={text!r}: {error}") from None
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise ValueError(f"overrides: {word!r} is not of the form key=value")
        # Brackets and commas within quotes are text.
        bare = _QUOTED.sub("", value)
        if any(bare.count(a) > bare.count(b) for a, b in ("[]", "{}")):
            raise ValueError(
                f"overrides: {word!r} opens a bracket and does not close it; write a list or a"
                " mapping without spaces: key=[one,two]"
            )
        if _SECOND_KEY.search(bare) and bare[:1] not in ("[", "{"):
            raise ValueError(
                f"overrides: {word!r}: overrides are separated by spaces, not by commas"
            )
    return words


def join_words(words: list[str]) -> str:
    """Return the text that ``split_words`` splits into these words."""
    return " ".join(shlex.quote(word) if _SPECIAL.search(word) else word for word in words)


def replaced(run_config: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Return a run config with these values, in place of any that it has.

    A key with a dot stands among the overrides, any other in the run config itself.
    """
    words = split_words(str(run_config.get("overrides", "")))
    words = [word for word in words if word.partition("=")[0] not in values]
    words += [f"{key}={value}" for key, value in values.items() if "." in key]
    plain = {key: _plain(value) for key, value in values.items() if "." not in key}
    return {**run_config, **plain, "overrides": join_words(words)}


def refuse_twice(words: list[str]) -> None:
    """Refuse a key that is given twice, of which the last value would win in silence.

    Raises
    ------
    ValueError
        Naming the key with both values.
    """
    seen: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key in seen:
            raise ValueError(
                f"overrides: {key} is given twice, as {seen[key]} and as {value}; take one of"
                " them out"
            )
        seen[key] = value


def _plain(value: str) -> int | str:
    return int(value) if value.isdecimal() else value


def check_values(words: list[str]) -> None:
    """Refuse a value that Hydra cannot read, or that stands for several.

    Raises
    ------
    ValueError
        Naming the word and the mend.
    """
    parser = OverridesParser.create()
    for word in words:
        key, _, value = word.partition("=")
        try:
            is_sweep = parser.parse_override(word).is_sweep_override()
        except HydraException:
            raise ValueError(
                f"overrides: {word!r}: {value!r} cannot be read; text with other characters"
                " than letters, digits and -_./: stands in the YAML of its option"
                f" (conf/{key.partition('.')[0]}/), or in two pairs of quotes: {key}=\"'...'\""
            ) from None
        if is_sweep:
            raise ValueError(
                f"overrides: {word!r}: several values, and a run takes one; start a run for"
                " each, or write a list in brackets: key=[one,two]"
            )
