"""Tests, in folders that mirror the packages; ``kits`` is what they share."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
