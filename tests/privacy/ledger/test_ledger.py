"""The node's ledger: what was charged, and the cap that nothing passes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.epsilon import epsilon
from privacy.ledger.budget import check, covering
from privacy.ledger.ledger import Budget, Ledger, LedgerError, OverBudgetError
from privacy.plan.release import Release
from tests.privacy.ledger.ledger_kit import (
    DELTA,
    LARGE,
    OTHER,
    PLAN,
    RELEASE,
    charge,
    epsilon_of,
    num_accepted,
)

METRICS = replace(RELEASE, noise_scale=90 * 2.0**30, dimension=3)


def test_a_run_whose_plan_is_the_cap_is_all_accepted_and_nothing_more(ledger):
    """Equal to what was planned, by the run's own accountant, to the last digit."""
    whole = epsilon_of(PLAN)
    assert num_accepted(ledger, Budget(whole, DELTA)) == 10
    spent = ledger.spent(DELTA)
    assert spent.epsilon == whole
    assert (spent.num_charges, spent.num_runs, spent.dataset) == (10, 1, "heart")
    (run,) = ledger.runs(DELTA)
    assert run.epsilon == run.planned_epsilon == whole
    assert run.accountant == spent.accountant == "PLD"


def test_a_plan_that_takes_all_leaves_nothing_to_another(ledger):
    """To turn from the plan's own accountant to the filter would cost another delta."""
    budget = Budget(epsilon_of(PLAN), DELTA)
    charge(ledger, budget=budget)
    for plan in ([(OTHER, 1)], [(RELEASE, 9)]):
        with pytest.raises(OverBudgetError, match=r"first plan.*raise max_epsilon"):
            charge(ledger, run=2, release=plan[0][0], plan=plan, budget=budget)
    # The same run resumed: another id, the same parameters.
    assert num_accepted(ledger, budget, run=2) == 9
    assert ledger.spent(DELTA).epsilon == budget.epsilon
    # What the owner raises, everyone may use.
    charge(ledger, run=3, release=OTHER, plan=[(OTHER, 1)], budget=Budget(9.0, DELTA))


def test_what_is_held_is_told_of_a_file_that_is_only_read(ledger):
    # By the accountant of fixed parameters, at a delta that it was never asked about.
    cap = Budget(epsilon_of(PLAN), DELTA)
    charge(ledger, budget=cap)
    assert ledger.held(cap) == pytest.approx(cap.epsilon)
    whole = epsilon(PLAN, DELTA / 3)
    assert ledger.held(Budget(1.001 * whole, DELTA / 3)) == pytest.approx(whole)


def test_the_cap_cuts_off_a_plan_that_is_over_it(ledger):
    budget = Budget(epsilon_of([(RELEASE, 4)]), DELTA)
    assert num_accepted(ledger, budget) == 4
    with pytest.raises(OverBudgetError, match=r"epsilon=.* over its max_epsilon=.* raise"):
        charge(ledger, number=4, budget=budget)
    assert ledger.spent(DELTA).epsilon == pytest.approx(budget.epsilon, rel=1e-12)


def test_a_first_charge_over_the_cap_is_refused(ledger):
    with pytest.raises(OverBudgetError, match="over its max_epsilon"):
        charge(ledger, budget=Budget(epsilon_of([(RELEASE, 1)]) * 0.99, DELTA))
    charge(ledger, budget=Budget(epsilon_of([(RELEASE, 1)]), DELTA))


def test_a_cost_that_is_no_number_is_refused():
    budget = Budget(epsilon_of(PLAN) * 1.01, DELTA)
    terms = {"plans": [dict(PLAN)], "budget": budget, "order": 64}
    check([], [(RELEASE, 1)], epsilon_of=lambda *_: 0.1, **terms)
    with pytest.raises(OverBudgetError):
        check([], [(RELEASE, 1)], epsilon_of=lambda *_: float("nan"), **terms)


def test_runs_with_other_parameters_share_the_cap_by_the_filter(ledger):
    from privacy.accounting.epsilon import epsilon_at, renyi_total

    budget = Budget(1.5, DELTA)
    assert num_accepted(ledger, budget, most=10) == 10
    more = num_accepted(ledger, budget, run=2, release=OTHER, plan=[(OTHER, 500)])
    assert 20 < more < 60
    spent = ledger.spent(DELTA)
    assert spent.accountant.startswith("RDP filter of order ")
    order = int(spent.accountant.split()[-1])
    everything = [(RELEASE, 10), (OTHER, more)]
    assert spent.epsilon == epsilon_at(order, renyi_total(everything, order), DELTA) <= 1.5
    everything[1] = (OTHER, more + 1)
    assert epsilon_at(order, renyi_total(everything, order), DELTA) > 1.5
    # The order is near the best one for a single release.
    assert epsilon_of(everything) > 0.85 * 1.5


