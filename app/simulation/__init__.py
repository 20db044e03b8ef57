"""Runs on this machine alone: through `flwr run`, or in one process."""
