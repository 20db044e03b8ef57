"""Masks of an input and of a sum: which keys, which signs.

Bonawitz et al. 2017, section 4: node i adds its self mask, adds the mask it shares with
every neighbour of higher id and subtracts that of every neighbour of lower id.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from strategies.secagg.crypto.keys import KeyPair, pair_mask_keys, self_mask_key
from strategies.secagg.crypto.prg import Mask


class Met(NamedTuple):
    """A node that a pairwise mask is shared with.

    `public` begins with its X25519 mask key; `secret` is K of the pair, empty if classical;
    `part_hash` is of the part of a row that brought K (`hybrid.hash_part`).
    """

    node_id: int
    public: bytes
    secret: bytes
    part_hash: bytes


def input_masks(
    node_id: int, pair: KeyPair, self_seed: bytes, peers: Iterable[Met], binding: bytes
) -> Iterator[Mask]:
    """Yield the masks that one node puts on its input.

    `pair` are its mask keys, `peers` the neighbours whose shares it holds.
    """
    yield self_mask_key(self_seed, binding, node_id), True
    key_of = _pair_keys(node_id, pair, binding)
    for peer in peers:
        yield key_of(peer), node_id < peer.node_id


def survivor_masks(self_seeds: Iterable[tuple[int, bytes]], binding: bytes) -> Iterator[Mask]:
    """Yield the masks that remove the survivors' self masks from the sum."""
    for node_id, self_seed in self_seeds:
        yield self_mask_key(self_seed, binding, node_id), False


def dropout_masks(
    dropout: int, pair: KeyPair, survivors: Iterable[Met], binding: bytes
) -> Iterator[Mask]:
    """Yield the masks that remove one dropout's pairwise masks from the sum.

    `pair` are the dropout's mask keys, `survivors` those that masked with it.
    """
    key_of = _pair_keys(dropout, pair, binding)
    for survivor in survivors:
        # The survivor added it where its id is the lower one.
        yield key_of(survivor), survivor.node_id > dropout


def _pair_keys(node_id: int, pair: KeyPair, binding: bytes) -> Callable[[Met], bytes]:
    key_of = pair_mask_keys(binding)

    def key(met: Met) -> bytes:
        secret = pair.agree(met.public) + met.secret
        return key_of(secret, met.part_hash, node_id, met.node_id)

    return key
