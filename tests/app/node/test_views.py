"""Exact sums of one data set are opened over cohorts that tell nobody apart."""

import random
from itertools import combinations, product

import numpy as np
import pytest

from app.cli.main import main
from app.node.views import ExactViews, Status, allow_cohort, exact_cohorts, tells_apart
from strategies.rounds.attempt import RunStoppedError
from tests.kits.ruled_nodes import RuledNodes

T = 3


def cohort(numbers) -> frozenset[bytes]:
    return frozenset(number.to_bytes(32, "big") for number in numbers)


def views_of(path, dataset="one", said=str) -> ExactViews:
    return ExactViews(path, dataset, lambda member: said(int.from_bytes(member, "big")))


def opens(views: ExactViews, numbers, least=T) -> bool:
    members = cohort(numbers)
    allowed = views.allows(1, members, least, note=False)
    assert views.allows(1, members, least, note=True) is allowed
    return allowed


def alone(views, least: int) -> bool:
    """Say whether some combination of sums shows what fewer nodes than ``least`` gave.

    By the rank: the sums over a set show a combination of what a few nodes gave if taking
    these few away leaves fewer independent sums. Shares no code with the rule.
    """
    everyone = sorted(set().union(*views))
    matrix = np.array([[one in view for one in everyone] for view in views], float)
    rank = np.linalg.matrix_rank(matrix)
    for size in range(1, least):
        for few in combinations(range(len(everyone)), size):
            rest = np.delete(matrix, few, axis=1)
            if (np.linalg.matrix_rank(rest) if rest.size else 0) < rank:
                return True
    return False


def test_no_combination_of_sums_shows_what_few_gave():
    """Random sequences of cohorts: what the rule lets through is safe by linear algebra."""
    rng = random.Random(3)
    passed = stopped = needed = 0
    for _ in range(120):
        views: list[frozenset[bytes]] = []
        for _ in range(6):
            chosen = cohort(
                n
                for block in range(3)
                for n in range(3 * block, 3 * block + 3)
                if rng.random() < 0.75 or len(views) % 2 == block % 2
            )
            if rng.random() < 0.4:
                chosen ^= cohort([rng.randrange(9)])
            if len(chosen) < T:
                continue
            if tells_apart(views, chosen, T):
                stopped += 1
                needed += alone([*views, chosen], T)
            else:
                views.append(chosen)
                passed += 1
        assert not views or not alone(views, T)
    assert min(passed, stopped, needed) > 50


def test_cohorts_far_from_each_other_can_still_give_one_away():
    """Pairs that differ by T are not enough: eight sums of eight nodes give each part away."""
    hadamard = [[(i & j).bit_count() % 2 for j in range(8)] for i in range(8)]
    views = [cohort(j for j in range(8) if not row[j]) for row in hadamard]
    assert all(len(a ^ b) >= 4 for a, b in combinations(views, 2))
    assert alone(views, 4)
    taken: list[frozenset[bytes]] = []
    for view in views:
        if not tells_apart(taken, view, 4):
            taken.append(view)
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("first", "then", "allowed"),
    [
        (range(6), range(6), True),
        (range(6), range(5), False),
        (range(6), range(7), False),
        (range(6), range(3), True),
        (range(6), range(4), False),
        (range(6), range(9), True),
        (range(6), range(8), False),
        (range(6), range(3, 9), True),
        (range(6), range(6, 9), True),
        (range(6), [0, 1, 2, 6, 7], False),
    ],
)
def test_groups_of_t_may_change(tmp_path, first, then, allowed):
    views = views_of(tmp_path / "state.sqlite")
    assert opens(views, first)
    assert opens(views, then) is allowed
    # Another data set has other records.
    assert opens(views_of(tmp_path / "state.sqlite", "other"), then)


def test_a_sum_that_promised_more_still_holds_it(tmp_path):
    views = views_of(tmp_path / "state.sqlite")
    assert opens(views, range(8), least=4)
    assert not opens(views, range(5), least=3)


