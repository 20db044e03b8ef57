"""The worst case that a node's policy allows, by the number of colluding participants."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from app.node.policy import NONE, Policy


def worst_case(policy: Policy) -> list[str]:
    """Return what a server can learn at worst with c' colluding participants."""
    budget = policy.budget
    lines = ["What a malicious server can learn, whatever it asks within this policy:"]
    for option in policy.privacy:
        if option == NONE:
            lines.append(f"{option}: unbounded, also against those who see the model only")
        elif option.endswith("_central"):
            lines.append(f"{option}: the server is trusted: unbounded against it")
        elif budget is not None and option.endswith("_local"):
            lines.append(f"{option}: epsilon {budget.epsilon:g}, with any number of colluders")
        elif budget is not None:
            lines.append(
                f"{option}, by colluders (from the second row on a Gaussian approximation):"
            )
            lines += [f"  {who:>8}  epsilon {eps:.4g}" for who, eps in _by_colluders(policy)]
    return lines


def _by_colluders(policy: Policy) -> Iterator[tuple[str, float]]:
    """Yield epsilon for each number of colluders under T.

    The cap is against c colluders. Each one more knows its share of the noise, so less of it
    hides the others. No run with a larger T or c than the floors is worse.
    """
    from privacy.accounting.epsilon import gdp_epsilon, gdp_mu

    budget = policy.budget
    if budget is None:
        return
    t, c = policy.min_survivors, policy.min_colluding
    mu = gdp_mu(budget.epsilon, budget.delta)
    yield (f"0 to {c}" if c else "0"), budget.epsilon
    for colluding in range(c + 1, t):
        worse = mu * sqrt((t - c) / (t - colluding))
        yield str(colluding), gdp_epsilon(worse, budget.delta)
