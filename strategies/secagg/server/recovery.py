"""Recovery at the server: rebuild and check seeds from shares, open the sum."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.binding import adverts_hash, roster_hash
from strategies.secagg.crypto import shamir
from strategies.secagg.crypto.hybrid import (
    hash_part,
    is_pair_secret,
    open_pair_secret,
    pair_secret,
)
from strategies.secagg.crypto.keys import KeyPair, commit
from strategies.secagg.crypto.masking import (
    Met,
    dropout_masks,
    survivor_masks,
)
from strategies.secagg.crypto.prg import Mask, Vector, apply_masks, reduce_modulus
from strategies.secagg.graph import ProtocolParameters, Shape, neighborhoods
from strategies.secagg.messages import (
    Advert,
    EncryptedInput,
    MaskedInput,
    Roster,
    UnmaskReply,
)
from strategies.secagg.server.masked_sum import MaskedSum


class RecoveryError(Exception):
    """A node with too few true shares, so that the sum stays closed."""


class LyingDealerError(RecoveryError):
    """A node that dealt what does not give the secrets that it committed to."""

    def __init__(self, node: int) -> None:
        super().__init__(f"what node {node} dealt does not give its secrets")
        self.node = node


@dataclass(frozen=True)
class Members:
    """The members U1: roster hash, graph, q, key agreement; each's advert, peers and point."""

    roster: bytes
    shape: Shape
    quorum: int
    is_hybrid: bool
    adverts: Mapping[int, Advert]
    near: Mapping[int, frozenset[int]]
    point: Mapping[int, int]

    @staticmethod
    def of(
        roster: Roster,
        shape: Shape,
        parameters: ProtocolParameters,
        adverts: Mapping[int, Advert],
    ) -> "Members":
        """Draw the graph of a roster."""
        ids = sorted(adverts)
        around = neighborhoods(shape, adverts_hash(roster.adverts), ids)
        point = {node: at + 1 for at, node in enumerate(ids)}
        return Members(
            roster=roster_hash(roster),
            shape=shape,
            quorum=parameters.quorum(shape),
            is_hybrid=parameters.is_hybrid,
            adverts=dict(adverts),
            near=dict(zip(ids, around, strict=True)),
            point=point,
        )

    @property
    def threshold(self) -> int:
        """t: the shares that rebuild a seed."""
        return self.shape.threshold

    def met_with(
        self,
        node: int,
        survivors: Iterable[int],
        inputs: Mapping[int, MaskedInput] | Mapping[int, MaskedInput | EncryptedInput],
    ) -> list[int]:
        """Return the survivors that masked with a node, in the given order."""
        near = self.near[node]
        return [s for s in survivors if s in near and node not in inputs[s].rejected]


NO_MEMBERS = Members(b"", Shape(0, 0, 0), 0, False, {}, {}, {})
PairPart = Callable[[int, int], bytes]


def open_sum(
    members: Members,
    binding: bytes,
    inputs: Mapping[int, MaskedInput],
    replies: Mapping[int, UnmaskReply],
    dropouts: tuple[int, ...],
    pair_part: PairPart,
    total: MaskedSum,
) -> tuple[Vector, NDArray[np.uint64]]:
    """Take the masks off the sum of the survivors' inputs.

    Rebuilds self-mask seeds of survivors and mask seeds of dropouts, never both of one node.

    Parameters
    ----------
    inputs : mapping of int to MaskedInput
        By survivor, for the peers that each rejected.
    replies : mapping of int to UnmaskReply
        By answering survivor. Each share is the one that its dealer dealt, by its hash.
    pair_part : callable
        From the lower and the higher node of a pair to the part of the row that brought its
        secret.
    total : MaskedSum
        The sum of exactly these inputs.

    Returns
    -------
    ndarray of shape (d,), ndarray of shape (k,)
        The sums modulo 2^b and 2^64.
    """
    survivors = sorted(inputs)
    self_seeds = _seeds(members, replies, survivors, self_masks=True)
    mask_seeds = _seeds(members, replies, dropouts, self_masks=False)
    masks = list(survivor_masks(self_seeds.items(), binding))
    for gone, seed in mask_seeds.items():
        met = members.met_with(gone, survivors, inputs)
        masks += _dropout_masks(members, gone, seed, met, pair_part, binding)
    update, scalars = total.opened()
    apply_masks((update, scalars), masks)
    reduce_modulus(update, total.modulus_bits)
    return update, scalars