def test_the_filter_keeps_to_its_one_order():
    """Another order would do: to take it after the fact is what the theorem forbids."""
    new = [(RELEASE, 20)]
    terms = {"plans": [dict(PLAN)], "budget": Budget(1.5, DELTA), "epsilon_of": epsilon_of}
    check([], new, order=22, **terms)
    with pytest.raises(OverBudgetError):
        check([], new, order=64, **terms)


def test_what_was_charged_before_is_read_as_it_was_and_told_by_the_accountant_of_now(ledger):
    """A release as ledgers held it when integer noise was accounted for by RDP alone."""
    old = Release.from_dict(
        {
            "unit": "example",
            "neighbours": "add or remove one record",
            "mechanism": "distributed_discrete_gaussian",
            "l1_sensitivity": 4096.0,
            "l2_sensitivity": 1024.0,
            "noise_scale": 20480.0,
            "num_shares": 2,
            "dimension": 16,
            "sampling_rate": 0.5,
            "num_steps": 1,
        }
    )
    plan = [(old, 10)]
    assert num_accepted(ledger, Budget(epsilon_of(plan), DELTA), release=old, plan=plan) == 10
    spent = ledger.spent(DELTA)
    assert (spent.accountant, spent.epsilon) == ("PLD", epsilon_of(plan))


def test_repeated_attempts_are_charged_and_held_against_the_cap(ledger):
    charge(ledger, attempt=None)
    charge(ledger, attempt=None)
    charge(ledger, attempt=7)
    charge(ledger, attempt=None)
    (run,) = ledger.runs(DELTA)
    assert (run.num_rounds, run.num_charges) == (1, 4)
    assert run.epsilon == epsilon_of([(RELEASE, 4)])


def test_without_a_cap_it_is_written_down_only(ledger):
    for number in range(30):
        charge(ledger, number=number, budget=None)
    charge(ledger, run=2, release=OTHER, plan=[(OTHER, 1)], budget=None)
    assert ledger.spent(DELTA).epsilon > epsilon_of([(RELEASE, 30)]) / 1.0001
    with pytest.raises(OverBudgetError):
        charge(ledger, run=3, budget=Budget(1.0, DELTA))


def test_the_slow_accountant_runs_once(ledger, monkeypatch):
    import privacy.accounting.epsilon

    asked, real = [], privacy.accounting.epsilon.epsilon
    monkeypatch.setattr(
        privacy.accounting.epsilon, "epsilon", lambda *args: asked.append(args) or real(*args)
    )
    budget = Budget(epsilon_of(PLAN) * 1.001, DELTA)
    asked.clear()
    assert num_accepted(ledger, budget) == 10
    # The whole plan, and the plan and one more that the last charge asked for.
    assert len(asked) == 2


SCHEDULES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
TRIO = (RELEASE, OTHER, METRICS)


@given(plan=SCHEDULES, first=st.tuples(*[st.integers(0, 60)] * 3), data=st.data())
def test_what_is_charged_lies_in_one_sequence_that_only_the_plan_fixes(plan, first, data):
    planned = dict(zip(TRIO, plan, strict=True))

    def cover(counts):
        found = dict(covering(dict(zip(TRIO, counts, strict=True)), planned))
        return [found.get(release, 0) for release in TRIO]

    second = data.draw(st.tuples(*(st.integers(count, 70) for count in first)))
    one, two = cover(first), cover(second)
    assert all(a >= b for a, b in zip(one, first, strict=True))
    # Nested, and each its own cover: a sequence, whatever was charged on the way.
    assert all(a <= b for a, b in zip(one, two, strict=True))
    assert cover(one) == one
    if all(a <= b for a, b in zip(first, plan, strict=True)):
        assert all(a <= b for a, b in zip(one, plan, strict=True))


@given(count=st.integers(0, 60), planned=st.integers(1, 40))
def test_with_one_kind_of_release_that_is_just_what_was_charged(count, planned):
    assert dict(covering({RELEASE: count}, {RELEASE: planned})).get(RELEASE, 0) == count


CHARGES = st.lists(
    st.tuples(
        st.integers(1, 2),
        st.integers(1, 2),
        st.sampled_from([None, 0, 1]),
        st.sampled_from(TRIO),
        st.integers(2, 3),
        st.sampled_from([Budget(0.4, DELTA), LARGE]),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(asked=CHARGES)
def test_it_never_goes_down_and_a_refusal_writes_nothing(tmp_path_factory, asked):
    path = tmp_path_factory.mktemp("ledger") / "state.sqlite"
    ledger, before, made = Ledger(path, "heart"), 0.0, 0
    for run, number, attempt, release, times, budget in asked:
        try:
            plan = [(r, times) for r in TRIO]
            charge(ledger, run, number, attempt, release, plan, budget)
            made += 1
        except LedgerError:
            pass
        if not made:
            continue
        spent = ledger.spent(DELTA)
        assert spent.num_charges == made
        assert spent.epsilon >= before
        before = spent.epsilon
