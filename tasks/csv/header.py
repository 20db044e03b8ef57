"""The header of a CSV file, held against the declared columns. It is no secret."""

from collections import Counter
from collections.abc import Iterator

from tasks.csv.misfits import Misfit
from tasks.csv.rows import Row
from tasks.csv.schema import CsvConfig

_OTHER_DELIMITERS = (";", "\t", "|", ",")
_SHOWN = 20


class Header:
    """The names of a file's columns.

    Parameters
    ----------
    row : Row
        The first of the file.
    config : CsvConfig
        What its columns mean.
    is_new : bool
        Whether the rows are to be predicted: they may lack label and weight, and columns that
        the configuration does not name are nobody's features.

    Attributes
    ----------
    num_columns : int
        How many fields each row must have.
    positions : dict
        Where each declared column stands, from 0, of those that are there.
    misfits : list of Misfit
        All that is wrong with it.
    """

    def __init__(self, row: Row, config: CsvConfig, *, is_new: bool = False) -> None:
        names = [name.strip() for name in row.fields]
        first = {name: place for place, name in reversed(list(enumerate(names)))}
        self.num_columns = len(names)
        needed = _needed_of_new(names, config) if is_new else config.columns()
        self.positions = {name: first[name] for name in needed if name in first}
        wrong = _wrong(names, config, needed, is_new)
        self.misfits = [Misfit(row.line, column, None, why) for column, why in wrong]


def _needed_of_new(names: list[str], config: CsvConfig) -> list[str]:
    """Return the columns that rows to predict must have: the label where it is there whole."""
    label = list(config.label.columns.values())
    has_label = set(label) <= set(names)
    return [*(label if has_label else []), *config.numeric, *config.categorical, *config.text]


def _wrong(
    names: list[str], config: CsvConfig, needed: list[str], is_new: bool
) -> Iterator[tuple[str | None, str]]:
    """Yield what is wrong, with the column's name where there is one."""
    if (other := _other_delimiter(names, config.delimiter)) is not None:
        first = needed[0]
        yield (
            first,
            _missing(first, names, config.delimiter)
            + (f"; it looks like task.delimiter={other!r}"),
        )
        return
    lowered = {name.lower() for name in names}
    if not any(name.lower() in lowered for name in needed):
        yield None, _no_header(names, config, needed)
        return
    for name, times in Counter(names).items():
        if times > 1 and name and (name in needed or not is_new):
            yield name, "it is there twice; rename or remove one"
    there = set(names)
    for name in needed:
        if name not in there:
            yield name, _missing(name, names, config.delimiter)
    if not is_new:
        yield from _unknown(names, config)


def _unknown(names: list[str], config: CsvConfig) -> Iterator[tuple[str | None, str]]:
    """Yield the columns that the configuration does not name."""
    there = set(names)
    known = {*config.columns(), *config.drop}
    if "" not in known and "" in there:
        yield None, _unnamed(names)
    if odd := [name for name in dict.fromkeys(names) if name and name not in known]:
        # It might identify a person, so nobody's oversight may make it a feature.
        each = "it" if len(odd) == 1 else "them"
        yield (
            ", ".join(odd),
            f"the configuration does not name {each}; list {each} under task.drop, or under"
            " task.numeric, task.categorical or task.text to learn from it",
        )


def _other_delimiter(names: list[str], delimiter: str) -> str | None:
    """Return what seems to separate the fields of a header that was not cut."""
    if len(names) > 1:
        return None
    return next((d for d in _OTHER_DELIMITERS if d in names[0] and d != delimiter), None)


def _no_header(names: list[str], config: CsvConfig, needed: list[str]) -> str:
    """Say that a first line holds no column's name, as of a file that begins with a record."""
    due = ", ".join(needed[:_SHOWN]) + ", ..." * (len(needed) > _SHOWN)
    return (
        "none of the configuration's columns is there, so this seems to be no header but a"
        f" record; put a line with the columns' names before it ({due}); the line has"
        f" {_there(names)} (task.delimiter={config.delimiter!r})"
    )


def _there(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _missing(name: str, names: list[str], delimiter: str) -> str:
    told = f"it is missing; the header has {_there(names)} (task.delimiter={delimiter!r})"
    for other in names:
        if other.lower() == name.lower():
            return f"{told}; {other} differs in upper and lower case: mend one of them"
    return told


def _unnamed(names: list[str]) -> str:
    """Say which columns have no name, what usually writes such, and the mend."""
    places = [place for place, name in enumerate(names, start=1) if not name]
    mend = 'leave it out with drop: [""] in the task\'s YAML, or name it in the header'
    if places == [1]:
        return f"the first column has no name, like an index that pandas writes; {mend}"
    if places == [len(names)]:
        return f"the last column has no name: the lines end in the delimiter; {mend}"
    if len(places) == 1:
        return f"column {places[0]} of {len(names)} has no name; {mend}"
    which = ", ".join(map(str, places[:_SHOWN])) + ", ..." * (len(places) > _SHOWN)
    return f"columns {which} of {len(names)} have no name; {mend.replace(' it', ' them')}"
