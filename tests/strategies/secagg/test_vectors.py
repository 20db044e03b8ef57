"""The committed reference vectors: reproduced, and consistent among themselves."""

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from strategies.secagg.binding import adverts_hash, roster_hash
from strategies.secagg.crypto.keys import KeyPair
from strategies.secagg.fields import DecodeError
from strategies.secagg.messages import (
    Advert,
    MaskedInput,
    Roster,
    ShareRequest,
)
from tests.strategies.secagg import make_vectors
from tests.strategies.secagg.world import BITS

VECTORS = json.loads(make_vectors.PATH.read_text())


@pytest.mark.parametrize("part", ["primitives", "transcript", "failures"])
def test_the_code_reproduces_the_committed_vectors(part):
    """A change of the wire format needs a new version and new vectors."""
    built = json.loads(json.dumps(getattr(make_vectors, part)()))
    assert built == VECTORS[part]


def test_the_key_agreement_is_that_of_the_rfc():
    """RFC 7748 section 6.1, so that the vectors rest on something outside this code."""
    alice = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    own = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    bob = KeyPair(bytes(32), hybrid=False)
    bob._private = X25519PrivateKey.from_private_bytes(own)
    assert bob.public.hex() == (
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    )
    assert bob.agree(alice).hex() == (
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    )


def test_the_transcript_adds_up():
    told = VECTORS["transcript"]
    total = sum(np.array(values, np.uint64) for values in told["inputs"].values())
    assert (total & np.uint64(2**BITS - 1)).tolist() == told["sum"]
    roster = Roster.decode(bytes.fromhex(told["roster"]))
    assert adverts_hash(roster.adverts).hex() == told["adverts_hash"]
    assert roster_hash(roster).hex() == told["roster_hash"]
    assert [str(Advert.decode(a).node_id) for a in roster.adverts] == list(told["inputs"])
    for data in told["masked_inputs"].values():
        assert MaskedInput.decode(bytes.fromhex(data)).num_parameters == len(told["sum"])


@pytest.mark.parametrize("entry", VECTORS["failures"], ids=lambda entry: entry["name"])
def test_every_failure_is_refused_with_its_reason(entry):
    data = bytes.fromhex(entry["request"])
    assert make_vectors.refuse_at(entry["stage"], data) == entry["reason"]
    if entry["reason"] == "MALFORMED":
        with pytest.raises(DecodeError):
            ShareRequest.decode(data)
