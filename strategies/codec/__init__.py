"""Contributions as integers, and a sum of them as an aggregate."""
