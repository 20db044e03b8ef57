"""A whole protocol in one process: an in-memory store, nodes, and an honest server's loop."""

import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from strategies.secagg.binding import MaskBinding
from strategies.secagg.client.checks import TrustPolicy
from strategies.secagg.client.masking_step import Opened
from strategies.secagg.client.memory import Memory
from strategies.secagg.client.role import ClientRole
from strategies.secagg.client.store import Change, Record
from strategies.secagg.client.transitions import OPEN, Stage
from strategies.secagg.crypto.identity import Identity, pin
from strategies.secagg.crypto.prg import word_dtype
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import Advert, AdvertReply, Refusal, Roster, ShareRequest
from strategies.secagg.server.disputes import Disputes
from strategies.secagg.server.outcome import Phase, UnmaskedSum
from strategies.secagg.server.role import ServerRole

RUN = 77
BITS = 24
BUNDLE = hashlib.sha256(b"bundle").digest()
PARAMETERS = ProtocolParameters(min_survivors=4, max_colluding=1)
CLASSICAL = replace(PARAMETERS, is_hybrid=False)
LARGER = ProtocolParameters(min_survivors=5, max_colluding=1)


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def binding_for(
    model: str = "model 1", config: str = "config", noise: float = 0.0
) -> MaskBinding:
    return MaskBinding(
        model=sha(model), config=sha(config), codec=sha("codec"), noise_scale=noise
    )


class MemoryStore:
    """The reference implementation of `Store`; can end the process at a write."""

    def __init__(self) -> None:
        self.table: dict[AttemptId, Record] = {}
        self.kill_before = self.kill_after = False
        self._lock = threading.Lock()

    def records(
        self, run_id: int, attempts: Collection[AttemptId] = (), model: bytes = b""
    ) -> Mapping[AttemptId, Record]:
        run = {key: record for key, record in self.table.items() if key.run_id == run_id}
        first = next(iter(run), None)
        models = {model, *(run[key].model for key in attempts if key in run)} - {b""}
        return {
            key: record
            for key, record in run.items()
            if key == first
            or key in attempts
            or record.stage in OPEN
            or (record.stage is Stage.REVEALED and record.model in models)
        }

    def advance(self, changes: Sequence[Change]) -> bool:
        if self.kill_before:
            raise KeyboardInterrupt
        with self._lock:
            for change in changes:
                now = self.table.get(change.attempt)
                if (now.stage if now else Stage.NONE) is not change.expected:
                    return False
            for change in changes:
                self.table[change.attempt] = change.record
        if self.kill_after:
            raise KeyboardInterrupt
        return True

    def expire(self, now: float) -> None:
        for key, record in self.table.items():
            if record.secrets and record.expires_at <= now:
                self.table[key] = record.closed()

    def compact(self, now: float) -> None:
        """Keep all."""

    def secrets(self) -> list[AttemptId]:
        return [key for key, record in self.table.items() if record.secrets]


def stream(seed: int):
    """Return a deterministic `random_bytes`."""
    state = [0]

    def random_bytes(num_bytes: int) -> bytes:
        state[0] += 1
        return hashlib.shake_256(f"{seed}/{state[0]}".encode()).digest(num_bytes)

    return random_bytes


def identities(num_nodes: int) -> list[Identity]:
    seeds = [hashlib.sha256(f"identity {i}".encode()).digest() for i in range(num_nodes)]
    lone = [Identity(seed, _Anyone()) for seed in seeds]
    peers = pin([one.public for one in lone])
    return [Identity(seed, peers) for seed in seeds]