def test_what_was_refused_is_told_by_name_and_may_be_allowed(tmp_path, caplog):
    path = tmp_path / "state.sqlite"
    views = views_of(path, said=lambda number: f"hospital {number}")
    assert opens(views, range(5))
    assert not opens(views, [0, 1, 2, 3, 7])
    assert "missing: hospital 4; new: hospital 7" in caplog.text
    assert not opens(views, [0, 1, 2, 3, 7])
    refused = [one for one in exact_cohorts(path, "one") if one.status is Status.REFUSED]
    (one,) = refused
    assert not allow_cohort(path, "other", one.number)
    assert allow_cohort(path, "one", one.number)
    assert not allow_cohort(path, "one", one.number)
    assert opens(views, [0, 1, 2, 3, 7])
    # What was allowed is allowed from then on, and no more than that.
    assert opens(views, range(5))
    assert not opens(views, [0, 1, 2, 7])


def test_only_the_last_refusals_are_kept(tmp_path):
    path = tmp_path / "state.sqlite"
    views = views_of(path)
    assert opens(views, range(40))
    for number in range(20):
        assert not opens(views, [n for n in range(40) if n != number])
    kept = exact_cohorts(path, "one")
    assert [one.status for one in kept] == [Status.OPENED] + [Status.REFUSED] * 16


@pytest.mark.slow
@pytest.mark.parametrize("is_on", [True, False])
def test_two_runs_over_cohorts_that_differ_by_one(tmp_path, monkeypatch, is_on, caplog):
    """The difference of two regressions' sums is one node's X'WX: refused across runs."""
    nodes = RuledNodes(tmp_path, 5, {"exact": ["glm", "statistics"]}, signed=True)
    nodes.run(num_rounds=12)
    if not is_on:
        monkeypatch.setattr("app.node.views.tells_apart", lambda *_: False)
        assert nodes.run(members=range(4), num_rounds=12)
        return
    # Another question is no way around it.
    for algorithm, num_rounds in (("glm", 12), ("statistics", 1)):
        with pytest.raises(RunStoppedError, match="secagg_cohort_changed"):
            nodes.run(members=range(4), algorithm=algorithm, num_rounds=num_rounds)
    assert "missing: n4" in caplog.text


@pytest.mark.slow
def test_the_owner_allows_a_cohort_by_the_command(tmp_path, capsys):
    nodes = RuledNodes(tmp_path, 5, signed=True)
    nodes.run()
    with pytest.raises(RunStoppedError, match="secagg_cohort_changed"):
        nodes.run(members=range(4))
    for node in range(4):
        entry = nodes.entries[node]
        own = " ".join(f'{key}="{path}"' for key, path in entry.items())
        assert main(["node", "allow-cohort", "-c", own]) == 0
        told = capsys.readouterr().out
        assert "beside an opened one: missing: n4" in told
        assert main(["node", "allow-cohort", "-c", own, "9"]) == 2
        assert "9: no cohort of data set masses" in capsys.readouterr().err
        assert main(["node", "allow-cohort", "-c", own, "2"]) == 0
        assert "cohort 2 is allowed" in capsys.readouterr().out
    assert nodes.run(members=range(4))["records"] > 300


@pytest.mark.parametrize("lacking", ["policy-file", "state-path"])
def test_the_command_needs_the_nodes_files(tmp_path, capsys, lacking):
    entry = RuledNodes(tmp_path, 1).entries[0]
    own = " ".join(f'{key}="{path}"' for key, path in entry.items() if key != lacking)
    assert main(["node", "allow-cohort", "-c", own]) == 2
    assert f"lacks {lacking}" in capsys.readouterr().err


def test_nothing_is_shown_where_nothing_was_opened(tmp_path, capsys):
    entry = RuledNodes(tmp_path, 1).entries[0]
    own = " ".join(f'{key}="{path}"' for key, path in entry.items())
    assert main(["node", "allow-cohort", "-c", own]) == 0
    assert "no exact sum was opened" in capsys.readouterr().out


def test_every_small_case_is_as_the_guarantee_says():
    """All pairs of cohorts of six nodes: a pair passes only if each group has T members."""
    subsets = [
        cohort(n for n, there in enumerate(bits) if there) for bits in product((0, 1), repeat=6)
    ]
    for one, other in product(subsets, repeat=2):
        if min(len(one), len(other)) < T or one == other:
            continue
        groups = (one - other, other - one, one & other)
        fine = all(not group or len(group) >= T for group in groups)
        assert tells_apart([one], other, T) is not fine
