"""The canonical hashes that bind keys and masks: of adverts, roster and mask binding."""

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache

from strategies.secagg.fields import NODES
from strategies.secagg.messages import LOG_HEAD_BYTES, KeyRoster, Roster

_ROSTER_DOMAIN = b"tacet/secagg/v2/roster"
_KEY_ROSTER_DOMAIN = b"tacet/secagg/v2/roster-of-keys"
_ADVERTS_DOMAIN = b"tacet/secagg/v2/adverts"
_PLAN_DOMAIN = b"tacet/secagg/v3/plan"


# Asked for twice of each roster, and in a simulation by all nodes of a process.
@lru_cache(maxsize=2)
def adverts_hash(adverts: tuple[bytes, ...]) -> bytes:
    """Return SHA-256 over the adverts in order (32 bytes); the graph is drawn from it."""
    digest = hashlib.sha256(_ADVERTS_DOMAIN + struct.pack(">I", len(adverts)))
    for advert in adverts:
        digest.update(struct.pack(">I", len(advert)))
        digest.update(advert)
    return digest.digest()


def roster_hash(roster: Roster) -> bytes:
    """Return SHA-256 over attempt, adverts, degree, threshold and what is dealt (32 bytes).

    The edges are a function of the adverts and the degree, so binding those binds the graph.
    """
    shape, domain = struct.pack(">HH", roster.num_neighbors, roster.threshold), _ROSTER_DOMAIN
    if isinstance(roster, KeyRoster):
        shape, domain = shape + struct.pack(">H", roster.num_packed), _KEY_ROSTER_DOMAIN
    body = roster.attempt.to_bytes() + adverts_hash(roster.adverts) + shape
    return hashlib.sha256(domain + body).digest()


@dataclass(frozen=True, kw_only=True)
class MaskBinding:
    """Everything that the masks of an attempt are bound to, beside roster and U2.

    A client must fill this from what it is about to *use*, never from what it was told.

    Parameters
    ----------
    model, config, codec : bytes
        SHA-256 hashes of the model, the resolved shared configuration and the codec.
    noise_scale : float
        Standard deviation of this node's noise share, in grid units; 0 for none.
    """

    model: bytes
    config: bytes
    codec: bytes
    noise_scale: float

    def hash(
        self,
        roster: bytes,
        cohort: tuple[int, ...],
        numbers: tuple[int, int, int],
        log_head: bytes,
    ) -> bytes:
        """Return the 32 bytes from which all masks are derived.

        `roster` is the roster's hash, `cohort` is U2 (ascending node ids), `numbers` are t, T
        and c. `log_head` is the head of the run's log that the server shows (40 bytes): whoever
        signs an input signs that, and masks do not cancel where two nodes were shown two.
        """
        if any(len(part) != 32 for part in (self.model, self.config, self.codec, roster)):
            raise ValueError("model, config, codec and roster are SHA-256 hashes of 32 bytes")
        if len(log_head) != LOG_HEAD_BYTES:
            raise ValueError(f"the head of a log has {LOG_HEAD_BYTES} bytes")
        tail = struct.pack(">dIII", self.noise_scale, *numbers) + log_head
        body = roster + NODES.write(cohort) + self.model + self.config + self.codec + tail
        return hashlib.sha256(_PLAN_DOMAIN + body).digest()
