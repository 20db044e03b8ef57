"""One node as in a deployment, for private runs in one process."""

import sqlite3
from contextlib import closing
from pathlib import Path

from flwr.app import Context, Message, RecordDict

import app.client
from tests.kits.private_kit import policy, write_policy


class RealNode:
    """A node as in a deployment: its state is in SQLite, and it has a policy.

    Every answer is made from its files alone, as each message is a process of its own there.
    """

    def __init__(self, folder: Path, monkeypatch, run_config, part=3, of=4, **config) -> None:
        self._patch, self.folder = monkeypatch, folder / "real"
        self.folder.mkdir(exist_ok=True)
        self.state = self.folder / "state.sqlite"
        self._context = {
            "run_id": 1,
            "node_id": 1000 + part,
            "run_config": dict(run_config),
            "node_config": {"partition-id": part, "num-partitions": of} | config,
        }

    def answer(self, message: Message) -> Message:
        with self._patch.context() as patched:
            patched.setattr(app.client, "in_simulation", lambda: False)
            context = Context(state=RecordDict(), **self._context)
            return app.client.app(message, context)

    def charges(self) -> list[tuple[int, int]]:
        """Return (round, attempt) of all charges, in order."""
        if not self.state.exists():
            return []
        with closing(sqlite3.connect(self.state)) as database:
            names = database.execute("SELECT name FROM sqlite_master").fetchall()
            if ("ledger_charges",) not in names:
                return []
            query = "SELECT round, attempt FROM ledger_charges ORDER BY sequence"
            return database.execute(query).fetchall()


def real_node(tmp_path, monkeypatch, run_config, option, **changes) -> RealNode:
    node = RealNode(tmp_path, monkeypatch, run_config)
    file = write_policy(node.folder / "policy.yaml", policy(option, **changes))
    config = {"state-path": str(node.state), "policy-file": str(file)}
    node._context["node_config"] |= config
    return node
