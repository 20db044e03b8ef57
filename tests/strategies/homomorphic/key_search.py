"""Search for a server's strategy that learns something of keys beside one sum of them.

``python -m tests.strategies.homomorphic.key_search --members 3 4 5 6`` walks every legal (t, c)
and every strategy; with ``--off RULE`` it finds what the rule is for.

The model is one attempt, and then two over the same model. Each honest member has dealt a
polynomial of degree below t with l entries of its key. Colluders know their own keys, hold a
share of each other member's, and sign and answer whatever helps. Of the honest members the
server has answers: each one share of a sum, over survivors that the rules let it be told. All
of that are linear maps of the polynomials' coefficients, so what the server learns of the
entries is a matter of ranks: `learned` returns all linear forms of entries that it can compute.
Legal are those of **one** sum, over at least T - c honest members. What may be told is
enumerated; more answers never teach less, and so everybody answers whom the rules do not keep
from it.

Two attempts have independent keys, and encrypt the same updates: a part of a sum of each is one
sum too many. A node answers in one of them.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, product

import numpy as np

from strategies.secagg.crypto.packed import PRIME, interpolation

Nodes = frozenset[int]


class Rule(StrEnum):
    """A rule, to be switched off."""

    #: l = 2t - n - c entries in a polynomial. Off: t - c, which hides a key from c colluders.
    PACKED = "packed"
    #: A node answers for U3 = U2, or for a U3 that it and q in all have signed. Off: for any.
    SIGNED = "signed"
    #: A node answers once.
    ONCE = "once"
    #: 2t > n + c, so that no two quorums are of different honest nodes.
    QUORUM = "quorum"
    #: U3 has T members.
    FLOOR = "floor"
    #: A node stands in the U3 that it signs and answers for. Within one attempt nothing is
    #: learned without it; it is asked for the sake of the next one over the same model.
    INSIDE = "inside"
    #: Of two attempts a node closes the one that it knew first, the same one at all nodes. Off:
    #: each node takes them in an order of its own.
    ORDER = "order"


@dataclass(frozen=True)
class Numbers:
    """n, c and t, where T is t, and l; members are 1 to n, the last c collude."""

    n: int
    c: int
    t: int
    num_packed: int

    @staticmethod
    def of(n: int, c: int, t: int, off: Iterable[Rule] = ()) -> "Numbers":
        most = t - c if Rule.PACKED in off else 2 * t - n - c
        return Numbers(n, c, t, max(1, min(most, t - 1)))

    @property
    def honest(self) -> range:
        return range(1, self.n - self.c + 1)

    @property
    def colluders(self) -> range:
        return range(self.n - self.c + 1, self.n + 1)


#: What each honest member answers for: honest members of the sums.
Answers = dict[int, list[Nodes]]


def values_at(numbers: Numbers, point: int) -> list[int]:
    """Return a polynomial's value at a point, as a form of t - l drawn values and l entries."""
    drawn = numbers.t - numbers.num_packed
    nodes = (*range(1, drawn + 1), *range(-1, -numbers.num_packed - 1, -1))
    if point in nodes:
        return [int(node == point) for node in nodes]
    return interpolation(nodes, (point,))[0].tolist()


@dataclass(frozen=True)
class Seen:
    """What the server and colluders see: forms of drawn values and entries, by honest member.

    Attributes
    ----------
    sources : list of (int, frozenset)
        The member whose share it is, and of whose sum.
    drawn, entries : ndarray of shape (seen, h (t - l)), ndarray of shape (seen, h l), object
        The forms.
    """

    sources: list[tuple[int, Nodes]]
    drawn: np.ndarray
    entries: np.ndarray


def seen(numbers: Numbers, answers: Answers) -> Seen:
    sources = [(i, chosen) for i, sets in answers.items() for chosen in sets]
    sources += [(i, frozenset({j})) for i in numbers.colluders for j in numbers.honest]
    split = numbers.t - numbers.num_packed
    rows = []
    for point, chosen in sources:
        value = values_at(numbers, point)
        nothing = [0] * numbers.t
        rows.append([value if j in chosen else nothing for j in numbers.honest])
    table = np.array(rows, object).reshape(len(sources), len(numbers.honest), numbers.t)
    flat = len(sources), -1
    return Seen(sources, table[:, :, :split].reshape(flat), table[:, :, split:].reshape(flat))


def reduced(matrix: np.ndarray, num_columns: int) -> tuple[np.ndarray, int]:
    """Return the rows after elimination in the first columns, and the rank there."""
    rows, rank = matrix.copy(), 0
    for column in range(num_columns):
        found = np.flatnonzero(rows[rank:, column])
        if not len(found):
            continue
        rows[[rank, rank + found[0]]] = rows[[rank + found[0], rank]]
        rows[rank] = rows[rank] * pow(int(rows[rank, column]), -1, PRIME) % PRIME
        others = np.arange(len(rows)) != rank
        rows[others] = (rows[others] - np.outer(rows[others, column], rows[rank])) % PRIME
        rank += 1
        if rank == len(rows):
            break
    return rows, rank


