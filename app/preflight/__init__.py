"""Checks and predictions before a run."""
