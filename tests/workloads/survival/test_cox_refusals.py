"""What a Cox regression refuses: states, options, keys; each with the mend."""

import numpy as np
import pytest

from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from tests.kits import survival as kit
from workloads.survival.cox import Cox, CoxConfig, Strata
from workloads.values import Query, State, StateRefusedError

NONE = Strata.none


@pytest.mark.parametrize("strata", list(Strata))
def test_a_state_that_a_server_made_up_is_refused(strata):
    records, work = kit.made_up(60), kit.workload(Cox, CoxConfig(strata=strata))
    state = kit.one_round(work, work.initial_state(), [records])
    arrays, header = state.arrays, state.header
    wrong = [
        State({**arrays, "asked": np.zeros(2)}, header),
        State({**arrays, "asked": np.array([0, np.nan, 0])}, header),
        State({**arrays, "asked": np.array([0, 1e300, 0])}, header),
        State(arrays, {}),
    ]
    if strata is NONE:
        starts = arrays["starts"]
        wrong += [
            State({**arrays, "starts": starts[::-1].copy()}, header),
            State({**arrays, "starts": starts + 0.5}, header),
            State({**arrays, "starts": np.append(starts[:-1], 1e9)}, header),
            State({**arrays, "events": arrays["events"][1:]}, header),
            # One event that passes for several, whose own sums are asked for.
            State({**arrays, "events": arrays["events"] + 5e-7}, header),
            State({**arrays, "leaving": arrays["leaving"] + 0.5}, header),
            # Each time by itself, which the public minimum does not allow.
            State({**arrays, "leaving": np.ones(len(starts))}, header),
            State(arrays, {**header, "bits": 60}),
            State(arrays, {**header, "bits": True}),
            State(arrays, {**header, "shift": float("inf")}),
            State(arrays, {**header, "shift": None}),
            State({**arrays, "leaving": np.full(len(starts), np.nan)}, header),
        ]
    for one in wrong:
        with pytest.raises(StateRefusedError):
            work.contribute(one, Query(2), kit.data(records), np.random.default_rng(0))


@pytest.mark.parametrize(
    "privacy", ["example_distributed", "example_central", "client_central"]
)
def test_under_privacy_it_says_what_to_take_instead(privacy):
    free = "privacy.noise_multiplier=2 privacy.delta=1e-3 privacy.population=4"
    if privacy.startswith("example"):
        free += " privacy.sampling_rate=1 privacy.expected_batch_size=100"
    given = {"task": "breast_cancer", "algorithm": "cox", "privacy": privacy}
    with pytest.raises(ConfigError, match=r"couples records\. Take algorithm=kaplan_meier"):
        load_config(given | {"overrides": free})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("free", "says"),
    [
        ("algorithm.steps=20", r"algorithm.steps=20: with algorithm.strata=participant"),
        ("algorithm.times=[1,2]", r"algorithm.times=.*with algorithm.strata=participant"),
        ("algorithm.min_at_risk=5", r"algorithm.min_at_risk=5: with algorithm.strata"),
        ("algorithm.strata=none algorithm.steps=0", "must be from 1"),
        ("algorithm.strata=none algorithm.min_at_risk=0", "must be at least 1"),
        ("algorithm.strata=none algorithm.times=[3,2]", "must ascend"),
        ("algorithm.strata=none algorithm.times=[0,2]", "above 0"),
        ("algorithm.strata=none algorithm.times=[1] algorithm.steps=3", "one of the two"),
        ("algorithm.confidence=1", "must be in"),
        ("task.test_fraction=0.3", "holds no record out"),
        ("task.model=mlp", "no neural model"),
    ],
)
def test_keys_that_make_no_sense_or_have_no_effect_are_refused(own_conf, free, says):
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    with pytest.raises(ConfigError, match=says):
        load_config({"task": "months", "algorithm": "cox", "overrides": free})


@pytest.mark.parametrize(
    ("free", "says"),
    [
        ("algorithm.columns=[weight]", "'weight' is no column; there are age, dose, sex"),
        ("algorithm.strata=none algorithm.times=[9,99]", "99 is beyond task.label.time.max=60"),
        ("algorithm.strata=none algorithm.steps=900000", "make up to .* numbers a round, but"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused(own_conf, free, says):
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    config = load_config({"task": "months", "algorithm": "cox", "overrides": free})
    with pytest.raises(ValueError, match=says):
        build_workload(config)
