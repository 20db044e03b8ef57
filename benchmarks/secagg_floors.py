"""The least time that secure aggregation can take, from what its primitives take here."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.secagg_cases import WORD_BYTES, Case

_CHUNK_BYTES = 1 << 18
_RATE_BYTES = 1 << 28
_REPEATS = 5
_NUM_AGREEMENTS = 200


@dataclass(frozen=True)
class Rates:
    """What primitives take on this machine, with one thread.

    Attributes
    ----------
    keystream, adding : float
        Bytes a second, in chunks that stay in the cache.
    agreement : float
        Seconds for the secret of two X25519 keys.
    sealing, opening : float
        Seconds for encapsulating to an ML-KEM-768 key as it comes, and for decapsulating.
    signing, verifying : float
        Seconds for an Ed25519 signature of a hash, and for verifying it.
    hashing : float
        Bytes a second of SHA-256.
    """

    keystream: float
    adding: float
    agreement: float
    sealing: float
    opening: float
    signing: float
    verifying: float
    hashing: float

    def masking(self, num_masks: float, num_bytes: int) -> float:
        """Return the seconds in which so many masks are generated and added."""
        return num_masks * num_bytes * (1 / self.keystream + 1 / self.adding)

    def floors(self, case: Case, *, agreed: bool, hybrid: bool = False) -> tuple[float, float]:
        """Return the least seconds of a client and of the server.

        Parameters
        ----------
        case : Case
        agreed : bool
            Whether agreeing on keys counts, not only masks. A client has two secrets with each
            neighbour, and the server one for each dropout with each survivor that met it.
        hybrid : bool
            Whether each secret needs ML-KEM too, in which one of both seals and the other
            opens. Shares go both ways, so a client does both for each neighbour; of a pair's
            mask it does one.
        """
        num_bytes = case.parameters * WORD_BYTES
        client, server = (self.masking(masks, num_bytes) for masks in num_masks(case))
        if agreed:
            neighbors, pairs = case.num_neighbors, num_pairs(case)
            client += 2 * neighbors * self.agreement
            server += pairs * self.agreement
            if hybrid:
                client += 1.5 * neighbors * (self.sealing + self.opening)
                server += pairs / 2 * self.opening
        return client, server

    def signatures(self, case: Case) -> tuple[float, float]:
        """Return the least seconds of a client and of the server for signatures.

        They are no part of `floors`. A client signs each of its messages, and verifies the
        advert of every other member and what q members have signed of one view. The server
        verifies each message. Of what is signed, the masked inputs alone are counted as hashed.
        """
        n, survivors, dropped = case.clients, len(case.surviving), case.dropouts > 0
        # Of each: advert and shares; of a survivor: input, reply and its view of who is left.
        late = 2 + dropped
        quorum = case.protocol.quorum(case.protocol.shape(n))
        hashed = case.parameters * WORD_BYTES / self.hashing
        client = (2 + late) * self.signing + (n - 1 + quorum) * self.verifying + hashed
        server = (2 * n + late * survivors) * self.verifying + survivors * hashed
        return client, server


def num_pairs(case: Case) -> float:
    """Return how many pairs of a dropout and a survivor have a mask, on average."""
    return case.dropouts * len(case.surviving) * case.num_neighbors / (case.clients - 1)


def num_masks(case: Case) -> tuple[float, float]:
    """Return how many masks a client, and on average the server, must generate."""
    return case.num_neighbors + 1, len(case.surviving) + num_pairs(case)


def measure_rates() -> Rates:
    """Measure AES-128-CTR as OpenSSL does it, numpy's addition, key agreement, signatures."""
    zeros, buffer = bytes(_CHUNK_BYTES), bytearray(_CHUNK_BYTES + 15)
    encryptor = Cipher(algorithms.AES128(bytes(16)), modes.CTR(bytes(16))).encryptor()
    total = np.zeros(_CHUNK_BYTES // WORD_BYTES, np.uint32)
    mask = np.ones_like(total)
    own, other = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    kem = MLKEM768PrivateKey.generate()
    public = kem.public_key().public_bytes_raw()
    _, text = kem.public_key().encapsulate()
    identity, signed = Ed25519PrivateKey.generate(), bytes(32)
    pinned, signature = identity.public_key(), identity.sign(signed)
    chunks = _RATE_BYTES // _CHUNK_BYTES
    return Rates(
        keystream=_CHUNK_BYTES / _seconds(lambda: encryptor.update_into(zeros, buffer), chunks),
        adding=_CHUNK_BYTES / _seconds(lambda: np.add(total, mask, out=total), chunks),
        agreement=_seconds(lambda: own.exchange(other), _NUM_AGREEMENTS),
        sealing=_seconds(
            lambda: MLKEM768PublicKey.from_public_bytes(public).encapsulate(), _NUM_AGREEMENTS
        ),
        opening=_seconds(lambda: kem.decapsulate(text), _NUM_AGREEMENTS),
        signing=_seconds(lambda: identity.sign(signed), _NUM_AGREEMENTS),
        verifying=_seconds(lambda: pinned.verify(signature, signed), _NUM_AGREEMENTS),
        hashing=_CHUNK_BYTES / _seconds(lambda: hashlib.sha256(zeros).digest(), chunks // 8),
    )


def _seconds(work: Callable[[], object], number: int) -> float:
    """Return the CPU seconds of one call: the least mean of several series."""
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.process_time()
        for _ in range(number):
            work()
        best = min(best, (time.process_time() - started) / number)
    return best
