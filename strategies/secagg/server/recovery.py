"""Recovery at the server: rebuild and check seeds from shares, open the sum."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.binding import adverts_hash, roster_hash
from strategies.secagg.crypto import shamir
from strategies.secagg.crypto.keys import KeyPair, commit
from strategies.secagg.crypto.masking import dropout_masks, mask_both, survivor_masks
from strategies.secagg.crypto.prg import Vector, reduce_modulus, word_dtype
from strategies.secagg.graph import Shape, neighborhood
from strategies.secagg.messages import (
    Advert,
    MaskedInput,
    Roster,
    UnmaskReply,
)
from strategies.secagg.packing import add_packed


class RecoveryError(Exception):
    """A node with too few true shares, so that the sum stays closed."""


class LyingDealerError(RecoveryError):
    """A node whose shares, as it dealt them, do not give the seed that it committed to."""

    def __init__(self, node: int) -> None:
        super().__init__(f"the shares that node {node} dealt do not give its seed")
        self.node = node


@dataclass(frozen=True)
class Members:
    """The members U1: roster hash, t, q, and each node's advert, neighbours and point."""

    roster: bytes
    threshold: int
    quorum: int
    adverts: Mapping[int, Advert]
    near: Mapping[int, frozenset[int]]
    point: Mapping[int, int]

    @staticmethod
    def of(
        roster: Roster, shape: Shape, quorum: int, adverts: Mapping[int, Advert]
    ) -> "Members":
        """Draw the graph of a roster."""
        ids, seed = sorted(adverts), adverts_hash(roster.adverts)
        near = {
            node: frozenset(ids[member] for member in neighborhood(shape, seed, at))
            for at, node in enumerate(ids)
        }
        point = {node: at + 1 for at, node in enumerate(ids)}
        bound = roster_hash(roster)
        return Members(bound, shape.threshold, quorum, dict(adverts), near, point)


def open_sum(
    members: Members,
    binding: bytes,
    inputs: dict[int, MaskedInput],
    replies: Mapping[int, UnmaskReply],
    dropouts: tuple[int, ...],
) -> tuple[Vector, NDArray[np.uint64]]:
    """Add the survivors' inputs and take the masks off.

    Rebuilds self-mask seeds of survivors and mask seeds of dropouts, never both of one node.

    Parameters
    ----------
    inputs : dict of int to MaskedInput
        By survivor; emptied, so that each payload can go as soon as it is added.
    replies : mapping of int to UnmaskReply
        By answering survivor. Each share is the one that its dealer dealt, by its hash.

    Returns
    -------
    ndarray of shape (d,), ndarray of shape (k,)
        The sums modulo 2^b and 2^64.
    """
    survivors = sorted(inputs)
    rejected = {node: frozenset(inputs[node].rejected) for node in survivors}
    self_seeds = _seeds(members, replies, survivors, self_masks=True)
    mask_seeds = _seeds(members, replies, dropouts, self_masks=False)
    first = inputs[survivors[0]]
    update = np.zeros(first.num_parameters, word_dtype(first.modulus_bits))
    scalars = np.zeros(len(first.scalars) // 8, np.uint64)
    for node in survivors:
        message = inputs.pop(node)
        add_packed(message.update, first.modulus_bits, update)
        scalars += np.frombuffer(message.scalars, "<u8")
    mask_both(update, scalars, survivor_masks(self_seeds.items(), binding))
    for node, seed in mask_seeds.items():
        met = [
            (other, members.adverts[other].mask_key)
            for other in survivors
            if other in members.near[node] and node not in rejected[other]
        ]
        mask_both(update, scalars, dropout_masks(node, seed, met, binding))
    reduce_modulus(update, first.modulus_bits)
    return update, scalars


def _seeds(
    members: Members,
    replies: Mapping[int, UnmaskReply],
    nodes: Iterable[int],
    *,
    self_masks: bool,
) -> dict[int, bytes]:
    columns: dict[int, dict[int, bytes]] = {node: {} for node in nodes}
    for holder, reply in replies.items():
        for node, share in reply.self_shares if self_masks else reply.mask_shares:
            if node in columns and holder in members.near[node]:
                columns[node][members.point[holder]] = share
    return {n: _checked_seed(members, n, column, self_masks) for n, column in columns.items()}


def _checked_seed(
    members: Members, node: int, shares: Mapping[int, bytes], self_mask: bool
) -> bytes:
    if len(shares) < members.threshold:
        raise RecoveryError(f"{len(shares)} shares of node {node}'s seed")
    points = tuple(sorted(shares)[: members.threshold])
    advert = members.adverts[node]
    seed = shamir.combine(_lagrange(points), [shares[point] for point in points])
    good = seed is not None and (
        commit(seed) == advert.commitment
        if self_mask
        else KeyPair(seed).public == advert.mask_key
    )
    if seed is None or not good:
        raise LyingDealerError(node)
    return seed


@lru_cache(maxsize=256)
def _lagrange(points: tuple[int, ...]) -> list[int]:
    return shamir.coefficients(points)
