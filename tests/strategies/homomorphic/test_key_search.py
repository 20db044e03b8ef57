"""No strategy of a server learns more of keys than one sum; with a rule off, one does.

What the search finds is acted out against the real roles, and what it says is learned is
computed from their real answers: a rule that the search needs and the code lacks, or the other
way round, shows itself.
"""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from strategies.secagg.client import checks
from strategies.secagg.client.store import MaskedSecrets
from strategies.secagg.crypto.packed import PRIME
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import ConfirmRequest, Refusal, UnmaskRequest
from tests.strategies.homomorphic.key_search import (
    Answers,
    Numbers,
    Rule,
    attack,
    attack_twice,
    is_of_one_sum,
    learned,
    legal,
    seen,
)
from tests.strategies.homomorphic.world import EncryptedWorld
from tests.strategies.secagg.world import attempt, ok

#: n, c and t of a hole for each rule that is off.
HOLES = {
    Rule.PACKED: (5, 1, 4),
    Rule.SIGNED: (5, 1, 4),
    Rule.ONCE: (5, 1, 4),
    Rule.QUORUM: (5, 1, 3),
    Rule.FLOOR: (5, 1, 4),
}


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_nothing_beside_one_sum_is_learned(n):
    found = [(c, t, attack(Numbers.of(n, c, t))) for c, t in legal(n)]
    assert found
    assert all(answers is None for *_, answers in found), found


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("n", [6, 7, 8, 9])
def test_nothing_is_learned_of_more_members(n):
    for c, t in legal(n):
        assert attack(Numbers.of(n, c, t)) is None, (n, c, t)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_node_that_answers_for_others_teaches_nothing_more(n):
    for c, t in legal(n):
        assert attack(Numbers.of(n, c, t), [Rule.INSIDE]) is None, (n, c, t)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_of_two_attempts_over_a_model_one_at_most_tells_anything(n):
    """See `test_races` for the real roles: an advert closes the run's other attempts."""
    for c, t in legal(n):
        assert attack_twice(Numbers.of(n, c, t)) is None, (n, c, t)


@pytest.mark.parametrize("rule", [Rule.ORDER, Rule.INSIDE])
def test_attempts_both_tell_with_a_rule_off(rule):
    """Two and two answer: each sum of keys has two entries a polynomial, and t = 4."""
    numbers = Numbers.of(5, 1, 4)
    first, second = attack_twice(numbers, [rule])
    assert not first & second
    assert len(first) == len(second) == 2


@pytest.mark.parametrize("n", [4, 5, 6])
def test_one_entry_a_polynomial_more_than_the_rule_allows_is_learned_something_of(n):
    """So that l is as large as it can be, and no larger."""
    for c, t in legal(n):
        right = Numbers.of(n, c, t)
        one_more = replace(right, num_packed=right.num_packed + 1)
        if one_more.num_packed < t - c and t < n:
            assert attack(one_more) is not None, (n, c, t)


@pytest.mark.parametrize(("n", "c", "t"), [(4, 2, 4), (5, 2, 4), (5, 2, 5), (5, 3, 5)])
def test_with_fewer_drawn_values_than_colluders_these_need_no_answer(n, c, t):
    """t - l >= c, which the rule implies: else the colluders' own shares tell of each key."""
    too_few = Numbers(n, c, t, t - c + 1)
    forms, _ = learned(seen(too_few, {}))
    assert len(forms) == n - c
    assert not is_of_one_sum(too_few, forms, 1)
    forms, _ = learned(seen(Numbers(n, c, t, t - c), {}))
    assert not len(forms)
    assert Numbers.of(n, c, t).num_packed <= t - c


@pytest.mark.parametrize("rule", list(HOLES))
def test_each_rule_off_has_a_hole(rule):
    n, c, t = HOLES[rule]
    assert attack(Numbers.of(n, c, t, [rule]), [rule]) is not None
    if rule is not Rule.QUORUM:
        assert attack(Numbers.of(n, c, t)) is None


