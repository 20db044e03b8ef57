"""Every message of the protocol, one frozen dataclass each.

Decisions where `protocol.md` leaves room:

* The unmask reply and the train reply carry the next attempt's message as an opaque blob,
  so that an attempt's messages are the same in the bootstrap and in the steady state.
* A masked input lists the peers whose share did not decrypt (`rejected`). It depends on
  received ciphertexts only.
* The signature of a masked input covers the hash of its payload, and not the payload, so that
  it can be shown to other nodes without the payload (section 5).
* A refusal is not signed: whoever forges one silences a node, and cannot do more.
* An advert has hashes of its ML-KEM keys. The keys themselves go to those who use them, beside
  the roster: they are most of its bytes, and a node of a large roster would read those of many
  with whom it shares nothing. The roster's hash, and an advert's signature, cover the hashes.
* The hash of the mask binding also rides in the train request, so that an honest mistake is
  a named refusal (`PLAN_MISMATCH`) and not a random sum; a client uses only the hash that it
  computed itself.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Annotated, ClassVar

from strategies.secagg.fields import (
    ATTEMPT,
    HASH,
    NODES,
    PAYLOAD,
    U8,
    U16,
    U64,
    AttemptId,
    Buffer,
    blob,
    blobs,
    fixed,
    option,
    rows,
    table,
)
from strategies.secagg.wire import Field, Signed, Wire

FIELD_BYTES = 33  # an element of the Shamir field
HEAD_BYTES = 32  # of a ledger
KEPT_HEADS = 4  # of each peer, in the last runs
LOG_HEAD_BYTES = 40  # of the run's log: entries, root
# Nonce, both shares, heads, tag.
SEALED_BYTES = 12 + 2 * FIELD_BYTES + KEPT_HEADS * HEAD_BYTES + 16
SIGNATURE_BYTES = 64
X25519_BYTES = 32
KEM_KEY_BYTES = 1184  # ML-KEM-768, FIPS 203
KEM_TEXT_BYTES = 1088
# KEM ciphertext, the pair's secret under AES-GCM, its hash.
PAIR_PART_BYTES = KEM_TEXT_BYTES + 12 + 32 + 16 + 32
# X25519 key and the hash of the ML-KEM key beside it.
PUBLIC_KEY_BYTES = X25519_BYTES + 32
MAX_ADVERT_BYTES = 512
MAX_ADVERT_REPLY_BYTES = MAX_ADVERT_BYTES + 4096
MAX_SHARE_BYTES = 32_768  # of a dealt key: 4 for each of at most 8,192 polynomials
MAX_ROW_BYTES = MAX_SHARE_BYTES + 4096
INPUT_PROOF_BYTES = 32 + SIGNATURE_BYTES  # hash of the payload, signature
NO_IDENTITY = bytes(32)
NO_HEAD = bytes(HEAD_BYTES)
NO_LOG_HEAD = bytes(LOG_HEAD_BYTES)
_TO_ALL = "public in the protocol: names the attempt"
_FRESH_KEY = "fresh public key: X25519, and if hybrid the hash of the ML-KEM-768 key beside it"
_NEXT_ADVERT = Field(option(blob(MAX_ADVERT_REPLY_BYTES)), "an AdvertReply")
_KEM_KEY = "fresh public ML-KEM-768 key, independent of the data; empty if classical"
_SIGNED = "over public values and the bytes of this message only; empty without identities"


@dataclass(frozen=True)
class AdvertRequest(Wire):
    """Server to client, bootstrap: send an advert for this attempt."""

    TYPE: ClassVar[int] = 1
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]


@dataclass(frozen=True)
class Advert(Signed):
    """Client to server to peers: the public keys of an attempt, signed if identities are on."""

    TYPE: ClassVar[int] = 2
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    node_id: Annotated[int, Field(U64, "public: Flower's name of the node")]
    bundle: Annotated[bytes, Field(HASH, "public: hash of the approved code")]
    identity: Annotated[bytes, Field(HASH, "public: fingerprint of the pinned identity key")]
    head: Annotated[
        bytes,
        Field(HASH, "MAC of fresh random bytes and the node's ledger, under a key of its own"),
    ]
    mask_key: Annotated[bytes, Field(blob(PUBLIC_KEY_BYTES), _FRESH_KEY)]
    share_key: Annotated[bytes, Field(blob(PUBLIC_KEY_BYTES), _FRESH_KEY)]
    commitment: Annotated[
        bytes, Field(HASH, "hash of a fresh 32-byte seed, independent of the data")
    ]
    signature: Annotated[bytes, Field(blob(SIGNATURE_BYTES), "over this advert only")]


@dataclass(frozen=True)
class AdvertReply(Wire):
    """Client to server: an advert, and the ML-KEM keys of which it has the hashes."""

    TYPE: ClassVar[int] = 17
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    advert: Annotated[bytes, Field(blob(MAX_ADVERT_BYTES), "an Advert")]
    mask_kem_key: Annotated[bytes, Field(blob(KEM_KEY_BYTES), _KEM_KEY)]
    share_kem_key: Annotated[bytes, Field(blob(KEM_KEY_BYTES), _KEM_KEY)]


@dataclass(frozen=True)
class Roster(Wire):
    """Server to client, in a ShareRequest: all adverts of an attempt, the same for everyone."""

    TYPE: ClassVar[int] = 3
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    threshold: Annotated[int, Field(U16, "public: shares needed to rebuild a seed")]
    num_neighbors: Annotated[int, Field(U16, "public: degree of the graph")]
    adverts: Annotated[
        tuple[bytes, ...], Field(blobs(MAX_ADVERT_BYTES), "public: encoded adverts by node id")
    ]


@dataclass(frozen=True)
class KeyRoster(Roster):
    """Server to client under `homomorphic`: a roster whose members deal keys, and no seeds."""

    TYPE: ClassVar[int] = 14
    num_packed: Annotated[int, Field(U16, "public: entries of a key in each polynomial")]


@dataclass(frozen=True)
class ShareRequest(Wire):
    """Server to client: share your secrets under this roster.

    `kem_keys` has for each neighbour of the receiver the ML-KEM share key and behind it, if
    the receiver's row brings the pair's secret (`graph.Shape.brings_secret`), the mask key.
    """

    TYPE: ClassVar[int] = 18
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    roster: Annotated[bytes, Field(blob(), "a Roster or KeyRoster")]
    kem_keys: Annotated[
        tuple[tuple[int, bytes], ...],
        Field(
            table(2 * KEM_KEY_BYTES), "public: neighbours' keys; their adverts have the hashes"
        ),
    ]


@dataclass(frozen=True)
class ShareRow(Wire):
    """Client to server to one peer: a dealer's shares for one neighbour.

    Sealed with the shares are the last heads that the dealer knows of the receiver's ledger.
    The hashes let the server tell a false share from a true one when it is revealed.

    It has no signature of its own. The receiver knows its dealer by the AES-GCM key, which only
    the two have, from keys in signed adverts. That key and its associated data depend on both
    secrets' ciphertexts, and the hashes must be those of the sealed shares. The server knows
    the dealer by the signature over the whole upload.
    """

    TYPE: ClassVar[int] = 12
    sealed: Annotated[bytes, Field(fixed(SEALED_BYTES), "AES-GCM under a key the server lacks")]
    mask_hash: Annotated[bytes, Field(HASH, "hash of a share, which is 256 uniform bits")]
    self_hash: Annotated[bytes, Field(HASH, "hash of a share, which is 256 uniform bits")]
    kem_text: Annotated[
        bytes, Field(blob(KEM_TEXT_BYTES), "ML-KEM-768 ciphertext for the receiver's share key")
    ]
    pair_part: Annotated[
        bytes,
        Field(blob(PAIR_PART_BYTES), "the pair's secret, sealed for the receiver's mask key"),
    ]

    #: Where both hashes stand in an encoded row.
    HASHES: ClassVar[slice] = slice(4 + SEALED_BYTES, 4 + SEALED_BYTES + 64)

    @staticmethod
    def part_of(data: bytes) -> bytes:
        """Return the pair's part of an encoded row that is in its form."""
        at = ShareRow.HASHES.stop
        return data[at + 8 + int.from_bytes(data[at : at + 4], "big") :]