def _dropout_masks(
    members: Members,
    gone: int,
    seed: bytes,
    met: Iterable[int],
    pair_part: PairPart,
    binding: bytes,
) -> Iterator[Mask]:
    """Return the masks of a dropout with those who masked with it."""
    pair = KeyPair(seed, hybrid=members.is_hybrid)
    peers: list[Met] = []
    for node in met:
        ends = (min(gone, node), max(gone, node))
        part = pair_part(*ends)
        secret = _pair_secret(members, pair, seed, gone, ends, part)
        if secret is None:
            # The part is the lower node's, under its signature; the other one's key is true.
            raise LyingDealerError(ends[0])
        peers.append(Met(node, members.adverts[node].mask_key, secret, hash_part(part)))
    return dropout_masks(gone, pair, peers, binding)


def _pair_secret(
    members: Members, pair: KeyPair, seed: bytes, gone: int, ends: tuple[int, int], part: bytes
) -> bytes | None:
    """Return K of a pair from a dropout's mask seed; None if the lower node sent another."""
    if not members.is_hybrid:
        return None if part else b""
    if gone == ends[1]:
        return open_pair_secret(pair, part, members.roster, ends)
    secret = pair_secret(seed, members.roster, ends)
    return secret if is_pair_secret(secret, part, members.roster, ends) else None


def _seeds(
    members: Members,
    replies: Mapping[int, UnmaskReply],
    nodes: Iterable[int],
    *,
    self_masks: bool,
) -> dict[int, bytes]:
    columns: dict[int, dict[int, bytes]] = {node: {} for node in nodes}
    for holder, reply in replies.items():
        point, near = members.point[holder], members.near[holder]
        for node, share in reply.self_shares if self_masks else reply.mask_shares:
            if node in columns and node in near:
                columns[node][point] = share
    enough = {n: column for n, column in columns.items() if len(column) >= members.threshold}
    seeds: dict[int, bytes] = {}
    parted = blocks(enough, members.threshold)
    # The sets overlap: what is the same for all of them is computed once.
    answered = tuple(sorted(set[int]().union(*(points for points, _ in parted))))
    for points, block in parted:
        lagrange = _lagrange(points, answered)
        for node in block:
            shares = [columns[node][point] for point in points]
            seeds[node] = _checked_seed(members, node, lagrange, shares, self_masks)
    for node, column in columns.items():
        if node not in seeds:
            raise RecoveryError(f"{len(column)} shares of node {node}'s seed")
    return {node: seeds[node] for node in columns}


def blocks(
    columns: Mapping[int, Collection[int]], threshold: int
) -> list[tuple[tuple[int, ...], list[int]]]:
    """Part nodes into blocks with the same t points, for the coefficients of all in one go.

    On a sparse graph each node's seed is shared with others, and their number is what the
    coefficients cost: its square for each set of points. Neighbourhoods on a ring overlap.

    Parameters
    ----------
    columns : mapping of int to collection of int
        By node, the points of those who gave a share of its seed, at least t.
    threshold : int
        t.

    Returns
    -------
    list of (tuple of int, list of int)
        t points, ascending, that all nodes of a block have; and the block.
    """
    # A set of points is an integer with a bit for each. Each node joins the block with which it
    # has most points in common, if those are t.
    common: list[int] = []
    found: list[list[int]] = []
    for node, points in columns.items():
        own = sum(1 << point for point in points)
        sizes = [(block & own).bit_count() for block in common]
        at = max(range(len(sizes)), key=sizes.__getitem__, default=0)
        if sizes and sizes[at] >= threshold:
            common[at] &= own
            found[at].append(node)
        else:
            common.append(own)
            found.append([node])
    return [
        (_lowest(mask, threshold), block) for mask, block in zip(common, found, strict=True)
    ]


def _lowest(mask: int, number: int) -> tuple[int, ...]:
    return tuple(islice((at for at in range(mask.bit_length()) if mask >> at & 1), number))


def _checked_seed(
    members: Members, node: int, lagrange: list[int], shares: list[bytes], self_mask: bool
) -> bytes:
    advert = members.adverts[node]
    seed = shamir.combine(lagrange, shares)
    good = seed is not None and (
        commit(seed) == advert.commitment
        if self_mask
        else KeyPair(seed, hybrid=members.is_hybrid).public == advert.mask_key
    )
    if seed is None or not good:
        raise LyingDealerError(node)
    return seed


@lru_cache(maxsize=256)
def _lagrange(points: tuple[int, ...], answered: tuple[int, ...]) -> list[int]:
    """Return the coefficients for t points among all those of which some are taken."""
    # Where few of many are taken, as on a sparse graph, each set costs less by itself.
    if points == answered or len(answered) > 2 * len(points):
        return shamir.coefficients(points)
    return shamir.coefficients_of_part(points, answered, _lagrange(answered, answered))
