"""The honest server: what it takes for a reply, and what it gives out as a sum."""

from tests.mutants.mutation import Mutation

_SERVER = "strategies/secagg/server/"
_HERE = "tests/strategies/secagg/"
_LIARS = (f"{_HERE}test_named_liars.py", f"{_HERE}test_malicious_clients.py")


def _in(file: str, name: str, old: str, new: str, tests: tuple[str, ...] = _LIARS) -> Mutation:
    return Mutation(name, f"{_SERVER}{file}.py", old, new, tests)


MUTATIONS = (
    _in(
        "key_exchange",
        "the-server-takes-unsigned-shares",
        'self._verify(sender, upload.signature, signed, "shares")',
        "pass",
    ),
    _in(
        "role",
        "the-server-takes-unsigned-inputs",
        'self._verify(sender, message.signature, signed, "masked input")',
        "pass",
    ),
    _in(
        "role",
        "the-server-takes-unsigned-views",
        'self._verify(sender, reply.signature, message, "view")',
        "pass",
    ),
    _in(
        "role",
        "the-server-takes-unsigned-unmask-replies",
        'self._verify(sender, reply.signature, signed, "unmask reply")',
        "pass",
    ),
    _in(
        "key_exchange",
        "the-server-takes-unsigned-adverts",
        "not verify(self._peers, advert.identity, advert.signature, signed)",
        "not signed",
    ),
    _in(
        "key_exchange",
        "the-server-takes-a-key-twice",
        "len(keys) < 3 or keys & self._keys",
        "len(keys) < 3",
    ),
    _in(
        "key_exchange",
        "liars-come-into-later-attempts",
        "if sender in self._disputes.liars:",
        "if not sender:",
    ),
    _in(
        "role",
        "who-is-left-out-stays-in-the-sum",
        "self._total.take_out(node)",
        "pass",
        (f"{_HERE}test_masked_sum.py",),
    ),
    _in(
        "role",
        "masked-inputs-stay-in-memory",
        'replace(message, update=b"", scalars=b"", next_advert=None)',
        "message",
        (f"{_HERE}test_masked_sum.py",),
    ),
    _in(
        "masked_sum",
        "the-file-of-masked-inputs-stays-open",
        "finalize(self, file.close)",
        "finalize(self, int)",
        (f"{_HERE}test_masked_sum.py",),
    ),
    _in(
        "recovery",
        "a-block-takes-points-that-not-all-have",
        "common[at] &= own",
        "common[at] |= own",
        (f"{_HERE}test_masked_sum.py",),
    ),
    _in(
        "role",
        "shares-that-were-never-dealt-are-taken",
        "not self._rows.holds_what_was_dealt(sender, reply)",
        "not signed",
    ),
    _in(
        "rows",
        "a-row-without-its-form-is-a-dispute-and-no-lie",
        "except (DecodeError, KeyError):\n            return False",
        "except (DecodeError, KeyError):\n            return True",
    ),
    _in("disputes", "one-dispute-makes-a-liar", "len(peers) > self._most", "len(peers) >= 1"),
    _in(
        "recovery",
        "a-self-mask-seed-need-not-be-the-committed-one",
        "commit(seed) == advert.commitment",
        "True",
    ),
    _in(
        "recovery",
        "a-mask-seed-need-not-be-that-of-the-key",
        "KeyPair(seed, hybrid=members.is_hybrid).public == advert.mask_key",
        "True",
    ),
    _in(
        "role",
        "masks-need-not-cancel",
        "int(scalars[-1]) != len(self.survivors)",
        "not len(scalars)",
    ),
    _in(
        "key_exchange",
        "the-server-goes-on-with-one-under-the-floor",
        "if count < floor:",
        "if count < floor - 1:",
        (f"{_HERE}test_protocol.py",),
    ),
)
