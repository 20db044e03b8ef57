"""Survival analysis of times to an event: curves, their test, and Cox regression."""
