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

    Attributes
    ----------
    num_columns : int
        How many fields each row must have.
    positions : dict
        Where each declared column stands, from 0, of those that are there.
    misfits : list of Misfit
        All that is wrong with it.
    """

    def __init__(self, row: Row, config: CsvConfig) -> None:
        names = [name.strip() for name in row.fields]
        first = {name: place for place, name in reversed(list(enumerate(names)))}
        self.num_columns = len(names)
        self.positions = {name: first[name] for name in config.columns() if name in first}
        self.misfits = [
            Misfit(row.line, column, None, why) for column, why in _wrong(names, config)
        ]


def _wrong(names: list[str], config: CsvConfig) -> Iterator[tuple[str | None, str]]:
    """Yield what is wrong, with the column's name where there is one."""
    if (other := _other_delimiter(names, config.delimiter)) is not None:
        first = config.columns()[0]
        yield (
            first,
            _missing(first, names, config.delimiter)
            + (f"; it looks like task.delimiter={other!r}"),
        )
        return
    lowered = {name.lower() for name in names}
    if not any(name.lower() in lowered for name in config.columns()):
        yield None, _no_header(names, config)
        return
    for name, times in Counter(names).items():
        if times > 1 and name:
            yield name, "it is there twice; rename or remove one"
    there = set(names)
    for name in config.columns():
        if name not in there:
            yield name, _missing(name, names, config.delimiter)
    known = {*config.columns(), *config.drop}
    if "" not in known and "" in there:
        yield None, _unnamed(names)
    if odd := [name for name in dict.fromkeys(names) if name and name not in known]:
        # It might identify a person, so nobody's oversight may make it a feature.
        each = "it" if len(odd) == 1 else "them"
        yield (
            ", ".join(odd),
            f"the configuration does not name {each}; list {each} under task.drop, or under"
            " task.numeric or task.categorical to learn from it",
        )


def _other_delimiter(names: list[str], delimiter: str) -> str | None:
    """Return what seems to separate the fields of a header that was not cut."""
    if len(names) > 1:
        return None
    return next((d for d in _OTHER_DELIMITERS if d in names[0] and d != delimiter), None)


def _no_header(names: list[str], config: CsvConfig) -> str:
    """Say that a first line holds no column's name, as of a file that begins with a record."""
    due = ", ".join(config.columns()[:_SHOWN]) + ", ..." * (len(config.columns()) > _SHOWN)
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
