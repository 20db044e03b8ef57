"""The node's state machine: what it does once, in which order, and what it forgets."""

from tests.mutants.mutation import Mutation

_CLIENT = "strategies/secagg/client/"
_HERE = "tests/strategies/secagg/"
_REFUSALS = (f"{_HERE}test_refusals.py",)
_REPLAYS = (f"{_HERE}test_replays.py",)
_VIEWS = (f"{_HERE}test_one_view.py",)
_RACES = (f"{_HERE}test_races.py",)
_SERVER = (f"{_HERE}test_malicious_server.py",)
_LIARS = (f"{_HERE}test_named_liars.py", f"{_HERE}test_malicious_clients.py")
_ROWS = (f"{_HERE}test_share_rows.py",)
_PROTOCOL = (f"{_HERE}test_protocol.py",)
_ROSTERS = (f"{_HERE}test_refused_rosters.py",)
_CHECK_SURVIVORS = (
    "checks.check_survivors(request.survivors, self._me.node_id, secrets)\n        "
)


def _in(file: str, name: str, old: str, new: str, tests: tuple[str, ...]) -> Mutation:
    return Mutation(name, f"{_CLIENT}{file}.py", old, new, tests)


_OF_ROLE = (
    _in(
        "role",
        "shares-are-given-without-one-view",
        "checks.check_one_view(request, secrets, stage, identity)",
        "pass",
        _VIEWS,
    ),
    _in(
        "role",
        "any-set-is-signed-at-confirm",
        f"{_CHECK_SURVIVORS}require_allowed(self._memory, request, secrets)\n        message",
        "require_allowed(self._memory, request, secrets)\n        message",
        _VIEWS,
    ),
    _in(
        "role",
        "any-set-is-unmasked",
        f"{_CHECK_SURVIVORS}identity, stage =",
        "identity, stage =",
        _REFUSALS,
    ),
    _in(
        "role",
        "a-model-that-was-opened-is-trained-on-again",
        "checks.check_model(records, request.attempt, binding.model)",
        "pass",
        _REPLAYS,
    ),
    _in(
        "role",
        "a-model-that-was-opened-while-training-is-masked-again",
        "checks.check_model(records, request.attempt, opened.model)",
        "pass",
        _RACES,
    ),
    _in(
        "role",
        "two-attempts-over-one-model-stay-masked",
        "changes += self._stages.closing_retried(records, request.attempt, opened.model)",
        "pass",
        _REPLAYS,
    ),
    _in(
        "role",
        "an-attempt-masked-at-the-same-time-stays-open",
        "changes += self._stages.closing_retried(records, request.attempt, model)",
        "pass",
        _VIEWS,
    ),
    _in(
        "role",
        "a-bootstrap-leaves-other-attempts-open",
        "[change, *self._stages.closing_others(records, request.attempt)]",
        "[change]",
        _REPLAYS,
    ),
    _in("role", "two-attempts-that-begin-at-once-stay-open", "if others:", "if False:", _RACES),
    _in(
        "role",
        "self-mask-shares-of-dropouts",
        "for n, s in held if n in survivors",
        "for n, s in held",
        _SERVER,
    ),
    _in(
        "role",
        "mask-shares-of-survivors",
        "for n, s in held if n in dropouts",
        "for n, s in held",
        _SERVER,
    ),
    _in(
        "role",
        "a-refused-app-message-leaves-the-secrets",
        "self._stages.close([attempt] if attempt is not None else [])",
        "self._stages.close([])",
        ("tests/runs/test_broken_messages.py",),
    ),
)
_OF_STAGES = (
    _in(
        "stages", "a-lost-compare-and-set-is-ignored", "require(done,", "require(True,", _RACES
    ),
    _in("stages", "secrets-do-not-expire", "self._store.expire(", "bool(", _PROTOCOL),
    _in(
        "stages",
        "an-attempt-of-another-run-rides-along",
        "require(attempt.run_id == self._run_id,",
        "require(True,",
        _REFUSALS,
    ),
    _in("stages", "parameters-may-change-in-a-run", "require(same,", "require(True,", _ROSTERS),
    _in(
        "refusing",
        "a-refusal-keeps-the-secrets",
        "self._stages.close(attempts)",
        "pass",
        _REFUSALS,
    ),
    _in(
        "refusing",
        "a-refusal-keeps-the-next-attempts-secrets",
        "found.append(peek_attempt(request.next_request))",
        "pass",
        _REPLAYS,
    ),
    _in(
        "transitions",
        "one-attempt-is-masked-twice",
        "(Stage.SHARED, Event.MASK): Stage.MASKED,",
        "(Stage.SHARED, Event.MASK): Stage.MASKED, (Stage.MASKED, Event.MASK): Stage.MASKED,",
        _REFUSALS,
    ),
    _in(
        "transitions",
        "two-views-are-signed",
        "(Stage.MASKED, Event.CONFIRM): Stage.CONFIRMED,",
        "(Stage.MASKED, Event.CONFIRM): Stage.CONFIRMED,"
        " (Stage.CONFIRMED, Event.CONFIRM): Stage.CONFIRMED,",
        _VIEWS,
    ),
)
_OF_MASKING = (
    _in(
        "masking_step",
        "the-plan-may-be-another",
        "binding_hash == request.binding",
        "True",
        _REFUSALS,
    ),
    _in(
        "masking_step",
        "shares-of-strangers-pass",
        "require(expected,",
        "require(True,",
        _REFUSALS,
    ),
    _in(
        "masking_step",
        "one-share-too-few-is-enough",
        "len(shares.held) >= floor",
        "len(shares.held) >= floor - 1",
        _REFUSALS,
    ),
    _in(
        "masking_step",
        "a-node-masks-with-fewer-than-the-floor",
        "min_survivors if shape.is_complete else secrets.threshold",
        "secrets.threshold",
        _ROWS,
    ),
    _in(
        "opening",
        "a-node-does-not-say-whom-it-rejects",
        "rejected.append(peer)",
        "pass",
        _LIARS,
    ),
    _in(
        "opening",
        "hashes-of-shares-are-not-checked",
        "elements and hash_pair(pair, roster, *ends) == row.mask_hash + row.self_hash",
        "elements",
        _ROWS,
    ),
    _in(
        "sharing",
        "fewer-nodes-open-a-self-mask",
        "shamir.split(own.self_seed, shape.threshold,",
        "shamir.split(own.self_seed, shape.threshold - 1,",
        (f"{_HERE}test_vectors.py",),
    ),
)
MUTATIONS = (*_OF_ROLE, *_OF_STAGES, *_OF_MASKING)
