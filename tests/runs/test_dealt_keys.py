"""Attacks of a malicious server on dealt keys, through the real ClientApps.

Nodes as in a deployment: SQLite, policy, pinned identities. The last of five colludes: the
server reads its file. What it learns of the others' keys is computed from what they answered.
"""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from app.node.protocol_store import SqliteStore
from strategies.masked.encryption import bind
from strategies.masked.messages import ADVERT, CONFIRM, SHARE, UNMASK, wrap
from strategies.rounds.records import to_arrays
from strategies.secagg.client import checks
from strategies.secagg.client.store import MaskedSecrets, SharedSecrets
from strategies.secagg.crypto.packed import PRIME
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import ConfirmReply, ConfirmRequest, KeyReply, UnmaskRequest
from strategies.secagg.server.key_role import KeyRole
from tests.kits.attacked_federation import Federation, Numbers, RefusedError
from tests.strategies.homomorphic import key_search
from tests.strategies.homomorphic.key_search import is_of_one_sum, learned, reduced, seen
from tests.strategies.homomorphic.test_key_search import elements, entries_of, more_entries
from workloads.model_arrays import hash_state

FIVE = Numbers(5, 4, 4, 1, "task.model=mlp task.hidden=1300", "homomorphic")
FIRST = AttemptId(1, 1, 0)


class KeyedAttempt:
    """One attempt at a server that has all inputs, and asks for what it likes."""

    def __init__(self, world: Federation) -> None:
        self.world, ids = world, world.ids
        aggregation, codec = world.aggregation, world.codec
        self.role = role = KeyRole(FIRST, world.parameters, 8192, peers=world.peers)
        for node in ids:
            role.add_advert(node, world.ask(node, ADVERT, role.advert_request()))
        role.close_adverts()
        for node in ids:
            role.add_shares(node, world.ask(node, SHARE, role.share_request(node)))
        role.close_shares()
        secrets = [SharedSecrets.decode(self.record(node)) for node in ids]
        self.keys = {node: one.key for node, one in zip(ids, secrets, strict=True)}
        size = sum(values.size for values in world.state.arrays.values())
        form = codec.bits(5), codec.length(size), len(codec.scalar_names)
        scheme = aggregation.encryption.scheme(form, 5)
        binding = bind(codec, hash_state(world.state, {}), world._config_hash, scheme)
        role.bind_masks(binding)
        role.ciphertexts = self.total = scheme.new_sum()
        for node in ids:
            role.add_masked(node, world.send(node, "train", self.asked(node)))
        role.close_masked()
        self.inputs = tuple(
            (n, role._payload_hashes[n] + role._inputs[n].signature) for n in ids[:4]
        )
        self.held = {n: dict(MaskedSecrets.decode(self.record(n)).held) for n in ids}
        self.answers: key_search.Answers = {}
        self.values: list[np.ndarray] = []

    def record(self, node: int) -> bytes:
        """Return what a node's file has of the attempt."""
        return SqliteStore(self.world.nodes[node].state).records(1, [FIRST])[FIRST].secrets

    def asked(self, node: int) -> RecordDict:
        arrays = to_arrays(self.world.state.arrays)
        config = ConfigRecord({"server-round": 1})
        request = self.role.train_request(node)
        return RecordDict({"arrays": arrays, "config": config, **wrap(request)})

    def confirm(self, nodes, survivors) -> dict[int, bytes]:
        """Have nodes sign a view."""
        told = ConfirmRequest(FIRST, tuple(survivors))
        replies = {node: self.world.ask(node, CONFIRM, told) for node in nodes}
        return {node: ConfirmReply.decode(data).signature for node, data in replies.items()}

    def ask(self, node: int, survivors, views=()) -> str:
        """Ask a node for its share, and note it; return the reason of a refusal."""
        role, colluder = self.role, self.world.ids[-1]
        views = tuple(sorted(dict(views).items()))
        request = UnmaskRequest(
            FIRST, tuple(survivors), (), () if views else self.inputs, views, None
        )
        try:
            reply = KeyReply.decode(self.world.ask(node, UNMASK, request))
        except RefusedError as refused:
            return str(refused)
        point = role._members.point
        sums = frozenset(point[n] for n in survivors if n != colluder)
        self.answers.setdefault(point[node], []).append(sums)
        own = elements(self.held[node][colluder])
        self.values.append((elements(reply.share) - own) % PRIME)
        return ""

    def learned(self) -> tuple[key_search.Numbers, np.ndarray]:
        """Return the forms of entries that follow, checked against the true keys."""
        packing, ids = self.role.packing, self.world.ids
        numbers = key_search.Numbers(5, 1, 4, packing.num_packed)
        view = seen(numbers, self.answers)
        values = self.values + [elements(self.held[ids[-1]][node]) for node in ids[:-1]]
        forms, from_seen = learned(view)
        entries = [entries_of(self.keys[node], packing.num_packed) for node in ids[:-1]]
        if len(forms):
            computed = from_seen @ np.array(values, object) % PRIME
            np.testing.assert_array_equal(computed, forms @ np.concatenate(entries) % PRIME)
        return numbers, forms


