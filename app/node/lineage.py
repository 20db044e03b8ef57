"""The runs that a model came from, and what they have spent together.

A run may begin with the model of another one (``initial-model``), and that with the model of a
third. Then the guarantee of the last run alone says nothing of what the runs before it have
released: basic composition (Dwork and Roth 2014, theorem 3.16) adds their epsilons and deltas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Self, cast

#: No honest model came from more runs, each of which took up the one before.
MOST_RUNS = 1000
_MOST_ROUNDS = 10**9


class LineageError(ValueError):
    """Values that are no lineage. The message names the field."""


def hex_of(name: str, value: object) -> str:
    """Return a SHA-256 in 64 hexadecimal digits.

    Raises
    ------
    LineageError
        If it is none.
    """
    if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise LineageError(f"{name}={str(value)[:80]!r} is no SHA-256 in hexadecimal digits")
    return value


def line_of(name: str, value: object, most: int = 200) -> str:
    """Return a short line of text that a terminal shows as it is.

    Raises
    ------
    LineageError
        If it is none.
    """
    if not (isinstance(value, str) and len(value) <= most and value.isprintable()):
        raise LineageError(f"{name}={str(value)[:80]!r} is no line of {most} letters at most")
    return value


def number_of(name: str, value: object) -> float:
    """Return a finite number.

    Raises
    ------
    LineageError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise LineageError(f"{name}={str(value)[:80]!r} is no finite number")
    return float(value)


def whole_of(name: str, value: object, most: int = _MOST_ROUNDS) -> int:
    """Return a whole number that is not negative.

    Raises
    ------
    LineageError
        If it is none, or above ``most``.
    """
    if type(value) is not int or not 0 <= value <= most:
        raise LineageError(f"{name}={str(value)[:80]!r} is no whole number up to {most}")
    return value


def fields_of(name: str, value: object, wanted: Sequence[str]) -> Mapping[str, Any]:
    """Return a JSON object that has these keys and no others.

    Raises
    ------
    LineageError
        Naming a key that is missing or too much.
    """
    if not isinstance(value, dict):
        raise LineageError(f"{name} is no JSON object")
    given = cast(dict[str, Any], value)
    if differing := sorted(given.keys() ^ set(wanted)):
        what = "is missing" if differing[0] in wanted else "is none of its keys"
        raise LineageError(f"{name}: {str(differing[0])[:80]!r} {what}")
    return given


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """What a run, or several together, have spent of one unit's privacy.

    Attributes
    ----------
    unit, neighbours : str
        As of ``privacy.accounting.run_spent.RunCost``.
    epsilon, epsilon_model_only, delta : float
        Likewise.
    """

    unit: str
    neighbours: str
    epsilon: float
    epsilon_model_only: float
    delta: float

    @classmethod
    def of(cls, value: object) -> Self:
        """Return what ``to_dict`` gave.

        Raises
        ------
        LineageError
            Naming the field.
        """
        numbers = ("epsilon", "epsilon_model_only", "delta")
        given = fields_of("privacy", value, ("unit", "neighbours", *numbers))
        found = {name: number_of(name, given[name]) for name in numbers}
        if least := [name for name, number in found.items() if number < 0]:
            raise LineageError(f"{least[0]}={found[least[0]]:g} is negative")
        unit, neighbours = (line_of(name, given[name]) for name in ("unit", "neighbours"))
        return cls(unit=unit, neighbours=neighbours, **found)

    @classmethod
    def of_summary(cls, spent: Mapping[str, Any]) -> Self | None:
        """Return that of ``privacy`` in a run's summary; None without privacy.

        Raises
        ------
        LineageError
            If a private run's epsilon cannot be read.
        """
        if not spent:
            return None
        names = ("unit", "neighbours", "epsilon", "epsilon_model_only", "delta")
        return cls.of({name: spent.get(name) for name in names})


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """One of the runs that a model came from.

    Attributes
    ----------
    run_id : str
        Flower's id of the run.
    model : str
        SHA-256 of the model file that was taken from it.
    head : str
        The head of its log, ``SIZE:ROOT``.
    num_rounds : int
        Rounds that its model is of.
    privacy : Guarantee or None
        What it has spent by itself; None for a run without privacy.
    entry : str
        ``NAME:VERSION`` of the registry's entry that the model was taken from; empty for none.
    """

    run_id: str
    model: str
    head: str
    num_rounds: int
    privacy: Guarantee | None
    entry: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, value: object) -> Self:
        """Return what ``to_dict`` gave, trusting nothing.

        Raises
        ------
        LineageError
            Naming the field.
        """
        names = ("run_id", "model", "head", "num_rounds", "privacy", "entry")
        given = fields_of("a run", value, names)
        head = line_of("head", given["head"])
        size, _, root = head.partition(":")
        if not re.fullmatch("[0-9]{1,9}", size):
            raise LineageError(f"head={head!r} is no SIZE:ROOT")
        hex_of("head", root)
        spent = given["privacy"]
        return cls(
            run_id=line_of("run_id", given["run_id"], most=40),
            model=hex_of("model", given["model"]),
            head=head,
            num_rounds=whole_of("num_rounds", given["num_rounds"]),
            privacy=None if spent is None else Guarantee.of(spent),
            entry=line_of("entry", given["entry"], most=100),
        )


def runs_of(value: object) -> tuple[PastRun, ...]:
    """Return the runs of a JSON list, the nearest first.

    Raises
    ------
    LineageError
        If it is none, or of no run, or of too many.
    """
    if not (isinstance(value, list) and value and len(value) <= MOST_RUNS):
        raise LineageError(f"runs is no list of one to {MOST_RUNS} runs")
    return tuple(PastRun.of(one) for one in cast(list[object], value))


def objection(spent: Sequence[Guarantee | None]) -> str:
    """Return why the guarantees of runs have no sum; empty if they have one."""
    without = sum(one is None for one in spent)
    if without:
        return (
            f"{without} of {len(spent)} runs had no differential privacy, and no epsilon covers"
            " the records that the model was trained on there"
        )
    kinds = {(one.unit, one.neighbours) for one in spent if one is not None}
    if len(kinds) > 1:
        told = ", ".join(sorted(f"{unit} ({neighbours})" for unit, neighbours in kinds))
        return f"the runs protect different units ({told}), and epsilons of these do not add"
    return ""


def total_of(spent: Sequence[Guarantee | None]) -> Guarantee | None:
    """Return what runs have spent together on a record that was in all of them.

    By basic composition, which needs nothing of the runs but their own guarantees, and holds
    where one was chosen by what another gave. None where `objection` has one.
    """
    known = [one for one in spent if one is not None]
    if not known or objection(spent):
        return None
    return Guarantee(
        unit=known[0].unit,
        neighbours=known[0].neighbours,
        epsilon=sum(one.epsilon for one in known),
        epsilon_model_only=sum(one.epsilon_model_only for one in known),
        # A delta of 1 promises nothing, and no more than that.
        delta=min(1.0, sum(one.delta for one in known)),
    )
