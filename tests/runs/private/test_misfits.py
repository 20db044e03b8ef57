"""Records that do not fit: said in the node's own log before it pays, and to nobody else."""

import logging
from pathlib import Path

import pytest
import yaml

import app.round.contribute
from app.simulation.in_process import simulate
from deploy.records import write_records
from tests.kits.private_options import OVERRIDES


def run_config_of(folder: Path, files: list[str]) -> dict:
    (folder / "nodes.yaml").write_text(yaml.safe_dump([{"data-path": f} for f in files]))
    return {
        "task": "csv_breast_cancer",
        "privacy": "example_local",
        "aggregation": "plain",
        "num-rounds": 1,
        "overrides": f"{OVERRIDES['example_local']} task.training.num_steps=1",
        "output-dir": str(folder / "run"),
        "simulation-nodes": str(folder / "nodes.yaml"),
    }


@pytest.fixture
def events(monkeypatch) -> list[str]:
    """Collect the nodes' warnings and charges, in order."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())
    logger = logging.getLogger("flwr.tacet")
    logger.addHandler(handler)
    charge = app.round.contribute.charge

    def noted(*given):
        found.append("charged")
        charge(*given)

    monkeypatch.setattr(app.round.contribute, "charge", noted)
    yield found
    logger.removeHandler(handler)


@pytest.mark.slow
def test_a_node_whose_rows_all_misfit_warns_before_it_pays(tmp_path, events):
    for node in range(4):
        write_records(tmp_path / f"{node}.csv", node, 4)
    bad = tmp_path / "3.csv"
    header, *rows = bad.read_text().splitlines()
    # Decimal commas, as many countries write them.
    quoted = [",".join(f'"{v.replace(".", ",")}"' for v in row.split(",")) for row in rows]
    bad.write_text("\n".join([header, *quoted]) + "\n")
    outcome = simulate(run_config_of(tmp_path, [f"{node}.csv" for node in range(4)]), 4)
    assert outcome.num_rounds == 1
    assert events.count("charged") == 4
    (place,) = (i for i, event in enumerate(events) if str(bad) in event)
    assert events[place].startswith(f"{bad}: no row can be used, and this node contributes")
    assert f"{len(rows)} of {len(rows)} rows do not fit" in events[place]
    assert "the first: line 2, column radius: '" in events[place]
    # The nodes answer one after another, and this one is the last.
    assert events[:place].count("charged") == 3
    assert "charged" in events[place:]


@pytest.mark.slow
def test_one_broken_record_takes_no_other_with_it(tmp_path, events):
    for node in range(4):
        write_records(tmp_path / f"{node}.csv", node, 4)
    bad = tmp_path / "0.csv"
    rows = bad.read_text().splitlines()
    bad.write_text("\n".join([*rows[:5], '"' + rows[5], *rows[6:]]) + "\n")
    simulate(run_config_of(tmp_path, [f"{node}.csv" for node in range(4)]), 4)
    (told,) = (event for event in events if event.startswith(str(bad)))
    assert told.startswith(f"{bad}: 1 of {len(rows) - 1} rows do not fit and are left out")
    assert "the first: line 6: unexpected end of data; mend its quotes" in told
