"""A malicious server drives nodes that deal keys, killing them at any write.

The rules are those of the machine for masks. Identities are off, so that the server may tell
every node another story: looked at is what a node's own stages promise whatever it is told.
After every step: no key serves two inputs, none is dealt twice, a node answers once in an
attempt and not for two attempts over one model, and a key is on no node's disk but between
dealing it and encrypting under it.
"""

import contextlib
import hashlib

import pytest
from hypothesis.stateful import invariant

from strategies.secagg.client.store import MaskedSecrets, SharedSecrets
from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import EncryptedInput, KeyReply, KeyRoster, SharesUpload
from tests.strategies.homomorphic.world import EncryptedWorld
from tests.strategies.secagg.test_state_machine import ATTEMPTS, MODELS, MaliciousServer
from tests.strategies.secagg.world import PARAMETERS


class MaliciousServerOfKeys(MaliciousServer):
    """The same server, which asks for keys to be dealt."""

    def __init__(self) -> None:
        super().__init__()
        self.world = EncryptedWorld(PARAMETERS, 5, with_identities=False)
        self.sent: dict[tuple[AttemptId, int], EncryptedInput] = {}
        self.answered: dict[tuple[AttemptId, int], KeyReply] = {}

    def roster(self, key, skip):
        full = super().roster(key, skip)
        num_packed = 1
        if len(full.adverts) in (4, 5):
            num_packed = PARAMETERS.key_shape(len(full.adverts)).num_packed
        return KeyRoster(**vars(full), num_packed=num_packed)

    def mask(self, node, opened, when):
        store, role = self.world.stores[node], self.fresh_role(node)
        store.kill_before, store.kill_after = when == "before", when == "after"
        reply = None
        # What stands for a ciphertext says under which key it is.
        text = hashlib.sha256(opened.secrets.key).digest()
        with contextlib.suppress(KeyboardInterrupt):
            reply = role.encrypted(opened, text)
        store.kill_before = store.kill_after = False
        return reply if isinstance(reply, EncryptedInput) else None

    def saw(self, key, node, opened, reply, model):
        assert (key, node) not in self.sent, "two inputs under one attempt's key"
        self.sent[key, node] = reply
        self.models[key, node] = model
        if reply.next_advert is not None:
            self.keep_advert(self.ids.index(node), reply.next_advert)

    def took(self, at, key, reply):
        if reply is None:
            return
        node = self.ids[at]
        assert isinstance(reply, KeyReply)
        assert (key, node) in self.sent, "a share of a sum that this node is not in"
        assert (key, node) not in self.answered, "two shares of sums from one node"
        self.answered[key, node] = reply
        if reply.next_shares is not None:
            self.keep_shares(SharesUpload.decode(reply.next_shares), at)

    @invariant()
    def no_small_sum_is_open(self):
        """Say instead what a node's own stages promise."""
        texts = [reply.ciphertext for reply in self.sent.values()]
        assert len(set(texts)) == len(texts), "one key for two inputs"
        over = [(self.models[key, node], node) for key, node in self.answered]
        assert len(set(over)) == len(over), "two sums over one model from one node"

    @invariant()
    def keys_are_kept_from_dealing_to_use(self):
        for node, store in self.world.stores.items():
            for record in store.table.values():
                if record.stage is Stage.SHARED:
                    assert SharedSecrets.decode(record.secrets).key in self.world.keys[node]
                elif record.stage in (Stage.MASKED, Stage.CONFIRMED):
                    kept = MaskedSecrets.decode(record.secrets)
                    assert not any(key in record.secrets for key in self.world.keys[node])
                    assert kept.num_packed


MaliciousServerOfKeys.TestCase.settings = MaliciousServer.TestCase.settings
TestMaliciousServerOfKeys = pytest.mark.slow(MaliciousServerOfKeys.TestCase)


def test_the_machine_can_have_a_sum_answered():
    """So that its invariants do not hold for want of success."""
    machine = MaliciousServerOfKeys()
    machine.bootstrap_all(ATTEMPTS[0])
    machine.share_all(ATTEMPTS[0])
    machine.train_all(ATTEMPTS[0], ATTEMPTS[2], MODELS[0])
    machine.unmask_all(ATTEMPTS[0], set())
    assert len(machine.sent) == len(machine.answered) == 5
    machine.share_all(ATTEMPTS[2])
    machine.train_all(ATTEMPTS[2], None, MODELS[1])
    machine.unmask_all(ATTEMPTS[2], {1})
    assert len(machine.answered) == 9
    machine.no_small_sum_is_open()
    machine.keys_are_kept_from_dealing_to_use()
