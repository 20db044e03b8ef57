"""A deployment in one process, and a server that tells each node another story.

Every node answers through the real ClientApp, from its own SQLite file, under its own policy,
with its own identity key. The server keeps what it hears in a spy, which says whose inputs it
could open.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.supercore.task_identity import TaskIdentity

from app.builders.run import build_coding, config_hash
from app.builders.workload import build_workload
from app.config.load import load_config
from app.node.identity import load_identity, new_key, peers_of, write_peers
from app.node.protocol_store import SqliteStore
from app.server import _initial_state
from strategies.codec.codec import mask_binding
from strategies.masked.messages import ADVERT, CONFIRM, SHARE, UNMASK, unwrap, wrap
from strategies.rounds.records import to_arrays
from strategies.secagg.client.memory import NoMemory
from strategies.secagg.client.opening import open_shares
from strategies.secagg.client.sharing import OwnNode
from strategies.secagg.client.store import SharedSecrets
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import (
    FIELD_BYTES,
    NO_LOG_HEAD,
    Advert,
    ConfirmReply,
    ConfirmRequest,
    MaskedInput,
    Roster,
    ShareRow,
    SharesUpload,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from strategies.secagg.server.role import ServerRole
from strategies.secagg.wire import Wire
from tests.kits.private_kit import write_policy
from tests.kits.real_node import RealNode
from tests.strategies.secagg.spy import Spy
from workloads.model_arrays import hash_state


class RefusedError(Exception):
    """A node's refusal; the message is its reason."""


@dataclass(frozen=True)
class Numbers:
    """n, T, t and c of a run, further overrides, and the aggregation."""

    num_nodes: int
    min_survivors: int
    threshold: int
    max_colluding: int = 1
    more: str = ""
    aggregation: str = "secagg"


@dataclass(frozen=True)
class Told:
    """What one node was told: whom it masks with, under which binding."""

    held: frozenset[int]
    binding: bytes


class Federation:
    """Real nodes, and what a malicious server knows of their run."""

    def __init__(self, folder: Path, monkeypatch, numbers: Numbers, **policy) -> None:
        # Flower makes no message outside of a task.
        for name, value in (("_run_id", 1), ("_task_id", 1), ("_node_id", SUPERLINK_NODE_ID)):
            monkeypatch.setattr(TaskIdentity, name, value)
        self.ids = tuple(1000 + i for i in range(numbers.num_nodes))
        named = {f"n{i}": new_key(folder / f"{i}.key") for i in range(numbers.num_nodes)}
        peers = folder / "peers.yaml"
        write_peers(peers, named)
        run_config = {
            "task": "breast_cancer",
            "aggregation": numbers.aggregation,
            "overrides": (
                "task.training.num_steps=1 task.partition.min_examples=1"
                f" aggregation.identities=true aggregation.peers_file={peers}"
                f" aggregation.min_survivors={numbers.min_survivors}"
                f" aggregation.threshold={numbers.threshold}"
                f" aggregation.max_colluding={numbers.max_colluding} {numbers.more}"
            ),
        }
        owner = {
            "dataset": "records",
            "privacy": ["none"],
            "min_survivors": numbers.min_survivors,
            "min_colluding": numbers.max_colluding,
        }
        self.nodes: dict[int, RealNode] = {}
        self.keys = {n: (folder / f"{i}.key", peers) for i, n in enumerate(self.ids)}
        for i, node in enumerate(self.ids):
            home = folder / str(i)
            home.mkdir()
            file = write_policy(home / "policy.yaml", owner | policy)
            files = {
                "policy-file": str(file),
                "state-path": str(home / "real/state.sqlite"),
                "identity-key": str(folder / f"{i}.key"),
                "peers-file": str(peers),
            }
            self.nodes[node] = RealNode(
                home, monkeypatch, run_config, i, numbers.num_nodes, **files
            )
        config = load_config(run_config)
        workload = build_workload(config)
        self.state = _initial_state(config, workload)
        self.codec = build_coding(config, workload, workload.length(self.state)).codec
        self.aggregation = config.aggregation
        self.parameters = config.aggregation.parameters(None)
        self.peers = peers_of(peers)
        self._config_hash = config_hash(config)

    def send(self, node: int, kind: str, content: RecordDict) -> bytes:
        """Send one message; return the protocol's bytes, or raise `RefusedError`."""
        reply = self.nodes[node].answer(Message(content, dst_node_id=node, message_type=kind))
        if reply.has_error():
            raise RefusedError(reply.error.reason)
        return bytes(unwrap(reply.content))

    def ask(self, node: int, kind: str, wire: Wire) -> bytes:
        return self.send(node, kind, wrap(wire))


