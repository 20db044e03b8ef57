"""The rules of a node on exact sums hold for a synthetic table, through both apps."""

import pytest

from strategies.rounds.attempt import RunStoppedError
from tests.kits.ruled_nodes import RuledNodes
from workloads.marginals import mixture


@pytest.mark.slow
@pytest.mark.parametrize(("signed", "is_enough"), [(True, True), (False, False)])
def test_pairs_are_counted_in_no_more_cells_than_the_owner_allows(
    tmp_path, monkeypatch, signed, is_enough
):
    """Six groups of a column are 36 cells of a pair; where they may be, honest rounds go on."""
    monkeypatch.setattr(mixture, "_NUM_STEPS", 2)
    changes = {"exact": ["marginals"], "max_bins": 36 if is_enough else 35}
    nodes = RuledNodes(tmp_path, 4, changes, signed=signed)
    free = "algorithm.max_bins=8 algorithm.max_groups=6 algorithm.rows=9"
    if is_enough:
        report = nodes.run(free, algorithm="marginals", num_rounds=2)
        assert report["rounds of pairs"] == 1
        return
    with pytest.raises(RunStoppedError, match="policy_refused"):
        nodes.run(free, algorithm="marginals", num_rounds=2)
