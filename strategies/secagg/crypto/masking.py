"""Masks of an input and of a sum: which keys, which signs.

Bonawitz et al. 2017, section 4: node i adds its self mask, adds the mask it shares with
every neighbour of higher id and subtracts that of every neighbour of lower id.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.crypto.keys import KeyPair, pair_mask_keys, self_mask_keys
from strategies.secagg.crypto.prg import Vector, apply_masks

_BATCH = 256
# The keys of the two segments, and whether their keystreams are added.
Mask = tuple[bytes, bytes, bool]


def mask_both(update: Vector, scalars: NDArray[np.uint64], masks: Iterable[Mask]) -> None:
    """Apply masks to both segments in place; keys are made while they are used."""
    todo = iter(masks)
    while batch := list(islice(todo, _BATCH)):
        apply_masks(update, [(key, add) for key, _, add in batch])
        apply_masks(scalars, [(key, add) for _, key, add in batch])


def input_masks(
    node_id: int,
    seeds: tuple[bytes, bytes],
    peers: Iterable[tuple[int, bytes]],
    binding: bytes,
) -> Iterator[Mask]:
    """Yield the masks that one node puts on its input.

    `seeds` are its mask seed and self-mask seed, `peers` the ids and mask public keys of
    the neighbours whose shares it holds.
    """
    mask_seed, self_seed = seeds
    yield *self_mask_keys(self_seed, binding, node_id), True
    pair = KeyPair(mask_seed)
    for peer, public_key in peers:
        keys = pair_mask_keys(pair.agree(public_key), binding, node_id, peer)
        yield *keys, node_id < peer


def survivor_masks(self_seeds: Iterable[tuple[int, bytes]], binding: bytes) -> Iterator[Mask]:
    """Yield the masks that remove the survivors' self masks from the sum."""
    for node_id, self_seed in self_seeds:
        yield *self_mask_keys(self_seed, binding, node_id), False


def dropout_masks(
    dropout: int, mask_seed: bytes, survivors: Iterable[tuple[int, bytes]], binding: bytes
) -> Iterator[Mask]:
    """Yield the masks that remove one dropout's pairwise masks from the sum.

    `survivors` are the ids and mask public keys of those that masked with the dropout.
    """
    pair = KeyPair(mask_seed)
    for survivor, public_key in survivors:
        keys = pair_mask_keys(pair.agree(public_key), binding, dropout, survivor)
        # The survivor added it where its id is the lower one.
        yield *keys, survivor > dropout
