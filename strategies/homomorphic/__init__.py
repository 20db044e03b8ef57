"""Homomorphic aggregation: updates encrypted under keys of their own, opened by the keys' sum.

A key-additive encryption from ring learning with errors (RLWE). No Flower in the arithmetic:
only ``aggregation`` and ``config`` know the masked sum, ``strategies.masked``.
See ``docs/homomorphic.md``.
"""
