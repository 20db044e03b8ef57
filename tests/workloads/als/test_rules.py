"""The rules of a node on exact sums hold for a recommender, through both apps."""

import numpy as np
import pytest

from app.simulation.in_process import simulate
from strategies.rounds.attempt import RunStoppedError
from tests.kits import raters as kit
from tests.kits.ruled_nodes import RuledNodes

SIZES = [55, 60, 65, 70]


def nodes_of(tmp_path, own_conf, sizes=SIZES, *, signed=False, **changes):
    """Return nodes whose owners have a policy, and all users' ratings."""
    (own_conf / "task" / "films.yaml").write_text(kit.YAML + "test_fraction: 0\n")
    found = kit.ratings(sum(sizes))
    # Of the last items a node has few ratings, or none.
    found[::9, -2:] = 3.0
    found[np.arange(len(found)) % 9 > 0, -2:] = np.nan
    kit.files(tmp_path, found, sizes)
    policy = {"dataset": "films", "exact": ["als"]} | changes
    nodes = RuledNodes(tmp_path, len(sizes), policy, signed=signed)
    for number, entry in enumerate(nodes.entries):
        entry["data-path"] = str(tmp_path / f"{number}.csv")
    return nodes, found


def run(nodes, **keys):
    free = "rounds.deadline_seconds=30 algorithm.rank=2"
    config = nodes.config(free, task="films", algorithm="als", num_rounds=3, **keys)
    # What a kit's own run has takes the place of what this one needs.
    config["overrides"] = config["overrides"].replace("rounds.deadline_seconds=2 ", "")
    return simulate(config, nodes.number).state


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_honest_rounds_go_through_and_nothing_is_said_of_what_few_have_rated(
    tmp_path, own_conf, signed
):
    nodes, _ = nodes_of(tmp_path, own_conf, signed=signed)
    state = run(nodes)
    assert not state.arrays["bias"][-2:].any()
    assert not state.arrays["factors"][-2:].any()
    assert (state.arrays["bias"][:-2] != 0).all()


@pytest.mark.slow
def test_a_node_may_say_what_its_owner_lets_it(tmp_path, own_conf):
    nodes, _ = nodes_of(tmp_path, own_conf, min_effective_records=1)
    assert (run(nodes).arrays["bias"] != 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "changes"), [(SIZES, {"exact": ["glm"]}), ([55, 60, 65, 49], {})]
)
def test_nodes_refuse_what_their_owners_have_not_allowed(tmp_path, own_conf, sizes, changes):
    nodes, _ = nodes_of(tmp_path, own_conf, sizes, min_survivors=4, **changes)
    with pytest.raises(RunStoppedError):
        run(nodes)
