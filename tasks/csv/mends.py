"""What a message says of a value that does not fit: what is wrong with it, and the mend."""

import re
from collections.abc import Collection
from math import isfinite

_SHOWN = 20
_TRUTH = {"true", "false", "yes", "no", "on", "off"}
# Digits with what separates them somewhere in the world; the point stands last where it is one.
_OTHER_SEPARATORS = re.compile(r"[-+]?\d[\d\s.,'\N{RIGHT SINGLE QUOTATION MARK}]*")


def parse(text: str) -> float | None:
    """Return a finite number, or None if the text is none."""
    # Python, unlike everybody else, reads 1_000 as a number.
    if "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def mend_number(text: str) -> str:
    """Say why a text is no number of a numeric column."""
    what = "is no finite number"
    if text.lower() in _TRUTH:
        return (
            f"{what} but a truth value; write 1 and 0, or list the column under"
            " task.categorical, with its categories in quotes"
        )
    if _OTHER_SEPARATORS.fullmatch(text):
        return (
            f"{what}: write it like 1234.5, with a decimal point in place of a comma, and"
            " nothing between thousands"
        )
    if re.search(r"\d", text):
        return f"{what}: write the number alone, like 3.5, without unit, sign or letter"
    return (
        f"{what}; write it like 3.5, with a point, and what is missing as one of"
        " task.missing_values"
    )


def wrong_weight(text: str, missing_values: Collection[str]) -> str:
    """Say why a text is no weight of a record, with the mend; empty if it is one."""
    if text in missing_values:
        return "is missing, but each row must say how often it counts; write 1, or 0 for never"
    value = parse(text)
    if value is None:
        return mend_number(text)
    return "" if value >= 0 else "is negative; write 0 for a row that never counts"


def wrong_time(text: str) -> str:
    """Say why a text is no time under observation, with the mend; empty if it is one."""
    value = parse(text)
    if value is None:
        return mend_number(text)
    if value > 0:
        return ""
    return (
        "is not above 0; leave out a record that was never under observation, and write an"
        " event on the very first day as half a day, say"
    )


def wrong_event(text: str) -> str:
    """Say why a text does not tell how a time ended, with the mend; empty if it does."""
    value, what = parse(text), "is neither 1 (the event) nor 0 (censored before it)"
    if value in (0.0, 1.0):
        return ""
    if text.lower() in _TRUTH:
        return f"{what}; write truth values as 1 and 0"
    if value == 2:
        return f"{what}; where 1 is censored and 2 the event, as in some files of R, take 1 off"
    return f"{what}; mend it"


def mend_name(key: str, text: str, allowed: list[str], or_else: str = "") -> str:
    """Say why a text is none of the classes or categories that ``task.<key>`` lists."""
    what = key.rpartition(".")[2]
    more = f", ... ({len(allowed)} in all)" if len(allowed) > _SHOWN else ""
    told = f"is none of the {what} {', '.join(allowed[:_SHOWN])}{more}"
    if text.lower() in _TRUTH and {"True", "False"} & set(allowed):
        return (
            f'{told}; YAML reads {text} as a truth value unless it is in quotes: list "{text}"'
            f" under task.{key}"
        )
    number = parse(text)
    for name in allowed:
        if number is not None and parse(name) == number:
            return (
                f"{told}; it is {name} written in another way: list it as the file writes it,"
                f' in quotes, under task.{key}: "{text}"'
            )
        if name.lower() == text.lower():
            return f"{told}; it differs from {name} in upper and lower case: mend one of them"
    return f"{told}{or_else}"
