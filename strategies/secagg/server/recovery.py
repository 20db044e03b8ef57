"""Recovery at the server: rebuild and check seeds from shares, open the sum."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

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
from strategies.secagg.crypto.prg import Mask, Vector, apply_masks, reduce_modulus, word_dtype
from strategies.secagg.graph import ProtocolParameters, Shape, neighborhood
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
    """A node that dealt what does not give the secrets that it committed to."""

    def __init__(self, node: int) -> None:
        super().__init__(f"what node {node} dealt does not give its secrets")
        self.node = node


@dataclass(frozen=True)
class Members:
    """The members U1: roster hash, t, q, key agreement; each one's advert, peers and point."""

    roster: bytes
    threshold: int
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
        ids, seed = sorted(adverts), adverts_hash(roster.adverts)
        near = {
            node: frozenset(ids[member] for member in neighborhood(shape, seed, at))
            for at, node in enumerate(ids)
        }
        point = {node: at + 1 for at, node in enumerate(ids)}
        return Members(
            roster=roster_hash(roster),
            threshold=shape.threshold,
            quorum=parameters.quorum(shape),
            is_hybrid=parameters.is_hybrid,
            adverts=dict(adverts),
            near=near,
            point=point,
        )

    def met_with(
        self, node: int, survivors: Iterable[int], inputs: Mapping[int, MaskedInput]
    ) -> list[int]:
        """Return the survivors that masked with a node, in the given order."""
        near = self.near[node]
        return [s for s in survivors if s in near and node not in inputs[s].rejected]


NO_MEMBERS = Members(b"", 0, 0, False, {}, {}, {})
PairPart = Callable[[int, int], bytes]


def open_sum(
    members: Members,
    binding: bytes,
    inputs: dict[int, MaskedInput],
    replies: Mapping[int, UnmaskReply],
    dropouts: tuple[int, ...],
    pair_part: PairPart,
) -> tuple[Vector, NDArray[np.uint64]]:
    """Add the survivors' inputs and take the masks off.

    Rebuilds self-mask seeds of survivors and mask seeds of dropouts, never both of one node.

    Parameters
    ----------
    inputs : dict of int to MaskedInput
        By survivor; emptied, so that each payload can go as soon as it is added.
    replies : mapping of int to UnmaskReply
        By answering survivor. Each share is the one that its dealer dealt, by its hash.
    pair_part : callable
        From the lower and the higher node of a pair to the part of the row that brought its
        secret.

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
    first = inputs[survivors[0]]
    update = np.zeros(first.num_parameters, word_dtype(first.modulus_bits))
    scalars = np.zeros(len(first.scalars) // 8, np.uint64)
    for node in survivors:
        message = inputs.pop(node)
        add_packed(message.update, first.modulus_bits, update)
        scalars += np.frombuffer(message.scalars, "<u8")
    apply_masks((update, scalars), masks)
    reduce_modulus(update, first.modulus_bits)
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
        else KeyPair(seed, hybrid=members.is_hybrid).public == advert.mask_key
    )
    if seed is None or not good:
        raise LyingDealerError(node)
    return seed


@lru_cache(maxsize=256)
def _lagrange(points: tuple[int, ...]) -> list[int]:
    return shamir.coefficients(points)
