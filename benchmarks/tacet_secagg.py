"""Tacet's secure aggregation in one process: the real roles, bytes in and bytes out."""

import hashlib
import statistics
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import RecordDict

from app.node.protocol_store import ContextStore
from benchmarks.secagg_cases import CLIP_RANGE, MODULUS_BITS, WORD_BYTES, Case, Clock, Measured
from strategies.codec.fixed_point import FixedPoint
from strategies.homomorphic.arithmetic import PAYS_FROM, arithmetic_for
from strategies.homomorphic.config import HomomorphicConfig
from strategies.homomorphic.parameters import DEGREE
from strategies.homomorphic.public import public_polynomial
from strategies.homomorphic.scheme import draw_key
from strategies.masked.config import SecAggConfig
from strategies.masked.encryption import Encryption, OpenableSum
from strategies.secagg import binding, graph
from strategies.secagg.binding import MaskBinding
from strategies.secagg.client import roster
from strategies.secagg.client.checks import TrustPolicy
from strategies.secagg.client.masking_step import Opened
from strategies.secagg.client.role import ClientRole
from strategies.secagg.crypto import identity, keys, packed
from strategies.secagg.crypto.identity import Identity, pin
from strategies.secagg.crypto.prg import Vector
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import Refusal
from strategies.secagg.server import masked_sum, recovery
from strategies.secagg.server.key_role import KeyRole
from strategies.secagg.server.outcome import Phase
from strategies.secagg.server.role import ServerRole
from strategies.secagg.sizes import key_bytes

_RUN = 1
_SCALARS = np.zeros(8, np.uint64)  # about as many as a task with two metrics has
_HASH = hashlib.sha256(b"benchmark").digest()
_BINDING = MaskBinding(model=_HASH, config=_HASH, codec=_HASH, noise_scale=0.0)

_Reply = TypeVar("_Reply")


@dataclass(frozen=True)
class Peaks:
    """Peak memory, in vectors of one word a parameter, with what a party holds before.

    Attributes
    ----------
    client : float
        The peak of masking, from the encoded vector to the reply's bytes, with both.
    server : float
        The peak of taking one masked input after the other and opening their sum: the reply
        and the sum are in it, and what is kept on the disk is not.
    decoding : float
        The peak of decoding the sum to float64, both included.
    """

    client: float
    server: float
    decoding: float


