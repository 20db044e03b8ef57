"""The documents say what the message types say, and a run sends nothing else."""

import inspect
from dataclasses import dataclass, make_dataclass
from typing import Annotated

import pytest
from flwr.app import Metadata

import app.node.settings
from app.config.load import load_config
from app.server import run
from app.simulation.in_process import InProcessGrid, make_clients
from docs.leakage_words import APP_REFUSALS, METADATA, READERS, RECORDS, REFUSALS
from docs.make_leakage import (
    BLOCKS,
    PROTOCOL,
    SECRETS,
    UndeclaredFieldError,
    fields_of,
    fill,
    pages,
)
from strategies.refusals import Reason
from strategies.rounds.transport import PollingGrid
from strategies.secagg import messages
from strategies.secagg.client import store
from strategies.secagg.fields import HASH, U8
from strategies.secagg.messages import MESSAGES
from strategies.secagg.reasons import RefusalReason
from strategies.secagg.wire import Field, Signed, Wire


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_the_committed_page_is_what_the_script_writes(path):
    assert path.read_text() == pages()[path], "run `python -m docs.make_leakage`"


def test_every_table_has_its_place_in_the_page():
    page = PROTOCOL.read_text()
    for name in BLOCKS:
        assert page.count(f"<!-- generated: {name} -->\n") == 1
    assert page.count("<!-- generated: ") == page.count("<!-- end -->") == len(BLOCKS)


def test_a_table_that_was_changed_by_hand_is_written_anew():
    page = PROTOCOL.read_text()
    assert fill(page.replace("| ADVERTISED | REPEATED", "| ADVERTISED | SHARED")) == page


def wires(module: object) -> set[type[Wire]]:
    found = {cls for _, cls in inspect.getmembers(module, inspect.isclass)}
    return {cls for cls in found if issubclass(cls, Wire) and cls not in (Wire, Signed)}


def test_every_message_type_is_on_the_page():
    assert wires(messages) == set(MESSAGES) == set(READERS)
    assert wires(store) == set(SECRETS)


@pytest.mark.parametrize("cls", [*MESSAGES, *SECRETS])
def test_every_field_is_declared(cls):
    assert fields_of(cls)


@pytest.mark.parametrize(
    "declared",
    [
        bytes,
        Annotated[bytes, "a note"],
        Annotated[bytes, Field(HASH, " ")],
        Annotated[bytes, Field(HASH, "why"), Field(U8, "another")],
    ],
)
def test_an_undeclared_field_is_an_error_that_names_it(declared):
    leaky = make_dataclass(
        "Leaky", [("fine", Annotated[bytes, Field(HASH, "why")]), ("norm", declared)]
    )
    with pytest.raises(UndeclaredFieldError, match=r"Leaky\.norm: declare it"):
        fields_of(leaky)


def test_a_field_added_to_a_real_message_changes_the_page():
    @dataclass(frozen=True)
    class More(messages.AdvertRequest):
        num_examples: int

    with pytest.raises(UndeclaredFieldError, match=r"More\.num_examples"):
        fields_of(More)


def test_every_reason_is_explained():
    assert set(REFUSALS) == set(RefusalReason)
    assert set(APP_REFUSALS) == set(Reason)


def test_every_field_of_flowers_metadata_is_on_the_page():
    fields = inspect.getmembers(Metadata, lambda value: isinstance(value, property))
    assert {name for name, _ in fields} == set(METADATA)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "fedadam"])
def test_a_run_sends_the_records_on_the_page_and_nothing_else(algorithm, tmp_path):
    run_config = {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "algorithm": algorithm,
        "num-rounds": 2,
        "output-dir": str(tmp_path / "run"),
        "overrides": "rounds.deadline_seconds=0.3 task.training.num_steps=2",
    }
    app.node.settings.simulate_in_this_process()
    replies = []

    def noting(message, real):
        replies.append(real(message))
        return replies[-1]

    clients = {
        node: lambda message, real=real: noting(message, real)
        for node, real in make_clients(run_config, 4).items()
    }
    grid = InProcessGrid(clients)
    run(PollingGrid(grid), load_config(run_config), run_id=1, simulated=True)
    listed = {(record.strip("`"), key.strip("`")) for record, key, _, _ in RECORDS}
    sent = {
        (name, "the model's own names" if name == "arrays" else key)
        for message in grid.sent
        for name, record in message.content.items()
        for key in record
    }
    told = {
        (name, key) for r in replies for name, record in r.content.items() for key in record
    }
    assert told == {("secagg", "bytes")}
    assert sent <= listed
    assert {("secagg", "bytes"), ("config", "server-round")} <= sent
