"""Policies learnt in environments of gymnasium, each node in one with a physics of its own."""
