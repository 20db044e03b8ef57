"""What a node remembers beside its records: heads of ledgers, views, permissions, time."""

from tests.mutants.mutation import Mutation

_CLIENT = "strategies/secagg/client/"
_HEADS, _MEMORY = "privacy/ledger/heads.py", "app/node/protocol_memory.py"
_VIEWS, _EXACT_TESTS = "app/node/views.py", ("tests/app/node/test_views.py",)
_FOLLOWED = "app/node/followed_state.py"
_SURVIVAL_TESTS = "tests/app/node/test_followed_survival.py"
_FOLLOWED_TESTS = ("tests/app/node/test_followed_state.py",)
_PERMISSIONS, _STORE = "app/node/permissions.py", "app/node/protocol_store.py"
_ROLE_TESTS = ("tests/strategies/secagg/test_memory.py",)
_HEAD_TESTS = ("tests/privacy/ledger/test_heads.py",)
_VIEW_TESTS = ("tests/app/node/test_protocol_memory.py",)
_PERMISSION_TESTS = ("tests/app/node/test_permissions.py",)
_STORE_TESTS = ("tests/app/node/test_protocol_store.py",)

MUTATIONS = (
    Mutation(
        "a-ledger-that-was-put-back-is-masked-with",
        f"{_CLIENT}masking_step.py",
        "intact = not me.memory.lacks(shares.shown)",
        "intact = True",
        _ROLE_TESTS,
    ),
    Mutation(
        "a-cohort-that-may-not-be-opened-is-masked-with",
        f"{_CLIENT}masking_step.py",
        "allowed = me.memory.allows_view(request.attempt.run_id, members, min_survivors)",
        "allowed = True",
        _ROLE_TESTS,
    ),
    Mutation(
        "survivors-that-may-not-be-opened-get-shares",
        f"{_CLIENT}remembering.py",
        "allowed = me.memory.note_view(run_id, members, secrets.min_survivors)",
        "allowed = True",
        _ROLE_TESTS,
    ),
    Mutation(
        "no-head-is-shown-to-its-node",
        f"{_CLIENT}sharing.py",
        "heads.get(peer.identity, ())",
        "()",
        _ROLE_TESTS,
    ),
    Mutation(
        "heads-of-nobody-are-kept",
        f"{_CLIENT}remembering.py",
        "    me.memory.keep_heads(request.attempt, heads)\n",
        "",
        _ROLE_TESTS,
    ),
    Mutation(
        "heads-of-whom-the-server-names-are-kept",
        f"{_CLIENT}remembering.py",
        "request.views if stage is Stage.CONFIRMED else request.inputs",
        "(*request.views, *request.inputs)",
        _ROLE_TESTS,
    ),
    Mutation(
        "an-older-head-comes-back",
        _MEMORY,
        "WHERE (excluded.round, excluded.attempt) > (round, attempt)",
        "",
        _VIEW_TESTS,
    ),
    Mutation(
        "a-ledger-that-lost-its-charges-goes-on",
        _HEADS,
        "if charges[0] < last[2] or",
        "if charges[0] < 0 or",
        _HEAD_TESTS,
    ),
    Mutation(
        "a-view-is-signed-that-may-not-be-opened",
        f"{_CLIENT}role.py",
        "require_allowed(self._memory, request, secrets)\n        message",
        "message",
        _ROLE_TESTS,
    ),
    Mutation(
        "a-view-that-was-opened-before-is-no-change",
        _VIEWS,
        "if views and members == views[-1]:",
        "if members in views:",
        _VIEW_TESTS,
    ),
    Mutation(
        "a-run-that-is-over-goes-on",
        f"{_CLIENT}stages.py",
        "require(not over, RefusalReason.RUN_OVER",
        "require(True, RefusalReason.RUN_OVER",
        _ROLE_TESTS,
    ),
    Mutation(
        "no-head-is-ones-own", _HEADS, "if self._is_own(one)}", "if not one}", _HEAD_TESTS
    ),
    Mutation(
        "heads-that-others-made-up-block-a-node",
        _HEADS,
        "if self._is_own(one)}",
        "if one}",
        _HEAD_TESTS,
    ),
    Mutation(
        "a-head-can-be-guessed-from-the-charges",
        _HEADS,
        "nonce = self._random_bytes(_NONCE_BYTES)",
        "nonce = bytes(_NONCE_BYTES)",
        _HEAD_TESTS,
    ),
    Mutation(
        "heads-do-not-depend-on-the-charges",
        _HEADS,
        "and charges[num_charges] == digest",
        "and digest",
        _HEAD_TESTS,
    ),
    Mutation(
        "only-the-last-view-counts",
        _VIEWS,
        "views = [_members(known) for known, _ in rows]",
        "views = [_members(known) for known, _ in rows[-1:]]",
        _VIEW_TESTS,
    ),
    Mutation(
        "bins-may-be-as-narrow-as-the-server-likes",
        "app/node/admission.py",
        "if proposed.max_bins > policy.max_bins:",
        "if False:",
        ("tests/app/node/test_exact_rules.py",),
    ),
    Mutation(
        "times-may-be-of-as-few-records-as-the-server-likes",
        "app/node/admission.py",
        'min_at_risk=getattr(config.algorithm, "fewest_summed", None),',
        "min_at_risk=None,",
        (f"{_SURVIVAL_TESTS}::test_times_of_few_records_are_refused",),
    ),
    Mutation(
        "an-exact-cohort-may-change-by-anybody",
        _VIEWS,
        "if is_known or not tells_apart(views, members, most):",
        "if True:",
        _EXACT_TESTS,
    ),
    Mutation(
        "a-new-node-may-join-an-exact-cohort-alone",
        _VIEWS,
        "if inside and (outside or (pattern == nobody and views)):",
        "if inside and outside:",
        _EXACT_TESTS,
    ),
    Mutation(
        "who-is-missing-may-be-few",
        _VIEWS,
        "parts = (inside, outside) if outside else (inside,)",
        "parts = (inside,)",
        _EXACT_TESTS,
    ),
    Mutation(
        "exact-cohorts-are-those-of-a-run",
        "app/node/session.py",
        "if policy is not None and (self.exact is not None or self.shows_spread):",
        "if False:",
        _EXACT_TESTS,
    ),
    Mutation(
        "a-refused-cohort-is-as-good-as-opened",
        _VIEWS,
        "before is not None and before.status is not Status.REFUSED",
        "before is not None",
        _EXACT_TESTS,
    ),
    Mutation(
        "an-older-sum-promised-more",
        _VIEWS,
        "most = max([least, *(one.least for one in opened)])",
        "most = least",
        _EXACT_TESTS,
    ),
    Mutation(
        "a-state-of-the-servers-choice-is-answered",
        _FOLLOWED,
        "if not agree(found, request.state):",
        "if False:",
        _FOLLOWED_TESTS,
    ),
    Mutation(
        "a-first-state-of-the-servers-choice-is-answered",
        _FOLLOWED,
        "    if last is None:\n",
        "    if last is None:\n        return\n    if last is None:\n",
        _FOLLOWED_TESTS,
    ),
    Mutation(
        "a-query-of-the-servers-choice-is-answered",
        _FOLLOWED,
        "        _require_own_query(request)\n",
        "",
        _FOLLOWED_TESTS,
    ),
    Mutation(
        "a-first-state-that-is-nearly-right-will-do",
        _FOLLOWED,
        "if of_first == asked and agree(first, request.state):",
        "if agree(first, request.state):",
        _FOLLOWED_TESTS,
    ),
    Mutation(
        "numbers-of-a-state-may-have-any-type",
        _FOLLOWED,
        "one.dtype != other.dtype",
        "one.dtype.kind != other.dtype.kind",
        _FOLLOWED_TESTS,
    ),
    Mutation(
        "a-state-before-of-the-servers-choice-will-do",
        _FOLLOWED,
        "before = first if is_second else known.get(last.asked)",
        "before = first",
        _FOLLOWED_TESTS,
    ),
    Mutation(
        "one-change-more-than-allowed",
        _VIEWS,
        ">= self._max_changes:",
        "> self._max_changes:",
        _VIEW_TESTS,
    ),
    Mutation(
        "others-may-replace-a-file",
        _PERMISSIONS,
        "if one != real and is_shared:",
        "if one == real and is_shared:",
        _PERMISSION_TESTS,
    ),
    Mutation(
        "others-may-have-read-a-key",
        _PERMISSIONS,
        "if is_secret and mode & (_ANYTHING_BY_OTHERS if is_own else stat.S_IRWXO):",
        "if is_secret and mode & 0o002:",
        _PERMISSION_TESTS,
    ),
    Mutation(
        "a-file-of-anybody-is-trusted",
        _PERMISSIONS,
        "if found.st_uid not in (0, os.geteuid()):",
        "if found.st_uid < 0:",
        _PERMISSION_TESTS,
    ),
    Mutation(
        "a-key-is-read-whoever-may-write-it",
        "app/node/identity.py",
        "    _require_own(path, is_secret=True)\n",
        "",
        _PERMISSION_TESTS,
    ),
    Mutation(
        "peers-are-read-whoever-may-write-them",
        "app/node/identity.py",
        "    _require_own(path)\n",
        "",
        _PERMISSION_TESTS,
    ),
    Mutation(
        "a-wrong-clock-keeps-secrets-for-ever",
        _STORE,
        "(now, now + MAX_AHEAD_SECONDS)",
        '(now, float("inf"))',
        _STORE_TESTS,
    ),
    Mutation(
        "records-of-a-run-that-is-over-are-deleted",
        _STORE,
        "[(run, *last) for (run,) in over]",
        "[]",
        _STORE_TESTS,
    ),
    Mutation(
        "secrets-are-kept-for-as-long-as-a-run-says",
        "strategies/masked/config.py",
        "0 < self.secrets_seconds <= MAX_LIFETIME_SECONDS",
        "0 < self.secrets_seconds",
        ("tests/strategies/masked/test_settings.py",),
    ),
)
