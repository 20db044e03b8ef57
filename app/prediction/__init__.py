"""Predictions for new rows by the model of a run, and how good they are."""