class _Attempt:
    """All parties of one attempt, with caches emptied between them."""

    def __init__(
        self, case: Case, *, hybrid: bool, identities: bool, encrypted: bool = False
    ) -> None:
        n = case.clients
        parameters = replace(case.protocol, is_hybrid=hybrid)
        known = _identities(n) if identities else [None] * n
        self.case, self.parameters = case, parameters
        self.ids = [1000 + i for i in range(n)]
        self.clocks = {node: Clock() for node in self.ids}
        self.server_clock = Clock()
        self.roles = {
            node: ClientRole(
                node_id=node,
                run_id=_RUN,
                parameters=parameters,
                store=ContextStore(RecordDict()),
                bundle=_HASH,
                trust=TrustPolicy(identity),
                draw_key=draw_key,
            )
            for node, identity in zip(self.ids, known, strict=True)
        }
        peers = known[0].peers if known[0] else None
        config = HomomorphicConfig() if encrypted else SecAggConfig()
        form = MODULUS_BITS, case.parameters, len(_SCALARS)
        self.encryption: Encryption | None = None
        self.total: OpenableSum | None = None
        name = AttemptId(_RUN, 1, 0)
        if config.encryption is None:
            self.server = ServerRole(name, parameters, peers=peers)
        elif not config.encryption.pays_for(*form[:2], n):
            raise ValueError(f"{case.parameters} parameters are too few to be encrypted")
        else:
            length = config.encryption.key_length
            self.server = KeyRole(name, parameters, length, peers=peers)
            self.encryption = config.encryption.scheme(form, n)
            self._warm_up(self.encryption)
        self.grid = FixedPoint(
            modulus_bits=MODULUS_BITS, clip_range=CLIP_RANGE, num_contributions=n
        )
        self.survivors = [self.ids[i] for i in case.surviving]
        self.peaks = Peaks(0.0, 0.0, 0.0)

    def _warm_up(self, encryption: Encryption) -> None:
        """Make the tables that each process makes once, and all that numba compiles."""
        key = draw_key()
        update = np.zeros(self.case.parameters, np.uint32)
        # From so many polynomials on a process takes what is compiled, if that is installed.
        arithmetic_for(PAYS_FROM)
        # As received: numba compiles for what cannot be written, too.
        text = bytes(encryption.encrypt(key, (update, _SCALARS), _HASH))
        total = encryption.new_sum()
        total.add(0, text)
        total.opened(key.astype(np.int64), _HASH)

    @contextmanager
    def client(self, node: int) -> Generator[ClientRole]:
        _forget()
        with self.clocks[node].running():
            yield self.roles[node]

    def exchange_keys(self) -> None:
        """Run the advert trip and the share trip."""
        server, running = self.server, self.server_clock.running
        with running():
            request = server.advert_request().encode()
        for node in self.ids:
            with self.client(node) as role:
                advert = _ok(role.advertise(request)).encode()
            with running():
                server.add_advert(node, advert)
        with running():
            server.close_adverts()
        for node in self.ids:
            with running():
                request = server.share_request(node).encode()
            with self.client(node) as role:
                upload = _ok(role.share(request)).encode()
            with running():
                server.add_shares(node, upload)
        with running():
            server.close_shares()
            server.bind_masks(_BINDING)
            if isinstance(server, KeyRole) and self.encryption is not None:
                server.ciphertexts = self.total = self.encryption.new_sum()

    def train(self, traced: int | None = None) -> int:
        """Run the train trip; return the bytes of a reply."""
        num_bytes = 0
        for number, node in enumerate(self.ids):
            with self.server_clock.running():
                request = self.server.train_request(node).encode()
            if node not in self.survivors:
                continue
            update = self.case.vector(number)
            with self.client(node) as role:
                opened = _ok(role.open_train(request, _BINDING))
                vector = self.grid.encode(update).vector
            if node == traced:
                tracemalloc.start()
            with self.client(node) as role:
                reply = self._contribution(role, opened, vector)
            if node == traced:
                self.peaks = replace(self.peaks, client=1 + self._stop_tracing())
            del vector
            num_bytes = len(reply)
            if node == traced:
                tracemalloc.start()
            with self.server_clock.running():
                self.server.add_masked(node, reply)
            if node == traced:
                # The first: the sum begins with it, and nothing more comes with later ones.
                self.peaks = replace(self.peaks, server=1 + self._stop_tracing())
        return num_bytes

    def unmask(self, *, traced: bool = False) -> Measured:
        """Run the unmask trip, after the confirm trip if there is one, and open the sum."""
        server, running = self.server, self.server_clock.running
        with running():
            server.close_masked()
        if server.phase is Phase.CONFIRM:
            self._confirm()
        for node in self.survivors:
            with running():
                request = server.unmask_request().encode()
            with self.client(node) as role:
                shares = _ok(role.unmask(request)).encode()
            with running():
                server.add_unmask(node, shares)
        _forget()
        if traced:
            tracemalloc.start()
        before = self.server_clock.seconds
        with running():
            update = self._opened()
        if traced:
            opening = 1 + self._stop_tracing()
            self.peaks = replace(self.peaks, server=max(opening, self.peaks.server))
            tracemalloc.start()
        with running():
            total = self.grid.decode_sum(update)
        if traced:
            self.peaks = replace(self.peaks, decoding=1 + self._stop_tracing())
        return Measured(
            client=statistics.median(self.clocks[node].seconds for node in self.survivors),
            server=self.server_clock.seconds,
            bytes_per_parameter=0.0,
            error=self.case.error(total),
            error_bound=len(self.survivors) * self.grid.step / 2,
            server_wall=self.server_clock.wall,
            opening=self.server_clock.seconds - before,
        )

    def _contribution(self, role: ClientRole, opened: Opened, vector: Vector) -> bytes:
        """Return the bytes of a client's reply."""
        if self.encryption is None or opened.key is None:
            return _ok(role.mask(opened, vector, _SCALARS, MODULUS_BITS)).encode()
        text = self.encryption.encrypt(opened.key, (vector, _SCALARS), opened.binding)
        return _ok(role.encrypted(opened, text)).encode()

    def _opened(self) -> Vector:
        """Return the sum of the updates."""
        server = self.server
        if self.total is None or not isinstance(server, KeyRole):
            return server.finish().update
        return self.total.opened(server.finish_keys().key_sum, server.plan)[0]

    def _confirm(self) -> None:
        """Have the survivors sign their view."""
        running = self.server_clock.running
        with running():
            request = self.server.confirm_request().encode()
        for node in self.survivors:
            with self.client(node) as role:
                view = _ok(role.confirm(request)).encode()
            with running():
                self.server.add_view(node, view)
        with running():
            self.server.close_views()

    def _stop_tracing(self) -> float:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / (self.case.parameters * WORD_BYTES)


def run(case: Case, *, hybrid: bool, identities: bool, encrypted: bool = False) -> Measured:
    """Run one attempt and return its measurements; ``encrypted`` is homomorphic."""
    attempt = _Attempt(case, hybrid=hybrid, identities=identities, encrypted=encrypted)
    attempt.exchange_keys()
    num_bytes = attempt.train()
    figures = vars(attempt.unmask())
    parameters = attempt.parameters
    length = DEGREE if encrypted else 0
    size = key_bytes(case.clients, parameters, signed=identities, key_length=length)
    size /= case.clients - 1 if encrypted else case.num_neighbors
    more = {"bytes_per_parameter": num_bytes / case.parameters, "key_bytes_per_peer": size}
    return Measured(**figures | more)


def measure_peaks(case: Case) -> Peaks:
    """Run one attempt, slower, in which one client's masking and the server are traced."""
    attempt = _Attempt(case, hybrid=False, identities=False)
    attempt.exchange_keys()
    # As where there are many: all masked inputs are kept on the disk.
    in_memory, masked_sum.MEMORY_BYTES = masked_sum.MEMORY_BYTES, 0
    try:
        attempt.train(traced=attempt.survivors[0])
        attempt.unmask(traced=True)
    finally:
        masked_sum.MEMORY_BYTES = in_memory
    return attempt.peaks


def _identities(num_clients: int) -> list[Identity]:
    seeds = [hashlib.sha256(f"{i}".encode()).digest() for i in range(num_clients)]
    publics = [_public(seed) for seed in seeds]
    return [Identity(seed, pin(publics)) for seed in seeds]


def _public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _forget() -> None:
    """Empty the caches that parties share in this process only."""
    shared = keys._public_key, keys._kem_key, keys.is_kem_key, identity._public_key
    shared = (*shared, keys.is_public_key, roster.read_roster, roster._check_adverts)
    shared = (*shared, binding.adverts_hash, packed.interpolation)
    for cached in (*shared, graph._ring, recovery._lagrange, public_polynomial):
        cached.cache_clear()


def _ok(reply: _Reply | Refusal) -> _Reply:
    if isinstance(reply, Refusal):
        raise RuntimeError(f"refused: {reply}")
    return reply
