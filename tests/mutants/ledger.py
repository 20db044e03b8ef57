"""The ledger: what is charged, and the cap that nothing passes."""

from tests.mutants.mutation import Mutation

_FOLDER = "privacy/ledger/"
_CAPS = ("tests/privacy/ledger/test_ledger.py",)
_REFUSALS = ("tests/privacy/ledger/test_ledger_refusals.py",)


def _in(file: str, name: str, old: str, new: str, tests: tuple[str, ...]) -> Mutation:
    return Mutation(name, f"{_FOLDER}{file}.py", old, new, tests)


MUTATIONS = (
    _in(
        "budget",
        "the-cap-is-a-tenth-higher",
        "if not found <= budget.epsilon * _SLACK:",
        "if not found <= budget.epsilon * 1.1:",
        _CAPS,
    ),
    _in(
        "budget",
        "a-cost-that-is-no-number-passes",
        "if not found <= budget.epsilon * _SLACK:",
        "if found > budget.epsilon * _SLACK:",
        _CAPS,
    ),
    _in(
        "budget",
        "a-second-plan-comes-after-one-that-takes-all",
        "any(plan != first for plan in plans) or not counts.keys() <= first.keys()",
        "not counts.keys() <= first.keys()",
        _CAPS,
    ),
    _in(
        "budget",
        "earlier-charges-do-not-count",
        "counts, first = totals([*past, new]), plans[0]",
        "counts, first = totals([new]), plans[0]",
        _CAPS,
    ),
    _in(
        "budget",
        "part-of-a-plan-costs-what-it-comes-to",
        "    needed = covering(counts, plan)\n",
        "    return epsilon_of(list(counts.items()), budget.delta)\n",
        _CAPS,
    ),
    _in(
        "budget",
        "the-filter-takes-the-best-of-all-orders",
        "return epsilon_at(order, renyi_total(list(counts.items()), order), budget.delta)",
        "total = list(counts.items()); return min("
        "epsilon_at(a, renyi_total(total, a), budget.delta) for a in range(2, 200))",
        _CAPS,
    ),
    _in(
        "ledger",
        "the-first-charge-is-free",
        "    if new.budget is None or new.order is None:",
        "    if new.budget is None or not past:",
        _CAPS,
    ),
    _in(
        "ledger",
        "a-contribution-is-charged-twice",
        "if new.key in {charge.key for charge in past}:",
        "if not new.key:",
        _REFUSALS,
    ),
    _in(
        "ledger",
        "two-data-sets-share-a-ledger",
        "        self._require_dataset(past)\n",
        "",
        _REFUSALS,
    ),
    _in(
        "ledger",
        "two-units-share-a-ledger",
        "if (kept.unit, kept.neighbours) != (asked.unit, asked.neighbours):",
        "if not kept.unit:",
        _REFUSALS,
    ),
    _in(
        "rows",
        "changed-rows-are-not-noticed",
        " or heads != [(len(rows), chain)]:",
        ":",
        _REFUSALS,
    ),
    _in(
        "rows", "a-lost-table-is-made-anew", "if there != _TABLES:", "if not there:", _REFUSALS
    ),
)