class _Anyone(dict):
    def __contains__(self, key: object) -> bool:
        return True


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """n nodes, an honest server's loop, and every message as bytes."""

    parameters: ProtocolParameters
    num_nodes: int = 5
    with_identities: bool = False
    seed: int = 0
    dimension: int = 40
    bits: int = BITS
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.bindings: dict[int, bytes] = {}
        self.requests: dict[int, ShareRequest] = {}
        self.kem_keys: dict[int, tuple[bytes, bytes]] = {}
        self.disputes = Disputes(self.parameters.max_colluding)
        self.ids = [101 + 7 * i for i in range(self.num_nodes)]
        self.stores = {node: MemoryStore() for node in self.ids}
        known = identities(self.num_nodes) if self.with_identities else []
        self.identity = dict(zip(self.ids, known, strict=False))
        self.memories: dict[int, Memory] = {}
        self.roles = {node: self.role(node) for node in self.ids}
        rng = np.random.Generator(np.random.PCG64(self.seed))
        self.inputs = {
            node: rng.integers(0, 1 << self.bits, self.dimension, dtype=np.uint64).astype(
                word_dtype(self.bits)
            )
            for node in self.ids
        }
        self.scalars = {node: rng.integers(0, 2**64, 3, dtype=np.uint64) for node in self.ids}

    def role(
        self,
        node: int,
        parameters: ProtocolParameters | None = None,
        random_bytes=None,
        draw_key=None,
    ) -> ClientRole:
        return ClientRole(
            node_id=node,
            run_id=RUN,
            parameters=parameters or self.parameters,
            store=self.stores[node],
            bundle=BUNDLE,
            memory=self.memories.get(node),
            trust=TrustPolicy(self.identity.get(node), frozenset({BUNDLE})),
            lifetime_seconds=100.0,
            clock=self.clock,
            random_bytes=random_bytes or stream(1000 * self.seed + node),
            draw_key=draw_key,
        )

    def server(self, attempt: AttemptId) -> ServerRole:
        known = next(iter(self.identity.values())).peers if self.identity else None
        return ServerRole(attempt, self.parameters, peers=known, disputes=self.disputes)

    def bootstrap(self, server: ServerRole, nodes: Iterable[int] | None = None) -> Roster:
        """Run the advert trip and return the roster."""
        request = server.advert_request().encode()
        for node in nodes if nodes is not None else self.ids:
            server.add_advert(node, ok(self.roles[node].advertise(request)).encode())
        roster = server.close_adverts()
        self.requests = {node: server.share_request(node) for node in server.members}
        self.kem_keys = dict(server._kem_keys)
        return roster

    def told(self, node: int, roster: Roster) -> bytes:
        """Return the last request to share of a node with another roster in it."""
        return told(self.requests[node], roster)

    def share(self, server: ServerRole, roster: Roster, nodes: Iterable[int]) -> None:
        for node in nodes:
            request = told(server.share_request(node), roster)
            server.add_shares(node, ok(self.roles[node].share(request)).encode())
        server.close_shares()

    def ready(self, attempt: AttemptId, nodes: Iterable[int] | None = None) -> ServerRole:
        """Return a server whose nodes have all advertised and shared."""
        server, chosen = self.server(attempt), list(nodes or self.ids)
        self.share(server, self.bootstrap(server, chosen), chosen)
        return server

    def opened(
        self, server: ServerRole, node: int, binding: MaskBinding, following=None
    ) -> Opened:
        request = server.train_request(node, following).encode()
        opened = ok(self.roles[node].open_train(request, binding))
        self.bindings[node] = opened.binding
        return opened

    def masked(self, opened: Opened, node: int):
        return ok(
            self.roles[node].mask(
                opened, self.inputs[node].copy(), self.scalars[node], self.bits
            )
        )

    def train(
        self, server: ServerRole, nodes: Iterable[int], binding: MaskBinding, following=None
    ) -> dict[int, bytes]:
        """Run the train trip; return the masked inputs, encoded."""
        server.bind_masks(binding)
        sent: dict[int, bytes] = {}
        for node in nodes:
            opened = self.opened(server, node, binding, following)
            sent[node] = self.masked(opened, node).encode()
            server.add_masked(node, sent[node])
        return sent

    def confirm(self, server: ServerRole) -> None:
        request = server.confirm_request().encode()
        for node in server.survivors:
            server.add_view(node, ok(self.roles[node].confirm(request)).encode())
        server.close_views()

    def unmask(self, server: ServerRole, nodes: Iterable[int]) -> UnmaskedSum:
        if server.phase is Phase.CONFIRM:
            self.confirm(server)
        request = server.unmask_request().encode()
        for node in nodes:
            server.add_unmask(node, ok(self.roles[node].unmask(request)).encode())
        return server.finish()

    def expected(self, nodes: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the true sums over `nodes`."""
        chosen = list(nodes)
        total = sum(self.inputs[node].astype(np.uint64) for node in chosen)
        total = (total & np.uint64((1 << self.bits) - 1)).astype(word_dtype(self.bits))
        scalars = np.zeros(3, np.uint64)
        for node in chosen:
            scalars += self.scalars[node]
        return total, scalars

    def check(self, result: UnmaskedSum, nodes: Iterable[int]) -> None:
        update, scalars = self.expected(nodes)
        assert result.survivors == tuple(sorted(nodes))
        np.testing.assert_array_equal(result.update, update)
        np.testing.assert_array_equal(result.scalars, scalars)


def told(request: ShareRequest, roster: Roster) -> bytes:
    return replace(request, attempt=roster.attempt, roster=roster.encode()).encode()


def advert_in(reply: bytes) -> Advert:
    """Return the advert in the bytes of a reply."""
    return Advert.decode(AdvertReply.decode(reply).advert)


def ok(reply):
    assert not isinstance(reply, Refusal), refusal_name(reply)
    return reply


def refusal_name(reply: object) -> str:
    from strategies.secagg.reasons import RefusalReason

    assert isinstance(reply, Refusal), f"not refused: {type(reply).__name__}"
    return RefusalReason(reply.reason).name


def attempt(number: int = 1, again: int = 0) -> AttemptId:
    return AttemptId(RUN, number, again)


FIRST = attempt()


def refused(world: World, node: int, reply: object, reason: str, closed=(FIRST,)) -> None:
    """Check the reason, and that the attempts' secrets are gone."""
    assert refusal_name(reply) == reason
    assert isinstance(reply, Refusal)
    assert len(reply.encode()) == 4 + 16 + 1
    for key in closed:
        record = world.stores[node].table.get(key)
        assert record is None or not record.secrets
