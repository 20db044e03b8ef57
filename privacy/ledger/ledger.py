"""A node's record of what it has revealed, held against its own cap."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path

from privacy.database import DatabaseError, transaction
from privacy.ledger.budget import (
    Budget,
    EpsilonOf,
    LedgerError,
    OverBudgetError,
    check,
    choose_order,
    totals,
)
from privacy.ledger.charge import Charge
from privacy.ledger.rows import (
    SCHEMA,
    append,
    known_epsilon,
    read,
    reading,
    remembered_epsilon,
)
from privacy.ledger.spent import RunSpent, Spent, spent_by_run, spent_in_all
from privacy.plan.release import Neighbours, Release, Schedule
from privacy.unit import Unit

__all__ = ["Budget", "Ledger", "LedgerError", "OverBudgetError", "RunSpent", "Spent"]


class Ledger:
    """The charges of one data set, in the node's own SQLite file.

    Immutable: nothing is lowered, deleted or refunded, whether a contribution arrived or not.
    One ledger is for one data set, one privacy unit and one neighbouring relation; data sets
    whose records overlap share a ledger, under one name. Safe against other threads and
    processes. ``privacy.ledger.budget`` has the rule and its proof, ``privacy.ledger.rows``
    what of a damaged file is noticed, ``privacy.ledger.heads`` how a file that was put back is.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str
        The name of the data, from the node's own policy.
    clock : callable
        Seconds since 1970. They are noted and decide nothing: charges are ordered by their
        number, so that one dated in the future does not block those that follow it.
    """

    def __init__(
        self, path: Path, dataset: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._dataset = dataset
        self._clock = clock

    def charge(
        self,
        run_id: int,
        round: int,
        attempt: int | None,
        releases: Sequence[Release],
        planned: Schedule,
        budget: Budget | None,
    ) -> float | None:
        """Check one contribution, record it and sync; only then may it leave.

        Parameters
        ----------
        run_id : int
            Flower's run id.
        round : int
            The round.
        attempt : int or None
            The protocol's attempt; None to take the next free number.
        releases : sequence of Release
            What the contribution reveals.
        planned : schedule
            What the whole run reveals, as announced.
        budget : Budget or None
            The node's cap; None to write down only.

        Returns
        -------
        float or None
            Epsilon of all charges, as it was held against the cap; None without one.

        Raises
        ------
        OverBudgetError
            If it would go over the cap.
        LedgerError
            If it was charged before, is of another data set or privacy unit, or the file cannot
            be used. Nothing may leave, whatever was written.
        """
        try:
            with transaction(self._path, "") as connection:
                # Before the schema: a table that was lost would be made anew, and empty.
                past = read(connection, self._path)
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                number = _next_attempt(past, run_id, round) if attempt is None else attempt
                order = past[-1].order if past else None
                if order is None and budget is not None:
                    order = choose_order(past[0].planned if past else planned, budget)
                new = Charge(
                    run_id=run_id,
                    round=round,
                    attempt=number,
                    time=float(self._clock()),
                    dataset=self._dataset,
                    releases=tuple((r, 1) for r in releases),
                    planned=tuple(planned),
                    budget=budget,
                    order=order,
                )
                self._require_consistent(past, new)
                found = _require_within(past, new, partial(remembered_epsilon, connection))
                append(connection, past, new)
        except DatabaseError as error:
            raise LedgerError(str(error)) from None
        except ValueError as error:
            # From the accountant: what it cannot bound.
            raise LedgerError(f"the release cannot be accounted for: {error}") from None
        return found

    def spent(self, delta: float) -> Spent:
        """Return the total of all charges at a delta. The file is only read.

        Raises
        ------
        LedgerError
            If the file is not there, damaged, or of another data set.
        """
        return spent_in_all(self._charges(), delta)

    def runs(self, delta: float) -> list[RunSpent]:
        """Return the total of each run by itself, oldest first. The file is only read.

        Raises
        ------
        LedgerError
            If the file is not there, damaged, or of another data set.
        """
        return spent_by_run(self._charges(), delta)

    def held(self, budget: Budget) -> float:
        """Return epsilon of all charges, as they are held against a cap; the file is only read.

        Infinite if they do not stay under it.

        Raises
        ------
        LedgerError
            If the file is damaged, or of another data set.
        """
        if not self._path.exists():
            return 0.0
        with reading(self._path) as connection:
            charges = read(connection, self._path)
            self._require_dataset(charges)
            if not charges:
                return 0.0
            *past, last = charges
            order = last.order or choose_order(charges[0].planned, budget)
            held = replace(last, budget=budget, order=order)
            try:
                found = _require_within(past, held, partial(known_epsilon, connection))
            except OverBudgetError:
                return inf
        return inf if found is None else found

    def relation(self) -> tuple[Unit, Neighbours] | None:
        """Return unit and neighbours of the charges so far, which all have the same; or None.

        Raises
        ------
        LedgerError
            If the file is damaged, or of another data set.
        """
        charges = self._charges() if self._path.exists() else []
        if not charges:
            return None
        first = charges[0].releases[0][0]
        return first.unit, first.neighbours

    def _charges(self) -> list[Charge]:
        with reading(self._path) as connection:
            charges = read(connection, self._path)
        self._require_dataset(charges)
        return charges

    def _require_dataset(self, charges: Sequence[Charge]) -> None:
        other = {charge.dataset for charge in charges} - {self._dataset}
        if other:
            raise LedgerError(
                f"{self._path}: holds charges of dataset={min(other)!r}, not of"
                f" {self._dataset!r}; mend dataset in the policy, or give this one its own"
                " state-path"
            )

    def _require_consistent(self, past: Sequence[Charge], new: Charge) -> None:
        """Refuse a charge that does not fit the charges before it."""
        self._require_dataset(past)
        if new.key in {charge.key for charge in past}:
            raise LedgerError(
                f"{new.name}: charged before; nothing leaves twice for one charge"
            )
        if not past:
            return
        kept, asked = past[0].releases[0][0], new.releases[0][0]
        if (kept.unit, kept.neighbours) != (asked.unit, asked.neighbours):
            raise LedgerError(
                f"{self._path}: holds charges for the unit {kept.unit} ({kept.neighbours}), but"
                f" this run's is {asked.unit} ({asked.neighbours}); what they come to together"
                " is not defined, so take the ledger's unit"
            )


def _next_attempt(past: Sequence[Charge], run_id: int, number: int) -> int:
    made = [c.attempt for c in past if (c.run_id, c.round) == (run_id, number)]
    return max(made, default=-1) + 1


def _require_within(past: Sequence[Charge], new: Charge, epsilon_of: EpsilonOf) -> float | None:
    """Refuse a charge over the cap; return what was held against it."""
    if new.budget is None or new.order is None:
        return None
    return check(
        past=[charge.releases for charge in past],
        new=new.releases,
        plans=[totals([charge.planned]) for charge in (*past, new)],
        budget=new.budget,
        order=new.order,
        epsilon_of=epsilon_of,
    )
