"""What a malicious server has learnt, computed from what it has received.

The spy counts shares. A seed is known once t holders gave a share of it; a colluding
client's shares (it holds both of everyone) and seeds count from the start. A set of honest
inputs is open if every mask on their sum can be removed: all their self masks, and each
pairwise mask that does not cancel inside the set.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import combinations
from typing import Protocol

import numpy as np

from strategies.secagg.crypto import shamir
from strategies.secagg.crypto.hybrid import hash_part, open_pair_secret, pair_secret
from strategies.secagg.crypto.keys import KeyPair
from strategies.secagg.crypto.masking import (
    Met,
    dropout_masks,
    survivor_masks,
)
from strategies.secagg.crypto.prg import apply_masks, reduce_modulus, word_dtype
from strategies.secagg.messages import MaskedInput, UnmaskReply
from strategies.secagg.packing import add_packed


class Told(Protocol):
    """What a node was told of an attempt: whom it masks with, under which mask binding."""

    @property
    def held(self) -> Collection[int]: ...

    @property
    def binding(self) -> bytes: ...


@dataclass
class Spy:
    """The server's knowledge of one attempt on the complete graph."""

    members: tuple[int, ...]
    threshold: int
    colluders: frozenset[int] = frozenset()
    opened: dict[int, Told] = field(default_factory=dict)
    inputs: dict[int, MaskedInput] = field(default_factory=dict)
    # From the ends of a pair to the part of the row that brought its secret; hybrid then.
    parts: Callable[[int, int], bytes] | None = None
    roster: bytes = b""
    told_seeds: dict[tuple[str, int], bytes] = field(default_factory=dict)
    shares: dict[str, dict[int, dict[int, bytes]]] = field(
        default_factory=lambda: {"self": defaultdict(dict), "mask": defaultdict(dict)}
    )

    def saw_input(self, node: int, opened: Told, message: MaskedInput) -> None:
        assert node not in self.inputs, "two masked inputs under one attempt's keys"
        self.opened[node], self.inputs[node] = opened, message

    def saw_shares(self, holder: int, reply: UnmaskReply) -> None:
        for kind, table in (("self", reply.self_shares), ("mask", reply.mask_shares)):
            for node, share in table:
                other = "mask" if kind == "self" else "self"
                assert holder not in self.shares[other][node], "both shares of one node"
                self.shares[kind][node][self.members.index(holder) + 1] = share
                self.shares[kind][node].setdefault(holder, share)

    def knows(self, kind: str, node: int) -> bool:
        if node in self.colluders:
            return True
        holders = {h for h in self.shares[kind][node] if h in self.members}
        return len(holders | self.colluders) >= self.threshold

    def open_sets(self) -> list[frozenset[int]]:
        """Return every set of honest inputs whose sum the server can compute."""
        honest = [node for node in self.inputs if node not in self.colluders]
        return [
            frozenset(chosen)
            for size in range(1, len(honest) + 1)
            for chosen in combinations(honest, size)
            if self._is_open(frozenset(chosen))
        ]

    def _is_open(self, chosen: frozenset[int]) -> bool:
        for node in chosen:
            if not self.knows("self", node):
                return False
            mine = self.opened[node]
            for peer in mine.held:
                if peer == node:
                    continue
                cancels = (
                    peer in chosen
                    and node in self.opened[peer].held
                    and self.opened[peer].binding == mine.binding
                )
                removable = self.knows("mask", node) or self.knows("mask", peer)
                if not (cancels or removable):
                    return False
        return True

    def seed(self, kind: str, node: int) -> bytes | None:
        """Return a seed from its shares, or of a colluder that has told it."""
        if (kind, node) in self.told_seeds:
            return self.told_seeds[kind, node]
        points = {p: s for p, s in self.shares[kind][node].items() if p <= len(self.members)}
        chosen = sorted(points)[: self.threshold]
        if len(chosen) < self.threshold:
            return None
        return shamir.combine(shamir.coefficients(chosen), [points[p] for p in chosen])

    def unmask_one(self, node: int, mask_keys: dict[int, bytes], bits: int) -> np.ndarray:
        """Take every mask off one input that the recovered seeds allow, as the server would."""
        return self.unmask_sum(frozenset({node}), mask_keys, bits)[0]

    def unmask_sum(
        self, chosen: frozenset[int], mask_keys: dict[int, bytes], bits: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take every mask off the sum of some inputs that the recovered seeds allow.

        Returns vector and scalars; of a sum that is open, the last scalar is how many it is
        over.
        """
        first = self.inputs[min(chosen)]
        vector = np.zeros(first.num_parameters, word_dtype(bits))
        scalars = np.zeros(len(first.scalars) // 8, np.uint64)
        for node in sorted(chosen):
            add_packed(self.inputs[node].update, bits, vector)
            scalars += np.frombuffer(self.inputs[node].scalars, "<u8")
            apply_masks((vector, scalars), self._removable(node, chosen, mask_keys))
        reduce_modulus(vector, bits)
        return vector, scalars

    def _removable(self, node: int, chosen: frozenset[int], mask_keys: dict[int, bytes]):
        mine = self.opened[node]
        own, mask_seed = self.seed("self", node), self.seed("mask", node)
        if own is not None:
            yield from survivor_masks([(node, own)], mine.binding)
        for peer in set(mine.held) - chosen:
            other = self.seed("mask", peer)
            if other is not None:
                pair, met = self._pair(peer, other, node, mask_keys)
                yield from dropout_masks(peer, pair, [met], mine.binding)
            elif mask_seed is not None:
                pair, met = self._pair(node, mask_seed, peer, mask_keys)
                assert pair.public == mask_keys[node]
                masks = dropout_masks(node, pair, [met], mine.binding)
                # Seen from the peer the sign is the other way round.
                yield from ((key, not add) for key, add in masks)

    def _pair(
        self, known: int, seed: bytes, other: int, mask_keys: dict[int, bytes]
    ) -> tuple[KeyPair, Met]:
        """Return what gives the mask of a pair, from the mask seed of one of both."""
        pair = KeyPair(seed, hybrid=self.parts is not None)
        ends = min(known, other), max(known, other)
        part = self.parts(*ends) if self.parts else b""
        if known == ends[0] and self.parts:
            secret = pair_secret(seed, self.roster, ends)
        else:
            secret = open_pair_secret(pair, part, self.roster, ends)
        assert secret is not None
        return pair, Met(other, mask_keys[other], secret, hash_part(part))
