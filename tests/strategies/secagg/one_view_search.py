"""Search for a server's strategy that opens a sum of fewer honest inputs than promised.

``python -m tests.strategies.secagg.one_view_search --honest 3 4 5 6 7`` walks every legal
(t, T, c); with ``--off RULE`` it finds what the rule is for.

The model is one attempt on the complete graph. Colluders do whatever helps: they stand in every
U2 and U3, sign every view and give both shares of everybody. Taken out, n, t, T and c become
h = n - c honest nodes, of whom s = t - c shares open a seed, and the floor f = T - c; the
requirement 2t > n + c becomes 2s > h. So no colluder is searched for.

The server tells each node a plan (in it U2), delivers the rows of some of U2 (M: whom the node
masks with; it has rejected the others), and tells survivor sets. A node masks once, signs one
view, gives shares for one view, one share of each member of M. A node that was told another
roster can open none of these shares, and is a silent one here.

The server opens the sum over a set A of nodes with one plan if it has the self-mask seed of
each and the mask seed of each node outside A that a member of A masked with, and if the pairs
within A are mutual. All strategies are the integer points of a linear program, of which HiGHS
finds one or proves that there is none.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from tests.strategies.secagg.binary_program import Key, Program

NUM_PLANS = 3


class Rule(StrEnum):
    """A rule of the protocol (section numbers of protocol.md), to be switched off."""

    #: 5 (i): a node stands in the U3 that it signs or gives shares for.
    INSIDE = "inside"
    #: 5 (ii): it masked with all of that U3.
    MASKED = "masked"
    #: 5 (iii): that U3 has T members.
    FLOOR = "floor"
    #: 2: a node masks with T members.
    HELD = "held"
    #: 5 (iv): a node is shown q signatures. Off: it gives for any U3 that it is told.
    SIGNED = "signed"
    #: 5 (iv b): a U3 smaller than U2 needs signed views. Off: masked inputs are enough.
    CONFIRMED = "confirmed"
    #: 5 (iv a): where U3 is U2, q masked inputs are shown. Off: nothing is.
    SHOWN = "shown"
    #: 5 (iv a): inputs that rejected somebody do not count.
    WHOLE = "whole"


@dataclass(frozen=True)
class View:
    """A plan and a U3 in it; kind "a": U3 is U2, "b": it is signed, "free": for one node."""

    plan: int
    kind: str
    owner: int = 0


class Search:
    """All strategies against h honest nodes, as one program.

    Parameters
    ----------
    h, s, f : int
        Honest nodes, honest shares that open a seed, honest floor.
    off : set of Rule
        The rules that do not hold.
    """

    def __init__(self, h: int, s: int, f: int, off: Iterable[Rule] = ()) -> None:
        self.h, self.s, self.f, self.off = h, s, f, frozenset(off)
        self.program, self.nodes = Program(), range(h)
        kinds = ("a", "b")
        if Rule.SIGNED in self.off:
            self.views = [View(0, "free", i) for i in self.nodes]
        elif Rule.CONFIRMED in self.off:
            self.views = [View(q, "free", i) for q in range(NUM_PLANS) for i in self.nodes]
        else:
            self.views = [View(q, kind) for q in range(NUM_PLANS) for kind in kinds]
        self.plans = sorted({view.plan for view in self.views})
        self._tell_plans()
        for w, view in enumerate(self.views):
            self._tell_survivors(w, view)
            self._show_signatures(w, view)

    def opens(
        self, num_open: int, seconds: float = 60.0, *, few_givers: bool = False
    ) -> frozenset[Key] | None:
        """Return a strategy that opens the sum over the first nodes, or None.

        With ``few_givers`` fewer than s of them may have given shares.
        """
        p, var = self.program, self.program.var
        opened = range(num_open)
        if few_givers:
            given = [var("gives", i, w) for i in opened for w in range(len(self.views))]
            p.at_least([(gives, -1) for gives in given], 1 - self.s)
        for i in opened:
            p.fixed[var("told", i, 0)] = 1
            shares = [self._share("self", j, w, i) for j, w in self._holders()]
            p.at_least([(share, 1) for share in shares], self.s)
            for j in range(i):
                p.implies(var("met", i, j), var("met", j, i))
                p.implies(var("met", j, i), var("met", i, j))
        for j in range(num_open, self.h):
            needed = var("needed", j)
            for i in opened:
                p.implies(var("met", i, j), needed)
            p.needs(needed, [self._share("mask", i, w, j) for i, w in self._holders()], self.s)
        return p.solve(seconds)

    def _tell_plans(self) -> None:
        p, var = self.program, self.program.var
        for i in self.nodes:
            p.at_most_one(var("told", i, q) for q in self.plans)
            p.at_most_one(var("gives", i, w) for w in range(len(self.views)))
            signed = [w for w, view in enumerate(self.views) if view.kind == "b"]
            p.at_most_one(var("signs", i, w) for w in signed)
            p.fixed[var("met", i, i)] = 1
            for q in self.plans:
                p.implies(var("told", i, q), var("u2", q, i))
                for j in self.nodes:
                    p.both_imply(var("met", i, j), var("told", i, q), var("u2", q, j))
            if Rule.HELD not in self.off:
                p.at_least([(var("met", i, j), 1) for j in self.nodes], self.f)
        for q in self.plans:
            p.at_least([(var("u2", q, j), 1) for j in self.nodes], self.f)

    def _tell_survivors(self, w: int, view: View) -> None:
        p, var, is_open = self.program, self.program.var, self.program.var("open", w)
        if Rule.FLOOR not in self.off:
            p.needs(is_open, [var("u3", w, j) for j in self.nodes], self.f)
        for j in self.nodes:
            p.implies(var("u3", w, j), var("u2", view.plan, j))
            if view.kind == "a":
                p.both_imply(var("u2", view.plan, j), is_open, var("u3", w, j))
        for i in self.nodes:
            gives = var("gives", i, w)
            p.implies(gives, is_open)
            if view.kind == "free" and i != view.owner:
                p.fixed[gives] = 0
            acts = [gives]
            if view.kind == "b":
                acts.append(var("signs", i, w))
                p.implies(*acts)
            for act in acts:
                self._check_act(act, i, w, view)

    def _check_act(self, act: int, node: int, w: int, view: View) -> None:
        """State what a node asks before it signs, or gives shares for, a view."""
        p, var = self.program, self.program.var
        p.implies(act, var("told", node, view.plan))
        if Rule.INSIDE not in self.off:
            p.implies(act, var("u3", w, node))
        if Rule.MASKED not in self.off:
            for j in self.nodes:
                p.both_imply(act, var("u3", w, j), var("met", node, j))

    def _show_signatures(self, w: int, view: View) -> None:
        p, var, is_open = self.program, self.program.var, self.program.var("open", w)
        told = [var("told", i, view.plan) for i in self.nodes]
        if view.kind == "b":
            p.needs(is_open, [var("signs", i, w) for i in self.nodes], self.s)
        elif Rule.SIGNED in self.off or (view.kind == "a" and Rule.SHOWN in self.off):
            return
        elif view.kind == "free" or Rule.WHOLE in self.off:
            p.needs(is_open, told, self.s)
        else:
            whole = [var("whole", i, w) for i in self.nodes]
            for i in self.nodes:
                p.implies(whole[i], told[i])
                for j in self.nodes:
                    p.both_imply(whole[i], var("u2", view.plan, j), var("met", i, j))
            p.needs(is_open, whole, self.s)

    def _share(self, kind: str, giver: int, w: int, of: int) -> int:
        p, var = self.program, self.program.var
        share = var(kind, giver, w, of)
        p.implies(share, var("gives", giver, w))
        p.implies(share, var("met", giver, of))
        if kind == "self":
            p.implies(share, var("u3", w, of))
        else:
            terms = [(var("u2", self.views[w].plan, of), 1), (var("u3", w, of), -1)]
            p.at_least([*terms, (share, -1)], 0)
        return share

    def _holders(self) -> Iterator[tuple[int, int]]:
        for i in self.nodes:
            for w, view in enumerate(self.views):
                if view.kind != "free" or view.owner == i:
                    yield i, w


@dataclass(frozen=True)
class Strategy:
    """What the server tells, read off a solution: all by node.

    Attributes
    ----------
    opened : int
        The sum over so many, the first ones, is open.
    told : mapping
        The plan of each node that is told one.
    met : mapping
        Whom it masks with.
    cohorts, survivors : mapping
        U2 by plan, U3 by view.
    signs, gives : mapping
        The view.
    views : list of View
        By number.
    """

    opened: int
    told: Mapping[int, int]
    met: Mapping[int, frozenset[int]]
    cohorts: Mapping[int, frozenset[int]]
    survivors: Mapping[int, frozenset[int]]
    signs: Mapping[int, int]
    gives: Mapping[int, int]
    views: list[View]


def least_open(
    h: int,
    s: int,
    f: int,
    off: Iterable[Rule] = (),
    seconds: float = 60.0,
    *,
    few_givers: bool = False,
) -> Strategy | None:
    """Return a strategy that opens the least sum under the floor, or None if there is none.

    With ``few_givers``: the least sum of any size of whose inputs fewer than s nodes gave
    shares. A node that gave refuses the same query again, so that of such a sum most could be
    summed a second time, with others missing.
    """
    for num_open in range(f, h + 1) if few_givers else range(1, f):
        search = Search(h, s, f, off)
        found = search.opens(num_open, seconds, few_givers=few_givers)
        if found is not None:
            return _read(found, num_open, search.views)
    return None


def _read(found: frozenset[Key], num_open: int, views: list[View]) -> Strategy:
    def table(name: str) -> dict[int, frozenset[int]]:
        pairs = [(int(k[1]), int(k[2])) for k in found if k[0] == name]
        return {a: frozenset(b for c, b in pairs if c == a) for a, _ in pairs}

    def single(name: str) -> dict[int, int]:
        return {node: min(values) for node, values in table(name).items()}

    read = Strategy(
        num_open,
        single("told"),
        table("met"),
        table("u2"),
        table("u3"),
        single("signs"),
        single("gives"),
        views,
    )
    # The program leaves open what it does not need, such as a signature for a view not opened.
    used = {w for w in range(len(views)) if ("open", w) in found}
    signs = {i: w for i, w in read.signs.items() if w in used}
    return replace(read, signs=signs)


def legal(h: int) -> Iterator[tuple[int, int]]:
    """Yield every s and f with 2s > h and f from s to h, f at least 2."""
    for s in range(h // 2 + 1, h + 1):
        for f in range(max(2, s), h + 1):
            yield s, f


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--honest", type=int, nargs="+", default=[3, 4, 5, 6, 7])
    parser.add_argument("--off", type=Rule, nargs="*", default=[], choices=list(Rule))
    parser.add_argument("--critical", action="store_true", help="the least legal t = T only")
    parser.add_argument(
        "--few-givers", action="store_true", help="sums of which fewer than t - c gave shares"
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="for one program")
    args = parser.parse_args()
    num_open = 0
    for h in args.honest:
        for s, f in legal(h):
            if args.critical and (s, f) != (h // 2 + 1, max(2, h // 2 + 1)):
                continue
            found = least_open(h, s, f, args.off, args.seconds, few_givers=args.few_givers)
            word = "none" if found is None else f"opens {found.opened}"
            num_open += found is not None
            print(f"n-c={h} t-c={s} T-c={f}: {word}", flush=True)
    return 1 if num_open else 0


if __name__ == "__main__":
    raise SystemExit(main())
