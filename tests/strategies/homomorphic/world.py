"""A protocol whose inputs are encrypted under keys that the nodes have dealt."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from strategies.homomorphic.parameters import DEGREE, Slots
from strategies.homomorphic.scheme import Scheme, SchemeSum, draw_key
from strategies.secagg.binding import MaskBinding
from strategies.secagg.client.masking_step import Opened
from strategies.secagg.client.role import ClientRole
from strategies.secagg.crypto.prg import Vector
from strategies.secagg.fields import AttemptId
from strategies.secagg.server.key_role import KeyRole
from strategies.secagg.server.outcome import OpenedKeys, Phase
from tests.strategies.secagg.world import World, binding_for, ok

BITS, DIMENSION, NUM_SCALARS = 16, 60, 3


def added(scheme: Scheme, texts: Iterable[bytes], arithmetic=None) -> SchemeSum:
    """Return the sum of ciphertexts."""
    total = scheme.new_sum(arithmetic)
    for number, text in enumerate(texts):
        assert total.add(number, text)
    return total


class EncryptedWorld(World):
    """As `World`, with updates that are encrypted."""

    def __init__(self, parameters, num_nodes=5, *, with_identities=True, seed=0) -> None:
        super().__init__(
            parameters,
            num_nodes,
            with_identities=with_identities,
            seed=seed,
            dimension=DIMENSION,
            bits=BITS,
        )
        rng = np.random.Generator(np.random.PCG64(seed))
        most = (2 ** (BITS - 1) - 1) // num_nodes
        for node in self.ids:
            signed = rng.integers(-most, most + 1, DIMENSION)
            self.inputs[node] = signed.astype(np.int16).view(np.uint16)
        self.model = "model 1"
        # What was dealt, for whoever has to look for it.
        self.keys: dict[int, list[bytes]] = {node: [] for node in self.ids}

    def role(self, node: int, *args, **given) -> ClientRole:
        def noting(random_bytes):
            key = draw_key(random_bytes)
            self.keys.setdefault(node, []).append(key.tobytes())
            return key

        self.keys = getattr(self, "keys", {})
        return super().role(node, *args, **given, draw_key=noting)

    def server(self, attempt: AttemptId) -> KeyRole:
        known = next(iter(self.identity.values())).peers if self.identity else None
        return KeyRole(attempt, self.parameters, DEGREE, peers=known, disputes=self.disputes)

    def scheme(self, num_members: int | None = None) -> Scheme:
        return Scheme(Slots.of(DIMENSION, BITS, num_members or self.num_nodes), NUM_SCALARS)

    def bound(self, num_members: int, is_key: bool = True) -> MaskBinding:
        given = binding_for(self.model)
        assert is_key
        return replace(given, codec=self.scheme(num_members).bound_to(given.codec))

    def prepare(self, server: KeyRole) -> Scheme:
        """Bind the server's attempt, and return its scheme."""
        scheme = self.scheme(len(server.cohort))
        server.bind_masks(self.bound(len(server.cohort)))
        server.ciphertexts = scheme.new_sum()
        return scheme

    def open(self, server: KeyRole, node: int, following=None) -> Opened:
        request = server.train_request(node, following).encode()
        return ok(self.roles[node].open_train(request, self.bound))

    def encrypt(self, opened: Opened, node: int) -> bytes:
        scheme = self.scheme(len(opened.request.cohort))
        contribution = self.inputs[node], self.scalars[node]
        return bytes(scheme.encrypt(opened.key, contribution, opened.binding))

    def encrypted(self, opened: Opened, node: int):
        return ok(self.roles[node].encrypted(opened, self.encrypt(opened, node)))

    def send(self, server: KeyRole, nodes: Iterable[int]) -> dict[int, bytes]:
        """Run the train trip; return the encoded inputs."""
        sent: dict[int, bytes] = {}
        for node in nodes:
            sent[node] = self.encrypted(self.open(server, node), node).encode()
            server.add_masked(node, sent[node])
        return sent

    def unmask(self, server: KeyRole, nodes: Iterable[int]) -> OpenedKeys:
        if server.phase is Phase.CONFIRM:
            self.confirm(server)
        request = server.unmask_request().encode()
        for node in nodes:
            server.add_unmask(node, ok(self.roles[node].unmask(request)).encode())
        return server.finish_keys()

    def decrypted(self, server: KeyRole, total: OpenedKeys) -> tuple[Vector, np.ndarray]:
        return server.ciphertexts.opened(total.key_sum, server.plan)

    def sum_over(self, nodes: Iterable[int]) -> Vector:
        return np.sum([self.inputs[node] for node in nodes], axis=0, dtype=np.uint16)

    def check(self, server: KeyRole, total: OpenedKeys, nodes: Iterable[int]) -> None:
        """Check that exactly these contributions are in a sum, and are opened exactly."""
        chosen = list(nodes)
        update, scalars = self.decrypted(server, total)
        np.testing.assert_array_equal(update, self.sum_over(chosen))
        np.testing.assert_array_equal(scalars, self.expected(chosen)[1])
        assert total.survivors == tuple(sorted(chosen))