def learned(view: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Return the forms of entries that can be computed, and from which of what is seen.

    Shapes (forms, h l) and (forms, seen).
    """
    count = len(view.sources)
    table = np.concatenate([view.drawn, view.entries, np.eye(count, dtype=object)], axis=1)
    width = view.drawn.shape[1]
    rows, rank = reduced(table, width)
    rest = rows[rank:]
    forms, from_seen = rest[:, width:-count], rest[:, -count:]
    telling = (forms != 0).any(axis=1)
    return forms[telling], from_seen[telling]


def is_of_one_sum(numbers: Numbers, forms: np.ndarray, least: int) -> bool:
    """Say whether forms of entries are forms of one sum over enough members."""
    if not len(forms):
        return True
    table = forms.reshape(len(forms), len(numbers.honest), numbers.num_packed)
    members = (table != 0).any(axis=(0, 2))
    inside = table[:, members]
    return int(members.sum()) >= least and bool((inside == inside[:, :1]).all())


def subsets(of: Iterable[int], least: int) -> Iterator[Nodes]:
    items = sorted(of)
    for size in range(least, len(items) + 1):
        yield from map(frozenset, combinations(items, size))


def strategies(numbers: Numbers, off: Iterable[Rule] = ()) -> Iterator[Answers]:
    """Yield what honest members can be brought to answer for."""
    off, honest = frozenset(off), set(numbers.honest)
    floor = 1 if Rule.FLOOR in off else max(1, numbers.t - numbers.c)
    quorum = numbers.t - numbers.c
    legal = list(subsets(honest, floor))
    if Rule.SIGNED in off:
        choices = [[s for s in legal if i in s] or [frozenset[int]()] for i in honest]
        for told in product(*choices):
            yield {i: [s] for i, s in zip(honest, told, strict=True) if s}
        return
    for cohort in legal:
        # Whoever shared is U2. Of those who sign a smaller U3 all answer for it, others for U2.
        may = honest if Rule.INSIDE in off else cohort
        yield {i: [cohort] for i in may}
        for survivors in subsets(cohort, floor):
            for signers in subsets(may if Rule.INSIDE in off else survivors, quorum):
                if Rule.ONCE in off:
                    yield {i: [cohort] + [survivors] * (i in signers) for i in may}
                else:
                    yield {i: [survivors if i in signers else cohort] for i in may}


def attack(numbers: Numbers, off: Iterable[Rule] = ()) -> Answers | None:
    """Return a strategy that learns more than one legal sum, or None."""
    least = max(1, numbers.t - numbers.c)
    for answers in strategies(numbers, off):
        forms, _ = learned(seen(numbers, answers))
        if not is_of_one_sum(numbers, forms, least):
            return answers
    return None


def halves(numbers: Numbers, off: Iterable[Rule] = ()) -> Iterator[tuple[Nodes, Nodes]]:
    """Yield which honest members answer in the first, and which in the second attempt."""
    honest, off = frozenset(numbers.honest), frozenset(off)
    if off & {Rule.ORDER, Rule.INSIDE}:
        # Without an order all contribute to both, and answer in either. Without INSIDE a node
        # answers in the second though it has not contributed there.
        yield from ((honest - second, second) for second in subsets(honest, 1))
        return
    # Whoever has contributed to the second has closed the first; q must have, or nobody is
    # shown that the others have its view.
    for second in subsets(honest, max(1, numbers.t - numbers.c)):
        yield honest - second, second


def attack_twice(numbers: Numbers, off: Iterable[Rule] = ()) -> tuple[Nodes, Nodes] | None:
    """Return who answers in each of two attempts so that both tell of their keys, or None."""
    told: dict[Nodes, bool] = {}
    for both in halves(numbers, off):
        for nodes in both:
            if nodes not in told:
                told[nodes] = _tell(numbers, nodes, off)
        if all(told[nodes] for nodes in both):
            return both
    return None


def _tell(numbers: Numbers, nodes: Nodes, off: Iterable[Rule]) -> bool:
    """Say whether anything is learned of a sum when these members answer, and no others."""
    for answers in strategies(numbers, off):
        given = {i: sets for i, sets in answers.items() if i in nodes}
        if given and len(learned(seen(numbers, given))[0]):
            return True
    return False


def legal(n: int, off: Iterable[Rule] = ()) -> Iterator[tuple[int, int]]:
    """Yield every c and t of a roster of n, with at least two honest members."""
    for c in range(n - 1):
        for t in range(max(2, c + 1), n + 1):
            if 2 * t > n + c or Rule.QUORUM in off:
                yield c, t


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--off", type=Rule, nargs="*", default=[], choices=list(Rule))
    args = parser.parse_args()
    num_found = 0
    for n in args.members:
        for c, t in legal(n, args.off):
            numbers = Numbers.of(n, c, t, args.off)
            found = attack(numbers, args.off) or attack_twice(numbers, args.off)
            word = "none" if found is None else f"learns by {found}"
            num_found += found is not None
            print(f"n={n} c={c} t={t} l={numbers.num_packed}: {word}", flush=True)
    return 1 if num_found else 0


if __name__ == "__main__":
    raise SystemExit(main())
