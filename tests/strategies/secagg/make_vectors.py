"""Write the protocol's reference vectors: ``python -m tests.strategies.secagg.make_vectors``.

Everything random comes from SHAKE-256 of a counter (`world.stream`), so the vectors are the
same everywhere. A second implementation should reproduce every value, and refuse every
entry under "failures" with the reason given. Bytes are hexadecimal.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from strategies.codec.fixed_point import FixedPoint
from strategies.secagg import binding, messages, packing
from strategies.secagg.crypto import hybrid, keys, prg, shamir
from strategies.secagg.graph import ProtocolParameters, Shape, neighborhood
from strategies.secagg.messages import Roster, UnmaskRequest
from tests.strategies.secagg.world import World, attempt, binding_for, ok, refusal_name, stream

PATH = Path(__file__).with_name("vectors.json")
# Classical: an ML-KEM ciphertext is random by itself, so that it cannot be written again.
PARAMETERS = ProtocolParameters(min_survivors=3, max_colluding=1, is_hybrid=False)


def primitives() -> dict[str, Any]:
    """Return keys, shares, masks, graph, codec and packing."""
    one, two = (keys.KeyPair(bytes([i] * 32), hybrid=False) for i in (1, 2))
    kem = keys.KeyPair(bytes([1] * 32), hybrid=True)
    ends, part = (7, 9), hybrid.hash_part(b"")
    agreed, plan = one.agree(two.public), bytes([3] * 32)
    points = [1, 2, 5]
    vector = np.arange(4, dtype=np.uint32)
    prg.apply_masks([vector], [(bytes(range(16)), True)])
    grid = FixedPoint(modulus_bits=20, clip_range=1.0, num_contributions=10)
    encoded = grid.encode(np.array([0.0, 0.5, -1.0, 3.0]))
    return {
        "public_keys": [one.public.hex(), two.public.hex()],
        "hybrid_public_key": kem.public.hex(),
        "hybrid_kem_key_sha256": hashlib.sha256(kem.kem_public).hexdigest(),
        "pair_secret_7_9": hybrid.pair_secret(bytes([1] * 32), plan, ends).hex(),
        "share_hashes": keys.hash_pair(bytes(66), plan, *ends).hex(),
        "agreed": agreed.hex(),
        "pair_mask_key": keys.pair_mask_keys(plan)(agreed, part, 7, 9).hex(),
        "self_mask_key": keys.self_mask_key(bytes(32), plan, 7).hex(),
        "share_key_7_to_9": keys.share_key(agreed, plan, 7, 9).hex(),
        "commitment_of_zeros": keys.commit(bytes(32)).hex(),
        "sealed": keys.seal(bytes(32), plan, ends, b"text", bytes(12), part).hex(),
        "shares": {
            "seed": bytes(range(32)).hex(),
            "points": points,
            "values": [s.hex() for s in shamir.split(bytes(range(32)), 2, points, stream(1))],
            "coefficients_1_5": [hex(c) for c in shamir.coefficients([1, 5])],
        },
        "mask_words": vector.tolist(),
        "ring_of_12_with_4": [
            list(neighborhood(Shape(12, 4, 4), bytes(32), member)) for member in range(12)
        ],
        "fixed_point": {
            "levels": grid.levels,
            "values": encoded.vector.tolist(),
            "clipped": encoded.num_clipped,
        },
        "packed_20_bits": packing.pack(encoded.vector, 20).hex(),
    }


def transcript() -> dict[str, Any]:
    """Return every message of one attempt of three nodes, and the sum."""
    world = World(PARAMETERS, 3, with_identities=True, dimension=4)
    server = world.server(attempt())
    roster = world.bootstrap(server)
    shares = {n: world.told(n, roster) for n in world.ids}
    uploads = {n: ok(world.roles[n].share(shares[n])).encode() for n in world.ids}
    for node, upload in uploads.items():
        server.add_shares(node, upload)
    server.close_shares()
    server.bind_masks(binding_for())
    requests = {n: server.train_request(n).encode() for n in world.ids}
    sent = world.train(server, world.ids, binding_for())
    server.close_masked()
    unmask = server.unmask_request().encode()
    replies = {n: ok(world.roles[n].unmask(unmask)).encode() for n in world.ids}
    for node, reply in replies.items():
        server.add_unmask(node, reply)
    result = server.finish()

    def by_node(table: dict[int, bytes]) -> dict[str, str]:
        return {str(node): data.hex() for node, data in table.items()}

    return {
        "advert_request": server.advert_request().encode().hex(),
        "roster": roster.encode().hex(),
        "adverts_hash": binding.adverts_hash(roster.adverts).hex(),
        "roster_hash": binding.roster_hash(roster).hex(),
        "share_requests": by_node(shares),
        "shares": by_node(uploads),
        "train_requests": by_node(requests),
        "masked_inputs": by_node(sent),
        "unmask_request": unmask.hex(),
        "unmask_replies": by_node(replies),
        "inputs": {str(n): world.inputs[n].tolist() for n in world.ids},
        "sum": result.update.tolist(),
        "scalars": [str(value) for value in result.scalars],
    }


def failures() -> list[dict[str, str]]:
    """Return requests that node 101 of the transcript must refuse, each at a named stage."""
    found: list[dict[str, str]] = []

    def add(name: str, stage: str, data: bytes) -> None:
        reply = refuse_at(stage, data)
        found.append({"name": name, "stage": stage, "request": data.hex(), "reason": reply})

    world = World(PARAMETERS, 3, with_identities=True, dimension=4)
    roster = world.bootstrap(world.server(attempt()))

    def add_roster(name: str, shown: Roster) -> None:
        add(name, "advertised", world.told(101, shown))

    broken = messages.Advert.decode(roster.adverts[1])
    unsigned = dataclasses.replace(broken, signature=b"").encode()
    stolen = dataclasses.replace(
        messages.Advert.decode(roster.adverts[0]), commitment=bytes(32)
    ).encode()
    first, second, third = roster.adverts
    add("truncated", "advertised", world.told(101, roster)[:-1])
    add_roster("signature missing", Roster(attempt(), 3, 2, (first, unsigned, third)))
    add_roster("own advert changed", Roster(attempt(), 3, 2, (stolen, second, third)))
    add_roster("roster of two", Roster(attempt(), 2, 1, (first, second)))
    add_roster("threshold lowered", Roster(attempt(), 2, 2, roster.adverts))
    ids = tuple(world.ids)
    add(
        "unmask before masking",
        "advertised",
        UnmaskRequest(attempt(), ids, (), (), (), None).encode(),
    )
    add(
        "two survivors",
        "masked",
        UnmaskRequest(attempt(), ids[:2], ids[2:], (), (), None).encode(),
    )
    add("both shares", "masked", UnmaskRequest(attempt(), ids, ids[2:], (), (), None).encode())
    add(
        "unknown survivor",
        "masked",
        UnmaskRequest(attempt(), (*ids, 999), (), (), (), None).encode(),
    )
    add("no survivors", "masked", UnmaskRequest(attempt(), (), (), (), (), None).encode())
    return found


def refuse_at(stage: str, data: bytes) -> str:
    """Bring node 101 to a stage, hand it a request, and return the reason of its refusal."""
    world = World(PARAMETERS, 3, with_identities=True, dimension=4)
    role = world.roles[101]
    if stage == "advertised":
        world.bootstrap(world.server(attempt()))
    else:
        world.train(world.ready(attempt()), world.ids, binding_for())
    wants_unmask = data[3] == UnmaskRequest.TYPE
    return refusal_name(role.unmask(data) if wants_unmask else role.share(data))


def build() -> dict[str, Any]:
    """Return all vectors."""
    return {
        "version": 1,
        "primitives": primitives(),
        "transcript": transcript(),
        "failures": failures(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(build(), indent=1) + "\n")