class Attempt:
    """One attempt at a malicious server."""

    def __init__(self, federation: Federation, number: int = 1, members=None) -> None:
        self.world = federation
        self.key = AttemptId(1, number, 0)
        self.members = tuple(members or federation.ids)
        role = ServerRole(self.key, federation.parameters, peers=federation.peers)
        for node in self.members:
            role.add_advert(node, federation.ask(node, ADVERT, role.advert_request()))
        self.roster: Roster = role.close_adverts()
        self._role = role
        shape = federation.parameters.shape(len(self.members))
        self.near = role._members.near
        self.adverts = {a.node_id: a for a in map(Advert.decode, self.roster.adverts)}
        self.rows: dict[int, dict[int, bytes]] = {}
        for node in self.members:
            upload = SharesUpload.decode(federation.ask(node, SHARE, role.share_request(node)))
            self.rows[node] = dict(upload.rows)
        self.spy = Spy(
            self.members,
            shape.threshold,
            parts=lambda lower, higher: ShareRow.decode(self.rows[lower][higher]).pair_part,
            roster=role._members.roster,
        )
        self.cohorts: dict[int, tuple[int, ...]] = {}
        self.views: dict[tuple[int, ...], dict[int, bytes]] = {}

    def train(
        self, node: int, cohort: Iterable[int], delivered: Collection[int] | None = None
    ) -> MaskedInput:
        """Tell a node of U2, deliver the rows of some of it, and keep its masked input."""
        u2 = tuple(sorted(cohort))
        peers = [p for p in u2 if p != node and p in self.near[node]]
        senders = [p for p in peers if delivered is None or p in delivered]
        rows = tuple((p, self.rows[p][node]) for p in senders)
        binding = self.binding(u2)
        request = TrainRequest(self.key, u2, rows, binding, NO_LOG_HEAD, None)
        content = RecordDict(
            {
                "arrays": self.arrays(),
                "config": ConfigRecord({"server-round": self.key.round}),
                **wrap(request),
            }
        )
        message = MaskedInput.decode(self.world.send(node, "train", content))
        self.cohorts[node] = u2
        self.spy.saw_input(node, Told(frozenset([*senders, node]), binding), message)
        return message

    def arrays(self) -> ArrayRecord:
        """Return the model that is trained on."""
        return to_arrays(self.world.state.arrays)

    def binding(self, u2: tuple[int, ...]) -> bytes:
        """Return the hash that a node which is told this U2 works out."""
        parameters, codec = self.world.parameters, self.world.codec
        asked = hash_state(self.world.state, {})
        numbers = (
            self.roster.threshold,
            parameters.survivors(len(self.members)),
            parameters.max_colluding,
        )
        bound = mask_binding(codec, asked, self.world._config_hash)
        return bound.hash(self._role._members.roster, u2, numbers, NO_LOG_HEAD)

    def proofs(self, binding: bytes) -> tuple[tuple[int, bytes], ...]:
        """Return every masked input under a binding that rejects nobody as a proof."""
        return tuple(
            (node, message.payload_hash() + message.signature)
            for node, message in sorted(self.spy.inputs.items())
            if self.spy.opened[node].binding == binding and not message.rejected
        )

    def collude(self, node: int) -> None:
        """Give the server all that a node holds: its own seeds, and its shares of all seeds.

        To be called when it has its shares and before it trains.
        """
        store = SqliteStore(self.world.nodes[node].state)
        own = SharedSecrets.decode(store.records(1, [self.key])[self.key].secrets)
        self.spy.colluders |= {node}
        self.spy.told_seeds["mask", node] = own.mask_seed
        self.spy.told_seeds["self", node] = own.self_seed
        point = self.members.index(node) + 1
        rows = tuple((dealer, self.rows[dealer][node]) for dealer in self.near[node] - {node})
        nothing = bytes(32), NO_LOG_HEAD, None
        request = TrainRequest(self.key, self.members, tuple(sorted(rows)), *nothing)
        identity = load_identity(*self.world.keys[node])
        hybrid = self.world.parameters.is_hybrid
        me = OwnNode(node, b"", identity, hybrid, NoMemory(), os.urandom)
        for dealer, text in open_shares(request, own, me).held.items():
            self.spy.shares["mask"][dealer][point] = text[:FIELD_BYTES]
            self.spy.shares["self"][dealer][point] = text[FIELD_BYTES:]

    def confirm(self, node: int, survivors: Iterable[int]) -> None:
        """Have a node sign a view."""
        u3 = tuple(sorted(survivors))
        reply = self.world.ask(node, CONFIRM, ConfirmRequest(self.key, u3))
        self.views.setdefault(u3, {})[node] = ConfirmReply.decode(reply).signature

    def unmask(self, node: int, survivors: Iterable[int]) -> None:
        """Ask a node for the shares for a survivor set, with all proof that there is."""
        u3 = tuple(sorted(survivors))
        gone = tuple(n for n in self.cohorts[node] if n not in u3)
        views = tuple(sorted(self.views.get(u3, {}).items()))
        proofs = self.proofs(self.spy.opened[node].binding)
        request = UnmaskRequest(self.key, u3, gone, proofs, views, None)
        reply = UnmaskReply.decode(self.world.ask(node, UNMASK, request))
        self.spy.saw_shares(node, reply)

    def opened(self, chosen: Iterable[int]) -> bool:
        """Say whether the server reads the sum over some inputs: it counts its terms."""
        keys = {node: advert.mask_key for node, advert in self.adverts.items()}
        nodes = frozenset(chosen)
        _, scalars = self.spy.unmask_sum(nodes, keys, self.world.codec.modulus_bits)
        return int(scalars[-1]) == len(nodes)