@pytest.mark.parametrize("rule", [Rule.PACKED, Rule.SIGNED, Rule.ONCE, Rule.FLOOR])
def test_the_real_roles_have_the_hole_with_the_rule_off_and_not_with_it_on(rule, monkeypatch):
    n, c, t = HOLES[rule]
    numbers = Numbers.of(n, c, t, [rule])
    answers = attack(numbers, [rule])
    assert play(Numbers.of(n, c, t), answers) is None
    with monkeypatch.context() as patched:
        SWITCH_OFF[rule](patched)
        view, values, keys = play(numbers, answers, put_back=rule is Rule.ONCE)
    forms, from_seen = learned(view)
    assert not is_of_one_sum(numbers, forms, t - c)
    # What is computed from the answers is what the forms say of the true keys.
    computed = from_seen @ values % PRIME
    np.testing.assert_array_equal(computed, forms @ keys % PRIME)
    assert computed.any()


def more_entries(patched) -> None:
    honest = ProtocolParameters.key_shape

    def shape(self, num_members):
        found = honest(self, num_members)
        return replace(found, num_packed=found.threshold - self.max_colluding)

    patched.setattr(ProtocolParameters, "key_shape", shape)


def no_floor(patched) -> None:
    honest = checks.require

    def loose(holds, reason, detail=""):
        if reason.name != "SURVIVORS_TOO_FEW":
            honest(holds, reason, detail)

    patched.setattr(checks, "require", loose)
    # The quorum is t, and the sum is over fewer: colluders sign, and stand in it, in their way.
    patched.setattr(checks, "check_one_view", lambda *_: None)


SWITCH_OFF = {
    Rule.PACKED: more_entries,
    Rule.SIGNED: lambda patched: patched.setattr(checks, "check_one_view", lambda *_: None),
    Rule.ONCE: lambda _: None,
    Rule.FLOOR: no_floor,
}


def play(numbers: Numbers, answers: Answers, *, put_back: bool = False):
    """Act a strategy out: return what is seen, its values, and the true entries of keys.

    None if what honest nodes have answered teaches nothing beside one sum. With ``put_back``
    the file of each node is put back after its first answer.
    """
    parameters = ProtocolParameters(
        min_survivors=numbers.t, max_colluding=numbers.c, threshold=numbers.t
    )
    world = EncryptedWorld(parameters, numbers.n)
    server = world.ready(attempt())
    world.prepare(server)
    world.send(server, world.ids)
    point = server._members.point
    node = {point[one]: one for one in world.ids}
    colluders = [node[i] for i in numbers.colluders]
    held = {
        i: dict(MaskedSecrets.decode(world.stores[node[i]].table[attempt()].secrets).held)
        for i in numbers.colluders
    }
    kept = {i: deepcopy(world.stores[node[i]].table) for i in numbers.honest}
    signatures = sign_views(world, node, colluders, answers)
    given: Answers = {}
    values = []
    for i, sets in answers.items():
        for chosen in sets:
            if put_back:
                world.stores[node[i]].table = deepcopy(kept[i])
                view = ConfirmRequest(attempt(), told(node, chosen, colluders)).encode()
                if len(chosen) < len(numbers.honest):
                    ok(world.roles[node[i]].confirm(view))
            reply = ask(world, server, node, i, chosen, colluders, signatures)
            if not isinstance(reply, Refusal):
                given.setdefault(i, []).append(chosen)
                own = [held_share(world, kept[i], node[i], one) for one in colluders]
                values.append((elements(reply.share) - sum(own)) % PRIME)
    real = replace(numbers, num_packed=server.packing.num_packed)
    view = seen(real, given)
    values += [elements(held[i][node[j]]) for i in real.colluders for j in real.honest]
    if is_of_one_sum(real, learned(view)[0], real.t - real.c):
        return None
    entries = [entries_of(world.keys[node[j]][0], real.num_packed) for j in real.honest]
    return view, np.array(values, object), np.concatenate(entries)