@dataclass(frozen=True)
class KeyRow(Wire):
    """Client to server to one peer under `homomorphic`: a dealer's shares of its key.

    Sealed with them are heads, and it has no signature of its own: as a `ShareRow`. There are
    no hashes, for no share is shown to the server, only sums of them.
    """

    TYPE: ClassVar[int] = 15
    sealed: Annotated[bytes, Field(blob(MAX_ROW_BYTES), "AES-GCM under a key the server lacks")]
    kem_text: Annotated[
        bytes, Field(blob(KEM_TEXT_BYTES), "ML-KEM-768 ciphertext for the receiver's share key")
    ]


@dataclass(frozen=True)
class SharesUpload(Signed):
    """Client to server: a row of shares for each neighbour."""

    TYPE: ClassVar[int] = 4
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    rows: Annotated[
        tuple[tuple[int, bytes], ...],
        Field(table(MAX_ROW_BYTES), "ShareRows or KeyRows; the receivers are the graph"),
    ]
    own_hashes: Annotated[
        bytes,
        Field(fixed(64), "hashes of the dealer's shares of its own two seeds; or zeros"),
    ]
    signature: Annotated[bytes, Field(blob(SIGNATURE_BYTES), _SIGNED)]


@dataclass(frozen=True)
class TrainRequest(Wire):
    """Server to client, beside model and configuration: who shared, and the shares for it."""

    TYPE: ClassVar[int] = 5
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    cohort: Annotated[tuple[int, ...], Field(NODES, "public: U2, the nodes that shared")]
    rows: Annotated[
        tuple[tuple[int, bytes], ...],
        Field(table(MAX_ROW_BYTES), "ShareRows or KeyRows by dealer, for this receiver alone"),
    ]
    binding: Annotated[bytes, Field(HASH, "public: the server's hash of the mask binding")]
    log_head: Annotated[
        bytes,
        Field(fixed(LOG_HEAD_BYTES), "public: the run's log so far; the masks are bound to it"),
    ]
    next_attempt: Annotated[
        AttemptId | None, Field(option(ATTEMPT), "public: asks for the next advert")
    ]