@pytest.mark.slow
@pytest.mark.parametrize("rule", [True, False])
def test_one_node_hears_that_nobody_is_missing_and_the_others_that_it_is(
    tmp_path, monkeypatch, rule
):
    """All answer, for two sums, as one view allows. Of the one node nothing shows."""
    if not rule:
        more_entries(monkeypatch)
    attempt = KeyedAttempt(Federation(tmp_path, monkeypatch, FIVE))
    *others, victim, colluder = attempt.world.ids
    rest = sorted([*others, colluder])
    views = attempt.confirm(rest, rest)
    assert [attempt.ask(node, rest, views) for node in others] == [""] * 3
    assert attempt.ask(victim, attempt.world.ids) == ""
    numbers, forms = attempt.learned()
    assert is_of_one_sum(numbers, forms, 3) is rule
    # What is left without the others' entries is of the victim's alone.
    width = 3 * numbers.num_packed
    rows, rank = reduced(forms, width)
    assert bool((rows[rank:, width:] != 0).any()) is not rule


@pytest.mark.slow
@pytest.mark.parametrize("rule", [True, False])
def test_survivors_that_nobody_has_signed(tmp_path, monkeypatch, rule):
    """Two sums of three each: their difference is that of two keys."""
    if not rule:
        monkeypatch.setattr(checks, "check_one_view", lambda *_: None)
    attempt = KeyedAttempt(Federation(tmp_path, monkeypatch, FIVE))
    a, b, c, d, colluder = attempt.world.ids
    stories = {a: [a, b, c], b: [a, b, c], c: [a, c, d], d: [a, c, d]}
    found = {attempt.ask(node, [*told, colluder]) for node, told in stories.items()}
    assert found == {"secagg_view_not_signed" if rule else ""}
    numbers, forms = attempt.learned()
    assert is_of_one_sum(numbers, forms, 3) is rule


@pytest.mark.slow
def test_an_honest_sum_is_opened_once_and_other_sets_are_refused(tmp_path, monkeypatch):
    attempt = KeyedAttempt(Federation(tmp_path, monkeypatch, FIVE))
    role, ids = attempt.role, attempt.world.ids
    for node in ids:
        role.add_unmask(node, attempt.world.ask(node, UNMASK, role.unmask_request()))
    key_sum = role.finish_keys().key_sum
    truth = np.sum([np.frombuffer(key, np.int8) for key in attempt.keys.values()], axis=0)
    np.testing.assert_array_equal(key_sum, truth)
    attempt.total.opened(key_sum, role.plan)
    assert {attempt.ask(node, ids) for node in ids} == {"secagg_repeated"}
    for node in ids:
        # Nothing is left in a file, not even where a database keeps what it has freed.
        state = attempt.world.nodes[node].state
        data = state.read_bytes()
        assert attempt.keys[node][:32] not in data
        assert not any(share[:32] in data for share in attempt.held[node].values())


def test_the_keys_are_dealt_with_two_entries_a_polynomial():
    parameters = ProtocolParameters(min_survivors=4, max_colluding=1)
    assert parameters.key_shape(5).num_packed == 2
    sparse = replace(parameters, min_survivors=None, is_sparse=True)
    assert sparse.key_shape(50).is_complete
