"""Secure aggregation as pure roles: the server hears only the sum.

Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS
2017, with fresh keys for every attempt, on a complete graph or on that of Bell et al., CCS
2020. No Flower in it: messages go in and out as bytes, randomness and time are arguments.
"""
