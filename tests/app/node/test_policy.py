"""The node's policy: the file is read strictly, and no run goes under its floors."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from app.config.run import GROUPS
from app.node.admission import ProposedRun, check
from app.node.policy import OPTIONS, Policy, PolicyError, load_policy
from privacy.ledger.budget import Budget
from privacy.unit import Unit

GOOD = """
dataset: heart-2024
data_path: records.csv
unit: example
max_epsilon: 3
delta: 1e-5
min_survivors: 3
min_colluding: 1
min_noise_multiplier: 0.5
privacy: [example_local, example_distributed]
require_identities: true
allow_sparse_graph: true
allow_classical_keys: true
max_cohort_changes: 2
tasks: [heart, csv]
exact: [glm]
exact_overrides: [task.test_fraction=0]
min_records: 100
max_parameter_share: 0.1
max_levels: 12
max_bins: 64
min_at_risk: 5
min_effective_records: 20
publish_budget: true
publish_gain_epsilon: 0.5
bundles: [{0}]
model_signers: [coordinator, {0}]
""".format("AB" * 32)


def write(tmp_path, text: str) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    return path


def changed(tmp_path, **values) -> Path:
    """Write the good policy with some values replaced, or taken out with None."""
    kept = yaml.safe_load(GOOD) | values
    return write(tmp_path, yaml.safe_dump({k: v for k, v in kept.items() if v is not None}))


def refusal(path: Path) -> str:
    with pytest.raises(PolicyError) as info:
        load_policy(path)
    assert str(path) in str(info.value)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_a_policy_is_read(tmp_path):
    assert load_policy(write(tmp_path, GOOD)) == Policy(
        dataset="heart-2024",
        data_path=tmp_path / "records.csv",
        unit=Unit.EXAMPLE,
        max_epsilon=3.0,
        delta=1e-5,
        min_survivors=3,
        min_colluding=1,
        min_noise_multiplier=0.5,
        privacy=("example_local", "example_distributed"),
        tasks=("heart", "csv"),
        bundles=("ab" * 32,),
        model_signers=("coordinator", "ab" * 32),
        allow_sparse_graph=True,
        allow_classical_keys=True,
        max_cohort_changes=2,
        exact=("glm",),
        exact_overrides=("task.test_fraction=0",),
        min_records=100,
        max_parameter_share=0.1,
        max_levels=12,
        max_bins=64,
        min_at_risk=5,
        min_effective_records=20.0,
        publish_budget=True,
        publish_gain_epsilon=0.5,
    )


def test_what_has_a_default_may_be_left_out(tmp_path):
    short = dict.fromkeys(("data_path", "min_noise_multiplier", "tasks", "bundles"))
    short |= dict.fromkeys(("require_identities", "allow_sparse_graph"))
    short |= dict.fromkeys(("allow_classical_keys",))
    short |= dict.fromkeys(("exact", "exact_overrides"))
    policy = load_policy(changed(tmp_path, **short))
    assert policy.require_identities
    assert not policy.allow_sparse_graph
    assert not policy.allow_classical_keys
    assert policy.exact == policy.exact_overrides == ()
    assert (policy.tasks, policy.bundles, policy.data_path) == (None, None, None)
    assert policy.budget == Budget(3.0, 1e-5)


def test_a_policy_of_runs_without_privacy_needs_no_cap(tmp_path):
    text = "dataset: d\nprivacy: [none]\nmin_survivors: 2\nmin_colluding: 0\n"
    assert load_policy(write(tmp_path, text)).budget is None


def test_it_knows_every_option_and_reads_every_setting(tmp_path):
    assert set(OPTIONS) == set(GROUPS["privacy"])
    assert {f.name for f in fields(Policy)} == set(yaml.safe_load(GOOD))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_epsilom": 3}, "max_epsilom: no such setting; did you mean max_epsilon?"),
        ({"max-epsilon": 3}, "did you mean max_epsilon?"),
        ({"xyzzy": 3}, "xyzzy: no such setting; there are dataset"),
        *(
            ({key: None}, f"{key} is missing")
            for key in ("dataset", "privacy", "unit", "delta")
        ),
        *(({key: None}, f"{key} is missing") for key in ("max_epsilon", "min_survivors")),
        ({"min_colluding": None}, "min_colluding is missing: there is no default"),
        ({"dataset": 3}, "dataset=3: must be a line of text"),
        ({"dataset": " "}, "must be a line of text"),
        ({"dataset": "a\nb"}, "must be a line of text"),
        ({"unit": "person"}, "unit='person': must be example or client"),
        *(({"max_epsilon": x}, "max_epsilon=") for x in (0, -1, "x", True, [1], 10**400)),
        *(({"max_epsilon": float(x)}, "max_epsilon=") for x in ("nan", "inf")),
        *(({"delta": x}, "delta=") for x in (0, 1, -0.1, "1e-", float("nan"))),
        ({"min_noise_multiplier": -1}, "min_noise_multiplier=-1: must be a finite number"),
        *(({"min_survivors": x}, "min_survivors=") for x in (0, 2.5, "3", True)),
        ({"max_cohort_changes": -1}, "max_cohort_changes=-1: must be a whole number"),
        ({"min_colluding": -1}, "min_colluding=-1: must be a whole number, at least 0"),
        ({"min_colluding": 3}, "min_colluding=3: must be under min_survivors=3"),
        ({"require_identities": "yes, please"}, "must be true or false"),
        ({"privacy": "none"}, "privacy='none': must be a list"),
        ({"privacy": []}, "must be a list"),
        ({"privacy": ["example_locla"]}, "did you mean example_local?"),
        ({"privacy": ["xyzzy"]}, "is no option; one of none"),
        ({"privacy": [3]}, "must be a line of text"),
        ({"privacy": ["client_local"]}, "privacy=client_local: unit=example"),
        ({"bundles": ["ab"]}, "must be a SHA-256"),
        ({"tasks": [1]}, "tasks=1: must be a line of text"),
        ({"data_path": 3}, "data_path=3: must be a line of text"),
        ({"privacy": ["none"], "delta": None}, "delta=None: give both or neither"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path, values, words):
    assert words in refusal(changed(tmp_path, **values))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a YAML mapping"),
        ("- a\n- b\n", "must be a YAML mapping"),
        ("a: [", "not YAML"),
        ("a: !!python/object:os.system {}", "not YAML"),
        ("a: 2024-99-99", "not YAML"),
        (GOOD + "max_epsilon: 100\n", "max_epsilon stands there twice"),
        ("1: 2\n", "1: no such setting"),
    ],
)
def test_a_file_that_is_no_policy_is_refused(tmp_path, text, words):
    assert words in refusal(write(tmp_path, text))


def test_a_file_that_others_may_write_or_that_is_missing_is_refused(tmp_path):
    path = write(tmp_path, GOOD)
    for mode in (0o664, 0o646):
        path.chmod(mode)
        assert "others may write it; take that from them: chmod go-w" in refusal(path)
    path.chmod(0o644)
    load_policy(path)
    assert "No such file" in refusal(tmp_path / "none.yaml")
    assert "directory" in refusal(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "not YAML" in refusal(path)


POLICY = Policy(
    dataset="heart",
    unit=Unit.EXAMPLE,
    max_epsilon=3.0,
    delta=1e-5,
    min_survivors=3,
    min_colluding=1,
    min_noise_multiplier=0.5,
    privacy=("example_distributed", "example_local", "example_central", "none"),
    tasks=("heart",),
    exact=("glm",),
)
PROPOSED = ProposedRun(
    task="heart",
    privacy="example_distributed",
    aggregation="secagg",
    sees_contributions=False,
    unit=Unit.EXAMPLE,
    min_survivors=3,
    max_colluding=1,
    identities=True,
    is_sparse=False,
    is_classical=False,
    noise_multiplier=0.5,
    epsilon=3.0,
    delta=1e-5,
)
NONE = {
    "privacy": "none",
    "unit": None,
    "noise_multiplier": None,
    "epsilon": None,
    "delta": None,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"min_survivors": 9, "max_colluding": 4, "noise_multiplier": 2.0, "epsilon": 0.1},
        # Not known before the ledger looks.
        {"epsilon": None},
        {
            "privacy": "example_local",
            "aggregation": "plain",
            "sees_contributions": True,
            "min_survivors": 0,
        },
        {"privacy": "example_central"},
        NONE,
        {**NONE, "exact": "glm"},
        {**NONE, "exact": "glm", "min_at_risk": 3},
    ],
)
def test_a_run_within_the_policy_passes(changes):
    check(POLICY, replace(PROPOSED, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "csv"}, ("task=csv", "allows heart")),
        (
            {"privacy": "client_local", "unit": Unit.CLIENT},
            ("privacy=client_local", "take one"),
        ),
        ({"unit": Unit.CLIENT}, ("unit=client", "example", "take privacy of that unit")),
        ({"unit": None}, ("unit=None", "example")),
        ({"min_survivors": 2}, ("min_survivors=2", "min_survivors=3", "raise")),
        ({"max_colluding": 0}, ("max_colluding=0", "min_colluding=1", "raise")),
        ({"identities": False}, ("identities=false", "require_identities=true")),
        ({"is_sparse": True}, ("graph is sparse", "allow_sparse_graph=false")),
        ({"is_classical": True}, ("key_agreement=classical", "allow_classical_keys=false")),
        ({"noise_multiplier": 0.4}, ("0.4", "min_noise_multiplier=0.5", "raise")),
        ({"noise_multiplier": None}, ("not given", "min_noise_multiplier=0.5")),
        ({"noise_multiplier": float("nan")}, ("nan", "min_noise_multiplier=0.5")),
        ({"epsilon": 3.1}, ("epsilon=3.1", "max_epsilon=3", "lower")),
        ({"epsilon": float("nan")}, ("epsilon=nan", "max_epsilon=3")),
        ({"delta": 1e-4}, ("delta=0.0001", "1e-05", "lower")),
        ({"delta": None}, ("delta=not given", "1e-05")),
        (
            {"aggregation": "plain", "sees_contributions": True},
            ("aggregation=plain", "min_survivors=3", "secagg"),
        ),
        (
            {"aggregation": "plain", "sees_contributions": True, "privacy": "example_central"},
            ("each contribution",),
        ),
        (
            {"aggregation": "plain", "sees_contributions": True, **NONE},
            ("each contribution", "min_survivors=3"),
        ),
        ({**NONE, "exact": "cox"}, ("algorithm=cox", "exact lists glm", "add it there")),
        (
            {**NONE, "exact": "glm", "min_at_risk": 2},
            ("algorithm.min_at_risk=2", "min_at_risk=3", "raise"),
        ),
        (
            {**NONE, "exact": "glm", "has_own_columns": False},
            ("algorithm=glm", "exact_overrides"),
        ),
    ],
)
def test_a_run_below_a_floor_is_refused_with_both_values(changes, words):
    with pytest.raises(PolicyError) as info:
        check(POLICY, replace(PROPOSED, **changes))
    assert all(word in str(info.value) for word in words), info.value
    assert "\n" not in str(info.value)


def test_none_passes_only_where_it_is_listed():
    strict = replace(POLICY, privacy=("example_distributed",))
    with pytest.raises(PolicyError, match="privacy=none, but it allows example_distributed"):
        check(strict, replace(PROPOSED, **NONE))


def test_a_policy_that_allows_a_sum_of_one_allows_plain():
    open_one = replace(POLICY, min_survivors=1, min_colluding=0)
    check(open_one, replace(PROPOSED, aggregation="plain", sees_contributions=True, **NONE))
