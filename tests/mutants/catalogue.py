"""All mutations; each file of the list says what its part is about."""

from tests.mutants import (
    approval,
    audit,
    boosting,
    checks,
    crypto,
    histograms,
    history,
    hybrid,
    ledger,
    memory,
    models,
    node,
    nodeside,
    noise,
    proof,
    records,
    report,
    role,
    rounds,
    scores,
    server,
    statistics,
    survival,
    tracking,
    trees,
)
from tests.mutants.mutation import Mutation

_PARTS = (
    checks,
    role,
    crypto,
    hybrid,
    server,
    rounds,
    approval,
    node,
    nodeside,
    ledger,
    memory,
    noise,
    records,
    audit,
    histograms,
    scores,
    history,
    survival,
    statistics,
    trees,
    boosting,
    report,
    proof,
    tracking,
    models,
)
MUTATIONS: tuple[Mutation, ...] = tuple(m for part in _PARTS for m in part.MUTATIONS)

if len({mutation.name for mutation in MUTATIONS}) != len(MUTATIONS):
    raise ValueError("two mutations of one name")
