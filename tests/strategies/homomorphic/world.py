"""A protocol whose inputs are keys, and ciphertexts of the updates beside them."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from strategies.homomorphic.parameters import KEY_BITS, Slots
from strategies.homomorphic.scheme import Scheme
from strategies.secagg.binding import MaskBinding
from strategies.secagg.client.masking_step import Opened
from strategies.secagg.crypto.prg import Vector
from strategies.secagg.server.outcome import UnmaskedSum
from strategies.secagg.server.role import ServerRole
from tests.strategies.secagg.world import World, binding_for, ok

BITS, DIMENSION = 16, 60


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
        # What was masked, and what was drawn, for whoever has to look for it.
        self.keys: dict[int, list[bytes]] = {node: [] for node in self.ids}

    def scheme(self, num_members: int | None = None) -> Scheme:
        return Scheme(Slots.of(DIMENSION, BITS, num_members or self.num_nodes))

    def bound(self, num_members: int) -> MaskBinding:
        given = binding_for()
        return replace(given, codec=self.scheme(num_members).bound_to(given.codec))

    def prepare(self, server: ServerRole) -> Scheme:
        """Bind the server's masks, and return its scheme."""
        scheme = self.scheme(len(server.cohort))
        form = (*scheme.masked_form, 3)
        server.bind_masks(self.bound(len(server.cohort)), form, is_ciphertext=scheme.is_sound)
        return scheme

    def open(self, server: ServerRole, node: int, following=None) -> Opened:
        request = server.train_request(node, following).encode()
        return ok(self.roles[node].open_train(request, self.bound))

    def encrypt(self, opened: Opened, node: int) -> tuple[Vector, bytes]:
        scheme = self.scheme(len(opened.request.cohort))
        key, text = scheme.encrypt(self.inputs[node], opened.binding)
        self.keys[node].append(key.tobytes())
        return key, bytes(text)

    def masked(self, opened: Opened, node: int):
        key, text = self.encrypt(opened, node)
        return ok(self.roles[node].mask(opened, key, self.scalars[node], KEY_BITS, text))

    def send(self, server: ServerRole, nodes: Iterable[int]) -> dict[int, bytes]:
        """Run the train trip; return the encoded inputs."""
        sent: dict[int, bytes] = {}
        for node in nodes:
            sent[node] = self.masked(self.open(server, node), node).encode()
            server.add_masked(node, sent[node])
        return sent

    def decrypted(self, server: ServerRole, total: UnmaskedSum) -> Vector:
        scheme = self.scheme(len(server.cohort))
        return scheme.decrypt(total.update, total.ciphertexts, server.plan)

    def sum_over(self, nodes: Iterable[int]) -> Vector:
        return np.sum([self.inputs[node] for node in nodes], axis=0, dtype=np.uint16)