@dataclass(frozen=True)
class MaskedInput(Wire):
    """Client to server: the masked update and scalars, and the advert of the next round."""

    TYPE: ClassVar[int] = 6
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    modulus_bits: Annotated[int, Field(U8, "public: the codec")]
    num_parameters: Annotated[int, Field(U64, "public: entries of an update that are sent")]
    update: Annotated[
        Buffer, Field(PAYLOAD, "uniform modulo 2^b under the masks, b bits a parameter")
    ]
    scalars: Annotated[
        bytes, Field(blob(), "uniform modulo 2^64 under the masks, 8 bytes each")
    ]
    rejected: Annotated[
        tuple[int, ...], Field(NODES, "which received ciphertexts were false, no data")
    ]
    next_advert: Annotated[bytes | None, _NEXT_ADVERT]
    signature: Annotated[bytes, Field(blob(SIGNATURE_BYTES), _SIGNED)]

    def payload_hash(self) -> bytes:
        """Return SHA-256 of the masked values (32 bytes), which a signature covers."""
        digest = hashlib.sha256(struct.pack(">BQ", self.modulus_bits, self.num_parameters))
        digest.update(self.update)
        digest.update(self.scalars)
        return digest.digest()


@dataclass(frozen=True)
class EncryptedInput(Wire):
    """Client to server under `homomorphic`: update and scalars, encrypted under a dealt key."""

    TYPE: ClassVar[int] = 13
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    ciphertext: Annotated[
        Buffer, Field(PAYLOAD, "RLWE: looks uniform to whoever lacks the sum's keys")
    ]
    rejected: Annotated[
        tuple[int, ...], Field(NODES, "which received ciphertexts were false, no data")
    ]
    next_advert: Annotated[bytes | None, _NEXT_ADVERT]
    signature: Annotated[bytes, Field(blob(SIGNATURE_BYTES), _SIGNED)]

    def payload_hash(self) -> bytes:
        """Return SHA-256 of the ciphertext (32 bytes), which a signature covers."""
        return hashlib.sha256(self.ciphertext).digest()


