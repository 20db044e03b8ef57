"""The node around the protocol: its messages, its configuration, its file and its keys."""

from tests.mutants.mutation import Mutation

_CONTRIBUTE = "app/round/contribute.py"
_STORE = "app/node/protocol_store.py"
_DATABASE = "privacy/database.py"
_IDENTITY = "app/node/identity.py"
_PAID = ("tests/runs/private/test_ledger.py::test_no_record_has_a_say_before_it_is_paid_for",)
_FILE_TESTS = ("tests/app/node/test_protocol_store.py",)
_IDENTITY_TESTS = ("tests/app/node/test_identity.py",)
_CONFIG = ("tests/app/config/test_config.py",)
_PRIVATE = "tests/runs/private/test_refusals.py"
_SIDE = "tests/app/round/test_client_side.py"
_SERVER = "tests/runs/test_malicious_server.py"
_CHARGE_FIRST = """    _pay(request, codec, session, attempt)
    if records is not None:
        try:
            return codec.encode(_private(request, codec, session, records), context)
"""
_CHARGE_LAST = """    if records is not None:
        try:
            encoded = codec.encode(_private(request, codec, session, records), context)
            _pay(request, codec, session, attempt)
            return encoded
"""

_OF_MESSAGES = (
    Mutation(
        "the-charge-comes-after-training", _CONTRIBUTE, _CHARGE_FIRST, _CHARGE_LAST, _PAID
    ),
    Mutation(
        "a-record-can-cause-a-refusal",
        _CONTRIBUTE,
        "        except Exception:\n            _log_noise_alone()\n",
        "        except ZeroDivisionError:\n            _log_noise_alone()\n",
        ("tests/runs/private/test_attacks.py::test_a_failure_in_training_is_noise_alone",),
    ),
    Mutation(
        "a-file-that-fills-the-memory-causes-a-refusal",
        _CONTRIBUTE,
        "        _log_noise_alone()\n        return None\n",
        "        raise\n",
        ("tests/runs/private/test_ledger.py::test_a_file_is_read_before_it_is_paid_for",),
    ),
    Mutation(
        "a-message-is-answered-without-the-policy",
        "app/client.py",
        "        admit(session)\n",
        "",
        (f"{_PRIVATE}::test_a_policy_refuses",),
    ),
    Mutation(
        "calibrated-noise-is-not-held-against-the-floor",
        "app/node/spending.py",
        "admit(session, plan.least_noise_multiplier)",
        "admit(session)",
        (f"{_PRIVATE}::test_noise_that_was_calibrated_is_held_against_the_floor",),
    ),
    Mutation(
        "a-ledger-goes-by-flowers-node-id",
        "app/node/spending.py",
        "policy is not None and session.settings.state_path is None",
        "policy is None and session.settings.state_path is None",
        (f"{_PRIVATE}::test_a_policy_without_a_state_path_is_refused_before_anything_leaves",),
    ),
    Mutation(
        "a-contribution-leaves-twice",
        "app/round/client_side.py",
        "request, self._request = self._asked(), None\n        encoded = contribute(",
        "request = self._asked()\n        encoded = contribute(",
        (f"{_SIDE}::test_no_contribution_leaves_without_noise_or_twice",),
    ),
    Mutation(
        "rounds-that-a-run-does-not-have-are-taken",
        "app/round/request.py",
        "if not 1 <= query.server_round <=",
        "if not 0 <= query.server_round <=",
        (f"{_SIDE}::test_a_round_that_the_run_does_not_have_is_refused_before_it_costs",),
    ),
    Mutation(
        "the-model-of-another-round-is-trained-on",
        "strategies/masked/client.py",
        "if request.query.server_round != attempt.round:",
        "if request.query.server_round < 0:",
        (f"{_SERVER}::test_a_model_under_the_number_of_another_round",),
    ),
    Mutation(
        "negative-zeros-make-another-model",
        "workloads/model_arrays.py",
        " + loaded_as(0)",
        "",
        (f"{_SERVER}::test_the_same_model_in_disguise",),
    ),
    Mutation(
        "the-shape-of-an-array-is-not-hashed",
        "workloads/model_arrays.py",
        "{len(name)}:{name}:{array.shape}",
        "{len(name)}:{name}",
        ("tests/strategies/rounds/test_contribution.py",),
    ),
)
_OF_CONFIGURATION = (
    Mutation(
        "values-are-looked-up-on-the-node",
        "app/config/load.py",
        'if "${" in text:',
        'if "${{" in text:',
        _CONFIG,
    ),
    Mutation(
        "a-deployment-takes-its-randomness-from-the-run",
        "app/node/settings.py",
        'for key in ("deterministic", "data_dir", "simulation_nodes"):',
        'for key in ("data_dir", "simulation_nodes"):',
        ("tests/app/test_client.py",),
    ),
    Mutation(
        "other-records-than-the-policys",
        "app/node/settings.py",
        "if given is not None and given.resolve() != path.resolve():",
        "if given is not None:\n        return given\n    if path.name == '':",
        (
            "tests/runs/private/test_attacks.py::test_the_policys_records_are_the_ones_that_are_used",
        ),
    ),
    Mutation(
        "batches-can-be-foretold",
        _CONTRIBUTE,
        "return secure_generator() if secure else np.random.default_rng()",
        "return np.random.default_rng()",
        ("tests/app/test_client.py",),
    ),
)
_OF_FILES = (
    Mutation(
        "a-stage-is-replaced-whatever-it-is",
        _STORE,
        "is not change.expected:\n                    return False\n            database",
        "is None:\n                    return False\n            database",
        ("tests/strategies/secagg/test_store.py",),
    ),
    Mutation(
        "secrets-on-disk-do-not-expire",
        _STORE,
        "database.execute(_EXPIRE, (now, now + MAX_AHEAD_SECONDS))",
        "database.execute(_EXPIRE, (0.0,))",
        ("tests/strategies/secagg/test_store.py",),
    ),
    Mutation(
        "nothing-is-synced", _DATABASE, "synchronous = EXTRA", "synchronous = OFF", _FILE_TESTS
    ),
    Mutation(
        "deleted-secrets-stay",
        _DATABASE,
        "secure_delete = ON",
        "secure_delete = OFF",
        _FILE_TESTS,
    ),
    Mutation(
        "moved-secrets-stay",
        _DATABASE,
        'connection.execute("VACUUM")',
        "pass",
        _FILE_TESTS,
    ),
    Mutation(
        "others-may-read-the-file",
        _DATABASE,
        "os.O_CREAT, 0o600",
        "os.O_CREAT, 0o644",
        _FILE_TESTS,
    ),
    Mutation(
        "a-file-that-others-may-read-stays", _DATABASE, "path.chmod(0o600)", "pass", _FILE_TESTS
    ),
    Mutation(
        "others-may-read-the-key",
        _IDENTITY,
        "private, 0o600",
        "private, 0o644",
        _IDENTITY_TESTS,
    ),
    Mutation(
        "a-key-is-overwritten",
        _IDENTITY,
        "os.O_CREAT | os.O_EXCL",
        "os.O_CREAT",
        _IDENTITY_TESTS,
    ),
    Mutation(
        "one-key-under-two-names",
        _IDENTITY,
        '    _require_different(named, f"{path}: ")\n',
        "",
        _IDENTITY_TESTS,
    ),
)
MUTATIONS = (*_OF_MESSAGES, *_OF_CONFIGURATION, *_OF_FILES)