def entries_of(key: bytes, num_packed: int) -> np.ndarray:
    """Return a key's entries, shape (l, polynomials)."""
    count = -(-len(key) // num_packed)
    whole = np.zeros(count * num_packed, np.int64)
    whole[: len(key)] = np.frombuffer(key, np.int8)
    return whole.reshape(count, num_packed).T.astype(object)


def elements(share: bytes) -> np.ndarray:
    return np.frombuffer(share, "<u4").astype(object)


def held_share(world, table, holder: int, dealer: int) -> np.ndarray:
    """Return what a node holds of a colluder's key, which the colluder knows too."""
    return elements(dict(MaskedSecrets.decode(table[attempt()].secrets).held)[dealer])


def told(node, chosen, colluders) -> tuple[int, ...]:
    """Return the survivors that a node is told: colluders stand in every set."""
    return tuple(sorted([node[j] for j in chosen] + colluders))


def sign_views(world, node, colluders, answers: Answers):
    """Have every smaller set signed by those who are to answer for it; return by set."""
    everyone = {i for i in node if node[i] not in colluders}
    found = {}
    for i, sets in answers.items():
        for chosen in sets:
            if chosen == everyone:
                continue
            request = ConfirmRequest(attempt(), told(node, chosen, colluders)).encode()
            table = found.setdefault(chosen, {})
            for one in (node[i], *colluders):
                saved = deepcopy(world.stores[one].table)
                reply = world.roles[one].confirm(request)
                if not isinstance(reply, Refusal):
                    table[one] = reply.signature
                if one in colluders:
                    # It signs whatever helps.
                    world.stores[one].table = saved
    return found


def ask(world, server, node, i, chosen, colluders, signatures):
    """Ask one node for its share of a sum, with all the proof there is."""
    survivors = told(node, chosen, colluders)
    is_whole = survivors == tuple(world.ids)
    inputs = tuple(
        (n, server._payload_hashes[n] + server._inputs[n].signature)
        for n in world.ids[: server._members.quorum]
    )
    views = tuple(sorted(signatures.get(chosen, {}).items()))
    request = UnmaskRequest(
        attempt(), survivors, (), inputs if is_whole else (), () if is_whole else views, None
    )
    return world.roles[node[i]].unmask(request.encode())


def test_a_split_view_within_the_rules_is_answered_and_teaches_nothing():
    """One node hears that nobody is missing, the others that it is: that much the rules allow.

    Five, one of whom colludes: with its own the server has two shares of the key of whoever
    was said to be missing. Two are hidden, for there are two entries in a polynomial and not 3.
    """
    numbers = Numbers.of(5, 1, 4)
    answers = attack(Numbers.of(5, 1, 4, [Rule.PACKED]), [Rule.PACKED])
    assert {i: len(sets[0]) for i, sets in answers.items()} == {1: 3, 2: 3, 3: 3, 4: 4}
    assert numbers.num_packed == 2
    assert play(numbers, answers) is None
    view = seen(numbers, answers)
    assert is_of_one_sum(numbers, learned(view)[0], 3)


def test_a_node_whose_file_was_put_back_may_answer_twice():
    """So that it counts among the colluders, as with masks; the search says what it gives."""
    world = EncryptedWorld(ProtocolParameters(min_survivors=4, max_colluding=1), 5)
    server = world.ready(attempt())
    world.prepare(server)
    world.send(server, world.ids)
    server.close_masked()
    node, request = world.ids[0], server.unmask_request().encode()
    kept = deepcopy(world.stores[node].table)
    one = ok(world.roles[node].unmask(request))
    assert isinstance(world.roles[node].unmask(request), Refusal)
    world.stores[node].table = kept
    assert ok(world.roles[node].unmask(request)).share == one.share
