"""Whose presence a privacy option hides, and where its noise is added."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from privacy.unit import Unit


class Place(StrEnum):
    """Where the noise is added."""

    LOCAL = "local"
    DISTRIBUTED = "distributed"
    CENTRAL = "central"


class Mode(NamedTuple):
    """A unit and a place of noise; others ask it and do not branch on either.

    Attributes
    ----------
    unit : Unit
        Whose presence is hidden.
    place : Place
        Where the noise is added.
    """

    unit: Unit
    place: Place

    @property
    def hides_records(self) -> bool:
        """Whether one record's presence is hidden: nobody may foretell which are drawn."""
        return self.unit is Unit.EXAMPLE

    @property
    def hides_clients(self) -> bool:
        """Whether one client's presence is hidden: who answered is a secret too."""
        return self.unit is Unit.CLIENT

    @property
    def is_distributed(self) -> bool:
        """Whether the noise is made of the nodes' shares, each alone too little."""
        return self.place is Place.DISTRIBUTED

    @property
    def is_central(self) -> bool:
        """Whether the server adds the noise."""
        return self.place is Place.CENTRAL

    @property
    def trains_privately(self) -> bool:
        """Whether each node runs DP-SGD by itself: its update is private before any sum."""
        return self == Mode(Unit.EXAMPLE, Place.LOCAL)

    @property
    def sums_gradients(self) -> bool:
        """Whether a round is one step of DP-SGD over all nodes' records."""
        return self.hides_records and not self.trains_privately
