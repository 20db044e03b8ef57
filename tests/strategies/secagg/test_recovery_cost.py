"""What Lagrange coefficients cost the server on a sparse graph."""

import random

import pytest

from strategies.secagg.crypto import shamir
from strategies.secagg.graph import ProtocolParameters, neighborhoods
from strategies.secagg.server import recovery


@pytest.mark.parametrize(("n", "share_gone"), [(500, 0.3), (500, 0.1), (1000, 0.1)])
def test_coefficients_cost_no_more_than_each_set_by_itself(monkeypatch, n, share_gone):
    """Points of one set times points of the other, in all; see ``_differences``."""
    parameters = ProtocolParameters(
        min_survivors=None,
        max_colluding=0,
        is_sparse=True,
        max_dropout_fraction=max(share_gone, 0.1),
    )
    shape = parameters.shape(n)
    assert not shape.is_complete
    ids = list(range(1, n + 1))
    gone = set(random.Random(1).sample(ids, int(share_gone * n)))
    near = neighborhoods(shape, bytes(32), ids)
    columns = {node: sorted(near[node - 1] - gone) for node in ids if node not in gone}
    parted = recovery.blocks(columns, shape.threshold)
    spent, honest = [0], shamir._differences

    def counted(points, others):
        spent[0] += len(points) * len(others)
        return honest(points, others)

    monkeypatch.setattr(shamir, "_differences", counted)
    recovery._lagrange.cache_clear()
    answered = tuple(sorted(set[int]().union(*(points for points, _ in parted))))
    for points, _ in parted:
        recovery._lagrange(points, answered)
    assert spent[0] <= len(parted) * shape.threshold**2
