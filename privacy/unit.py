"""The privacy unit: whose presence differential privacy hides."""

from enum import StrEnum


class Unit(StrEnum):
    """Whose presence is hidden."""

    EXAMPLE = "example"
    CLIENT = "client"
