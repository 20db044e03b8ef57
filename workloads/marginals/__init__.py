"""A synthetic table from masked, noised marginals."""
