"""The guard and the policy: whose code runs on a node, and in which runs it takes part."""

from tests.mutants.mutation import Mutation

_GUARD = "app/approval/guard.py"
_CLIENTAPP = "app/approval/clientapp.py"
_LOADED = "app/approval/loaded.py"
_EXACT = "tests/app/node/test_exact_rules.py"
_ADMISSION = "app/node/admission.py"
_POLICY = "app/node/policy.py"
_GUARD_TESTS = ("tests/app/approval/test_guard.py",)
_COMMANDS = "tests/app/approval/test_commands.py"
_PROCESS = "tests/app/approval/test_process.py"
_LOADED_TESTS = "tests/app/approval/test_loaded.py"
_PRIVATE = "tests/runs/private/test_refusals.py"
_POLICY_TESTS = ("tests/app/node/test_policy.py",)


def _floor(name: str, old: str, new: str) -> Mutation:
    return Mutation(name, _ADMISSION, old, new, _POLICY_TESTS)


_OF_CODE = (
    Mutation(
        "the-guard-compares-8-digits",
        _GUARD,
        "found not in bundles",
        "found[:8] not in {bundle[:8] for bundle in bundles}",
        _GUARD_TESTS,
    ),
    Mutation(
        "what-was-not-approved-is-installed",
        _GUARD,
        "            found = approve(fab_file)",
        "            found = digest(fab_file)",
        _GUARD_TESTS,
    ),
    Mutation(
        "the-guard-keeps-a-bundle-named-from-outside",
        _CLIENTAPP,
        "os.environ.pop(RUNNING, None)",
        "pass",
        (f"{_PROCESS}::test_of_an_altered_bundle_nothing_is_installed_or_imported",),
    ),
    Mutation(
        "a-supernode-keeps-a-bundle-named-from-outside",
        "app/approval/supernode.py",
        "environment.pop(RUNNING, None)",
        "pass",
        (f"{_COMMANDS}::test_a_guarded_supernode_finds_the_guard_and_no_other_command",),
    ),
    Mutation(
        "flower-finds-the-bundle-by-its-name",
        _GUARD,
        'default_app_ref="", app_path=str(installed), multi_app=True',
        "**_options",
        (f"{_PROCESS}::test_what_lies_there_under_the_same_name_is_not_taken",),
    ),
    Mutation(
        "dependencies-of-a-bundle-are-installed",
        _CLIENTAPP,
        "setattr(runner, _DEPENDENCIES, guard.install_dependencies)",
        "pass",
        (f"{_PROCESS}::test_dependencies_of_a_bundle_are_not_installed",),
    ),
    Mutation(
        "installed-code-runs-in-place-of-the-bundle",
        _CLIENTAPP,
        "    _forget_own_modules()\n",
        "",
        (f"{_PROCESS}::test_an_approved_bundle_runs_from_itself_and_signs_its_hash",),
    ),
    Mutation(
        "the-loaded-bundle-answers-for-another",
        _GUARD,
        "if found != loaded.bundle:",
        "if not found:",
        (f"{_LOADED_TESTS}::test_another_approved_bundle_than_the_loaded_one_is_refused",),
    ),
    Mutation(
        "the-loaded-app-answers-to-any-name",
        _GUARD,
        "names[:2] == loaded.app_names[:2]",
        "names",
        (f"{_LOADED_TESTS}::test_the_servers_names_of_a_loaded_bundle_lead_nowhere_else",),
    ),
    Mutation(
        "a-message-draws-what-the-one-before-drew",
        _LOADED,
        "module.seed()",
        "pass",
        (f"{_LOADED_TESTS}::test_after_the_first_message_a_fork_has_the_bundle_loaded",),
    ),
    Mutation(
        "threads-are-lost-in-a-fork",
        _LOADED,
        '"/proc/self/task").iterdir()]) == 1',
        '"/proc/self/task").iterdir()]) > 0',
        (f"{_LOADED_TESTS}::test_a_bundle_that_cannot_wait_is_loaded_by_each_message",),
    ),
    Mutation(
        "a-bundle-that-was-taken-out-stays-loaded",
        "app/approval/kept.py",
        "and not _is_listed(bundle)",
        "and not bundle",
        (f"{_LOADED_TESTS}::test_a_bundle_that_is_taken_out_of_the_policy_is_left_at_once",),
    ),
    Mutation(
        "messages-of-a-bundle-that-fails-are-lost",
        _LOADED,
        "os.execvp(arguments[0], arguments)",
        "os._exit(0)",
        (f"{_LOADED_TESTS}::test_what_came_meanwhile_is_not_lost",),
    ),
    Mutation(
        "a-node-without-a-guard-runs-anything",
        "app/node/running_code.py",
        "if running == NO_BUNDLE:",
        "if not approved:",
        _GUARD_TESTS,
    ),
    Mutation(
        "a-node-runs-what-its-policy-does-not-list",
        "app/node/running_code.py",
        "if running not in approved:",
        "if not approved:",
        _GUARD_TESTS,
    ),
    Mutation(
        "a-file-twice-in-a-bundle-is-compared-once",
        "app/approval/bundle.py",
        "if len(set(names)) < len(names):",
        "if not names:",
        (f"{_COMMANDS}::test_a_bundle_packed_otherwise_is_compared_file_by_file",),
    ),
)
_OF_FLOORS = (
    _floor("any-task-is-taken", "proposed.task not in policy.tasks", "not policy.tasks"),
    _floor(
        "any-privacy-is-taken",
        "if proposed.privacy not in policy.privacy:",
        "if not policy.privacy:",
    ),
    _floor("any-unit-is-taken", "proposed.unit != policy.unit", "not policy.unit"),
    _floor(
        "plain-runs-are-taken-under-a-floor",
        'policy.min_survivors > 1 and not proposed.privacy.endswith("_local")',
        "policy.min_survivors > 99",
    ),
    _floor(
        "the-floor-of-survivors-is-one-lower",
        "proposed.min_survivors >= policy.min_survivors",
        "proposed.min_survivors >= policy.min_survivors - 1",
    ),
    _floor(
        "the-floor-of-colluders-is-one-lower",
        "proposed.max_colluding >= policy.min_colluding",
        "proposed.max_colluding >= policy.min_colluding - 1",
    ),
    _floor(
        "identities-are-not-required",
        "if policy.require_identities and not proposed.identities:",
        "if policy.require_identities is None:",
    ),
    _floor(
        "sparse-graphs-are-allowed",
        "if proposed.is_sparse and not policy.allow_sparse_graph:",
        "if policy.allow_sparse_graph is None:",
    ),
    _floor(
        "classical-keys-are-allowed",
        "if proposed.is_classical and not policy.allow_classical_keys:",
        "if policy.allow_classical_keys is None:",
    ),
    _floor("the-floor-of-noise-is-lower", "not noise >= least:", "not noise >= 0.7 * least:"),
    _floor("a-noise-that-is-no-number-passes", "not noise >= least:", "noise < least:"),
    _floor("any-delta-is-taken", "not delta <= most * (1 + 1e-9)", "not delta <= 1000 * most"),
    Mutation(
        "a-private-run-needs-no-policy",
        _ADMISSION,
        "session.policy is None and not session.settings.simulated",
        "session.policy is None and session.settings.simulated",
        (f"{_PRIVATE}::test_a_private_run_in_a_deployment_needs_a_policy",),
    ),
    Mutation(
        "exact-sums-need-not-be-listed",
        _ADMISSION,
        "if proposed.exact not in policy.exact:",
        "if False:",
        (_EXACT,),
    ),
    Mutation(
        "the-server-chooses-the-columns-of-exact-sums",
        _ADMISSION,
        "if not proposed.has_own_columns:",
        "if False:",
        (_EXACT,),
    ),
    Mutation(
        "a-few-records-may-carry-an-exact-sum",
        "app/node/exact_rules.py",
        "if _effective(weights) < least:",
        "if False:",
        (_EXACT,),
    ),
    Mutation(
        "few-held-out-records-are-scored-exactly",
        "app/node/exact_rules.py",
        "if len(records.test) >= policy.min_effective_records:",
        "if True:",
        (f"{_EXACT}::test_few_held_out_records_are_not_scored",),
    ),
    Mutation(
        "a-node-with-few-records-is-scored-exactly",
        "app/round/contribute.py",
        "is_unscored = records_for_exact_scores(session, workload, state, records)",
        "is_unscored = records, False",
        (f"{_EXACT}::test_a_server_that_only_evaluates_gets_no_more_than_one_that_trains",),
    ),
    Mutation(
        "the-group-may-write-a-policy",
        "app/node/permissions.py",
        "_WRITE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH",
        "_WRITE_BY_OTHERS = stat.S_IWOTH",
        _POLICY_TESTS,
    ),
    Mutation(
        "of-a-repeated-key-the-last-counts",
        _POLICY,
        "keys.count(key) > 1",
        "keys.count(key) > 2",
        _POLICY_TESTS,
    ),
    Mutation(
        "identities-are-off-unless-a-policy-asks",
        _POLICY,
        "require_identities: bool = True",
        "require_identities: bool = False",
        _POLICY_TESTS,
    ),
)
MUTATIONS = (*_OF_CODE, *_OF_FLOORS)