@dataclass(frozen=True)
class ConfirmRequest(Wire):
    """Server to client, where somebody dropped out: sign this survivor set."""

    TYPE: ClassVar[int] = 7
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    survivors: Annotated[tuple[int, ...], Field(NODES, "public: U3")]


@dataclass(frozen=True)
class ConfirmReply(Wire):
    """Client to server to peers: the signature over the view, see `view_to_sign`."""

    TYPE: ClassVar[int] = 8
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    signature: Annotated[bytes, Field(fixed(SIGNATURE_BYTES), "over public values only")]


@dataclass(frozen=True)
class UnmaskRequest(Wire):
    """Server to client: survivors and dropouts, the proof that all nodes see the same."""

    TYPE: ClassVar[int] = 9
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    survivors: Annotated[tuple[int, ...], Field(NODES, "public: U3")]
    dropouts: Annotated[
        tuple[int, ...],
        Field(NODES, "public: those of U2 without U3 with whom survivors masked"),
    ]
    inputs: Annotated[
        tuple[tuple[int, bytes], ...],
        Field(
            rows(INPUT_PROOF_BYTES),
            "hash and signature of masked inputs that reject nobody; where U3 is U2",
        ),
    ]
    views: Annotated[
        tuple[tuple[int, bytes], ...],
        Field(rows(SIGNATURE_BYTES), "q survivors' signatures over the view, else"),
    ]
    next_request: Annotated[bytes | None, Field(option(blob()), "a ShareRequest")]


@dataclass(frozen=True)
class UnmaskReply(Signed):
    """Client to server: self-mask shares of survivors, mask-key shares of dropouts."""

    TYPE: ClassVar[int] = 10
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    self_shares: Annotated[
        tuple[tuple[int, bytes], ...],
        Field(
            rows(FIELD_BYTES),
            "of survivors only: opens the sum, never one node's pairwise masks",
        ),
    ]
    mask_shares: Annotated[
        tuple[tuple[int, bytes], ...],
        Field(rows(FIELD_BYTES), "of dropouts only: their inputs stay under their self masks"),
    ]
    next_shares: Annotated[bytes | None, Field(option(blob()), "a SharesUpload")]
    signature: Annotated[bytes, Field(blob(SIGNATURE_BYTES), _SIGNED)]


@dataclass(frozen=True)
class KeyReply(Signed):
    """Client to server under `homomorphic`: what it holds of the sum of the survivors' keys."""

    TYPE: ClassVar[int] = 16
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    share: Annotated[
        bytes,
        Field(blob(MAX_SHARE_BYTES), "of the sum over the survivors only, once an attempt"),
    ]
    next_shares: Annotated[bytes | None, Field(option(blob()), "a SharesUpload")]
    signature: Annotated[bytes, Field(blob(SIGNATURE_BYTES), _SIGNED)]


@dataclass(frozen=True)
class Refusal(Wire):
    """Client to server: an enumerated reason and nothing else."""

    TYPE: ClassVar[int] = 11
    attempt: Annotated[AttemptId, Field(ATTEMPT, _TO_ALL)]
    reason: Annotated[int, Field(U8, "depends on the server's messages and the stage only")]


MESSAGES: tuple[type[Wire], ...] = (
    AdvertRequest,
    Advert,
    AdvertReply,
    Roster,
    KeyRoster,
    ShareRequest,
    ShareRow,
    KeyRow,
    SharesUpload,
    TrainRequest,
    MaskedInput,
    EncryptedInput,
    ConfirmRequest,
    ConfirmReply,
    UnmaskRequest,
    UnmaskReply,
    KeyReply,
    Refusal,
)
