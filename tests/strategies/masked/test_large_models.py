"""A model that is large for what a server keeps: the same sum, and memory for one input."""

import numpy as np

from app.simulation.in_process import simulate
from strategies.rounds import transport
from strategies.secagg.server import masked_sum
from strategies.secagg.server.masked_sum import MaskedSum
from tests.kits.secure_kit import assert_same, secure_run, through_codec


def test_inputs_that_come_one_by_one_and_lie_on_the_disk_give_the_same_model(
    tmp_path, monkeypatch
):
    """A network of 96,001 numbers over five nodes, each reply fetched alone and spooled."""
    monkeypatch.setattr(masked_sum, "MEMORY_BYTES", 1)
    monkeypatch.setattr(transport, "_FETCHED_BYTES", 1)
    rolled: list[bool] = []
    opened = MaskedSum.opened

    def noted(total: MaskedSum):
        rolled.append(total._kept._file is not None)
        return opened(total)

    monkeypatch.setattr(MaskedSum, "opened", noted)
    run_config = secure_run(tmp_path) | {"num-rounds": 2}
    run_config["overrides"] += " task.model=mlp task.hidden=3000"
    secure = simulate(run_config, 5)
    clear = simulate(through_codec(run_config), 5)
    assert sum(array.numpy().size for array in secure.arrays.values()) > 90_000
    assert_same(secure.arrays, clear.arrays)
    assert secure.metrics == clear.metrics
    # Both rounds and the last evaluation.
    assert rolled == [True, True, True]
    assert any(np.abs(array.numpy()).max() > 0 for array in secure.arrays.values())
