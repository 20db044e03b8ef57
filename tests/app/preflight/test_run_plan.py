"""``tacet plan``: what a run would cost, and to whom it says how much."""

import json
import math
import re

import pytest
from torch import nn

from app.builders.privacy import privacy_plan, private_codec
from app.builders.workload import build_workload
from app.cli.main import main
from app.config.load import ConfigError, load_config
from app.config.plain import finite
from app.preflight.run_plan import PlanError, plan_run
from strategies.codec.stages import SumContext
from tasks.breast_cancer import BreastCancer
from tests.kits.private_kit import composing, run_config_of, sent_by
from tests.kits.traced import Traced


def test_every_number_of_colluders_below_t_has_its_epsilon():
    free = "aggregation.min_survivors=4"
    plan = plan_run(load_config(composing("client_distributed", free=free)))
    found = {a.num_colluding: a.epsilon for a in plan.adversaries[1:]}
    assert list(found) == [0, 1, 2, 3]
    spent = list(found.values())
    assert spent == sorted(set(spent))
    assert plan.adversaries[0].epsilon == found[0]
    assert all(math.isfinite(epsilon) for epsilon in spent)


@pytest.mark.parametrize(
    ("option", "least", "hidden"), [("client_local", 2, 1.0), ("client_central", 1, 0.5)]
)
def test_who_sees_each_contribution_sees_another_in_its_place_and_who_was_drawn(
    option, least, hidden
):
    """Two contributions lie two clip norms apart, one and none lie one apart."""
    config = load_config(composing(option, "plain", "rounds.cohort_fraction=0.5"))
    plan = privacy_plan(config, build_workload(config), 31)
    moved = plan.update_release().l2_sensitivity / plan.refinement * plan.step
    assert least <= moved < 1.5 * least
    assert plan.update_release(sampled=True).sampling_rate == hidden


def test_a_plan_on_too_coarse_a_grid_says_what_keeps_it_from_the_tighter_accountant():
    free = "aggregation.codec.modulus_bits=8 privacy.population=100"
    told = plan_run(load_config(composing("client_distributed", free=free))).guarantee
    assert (told["accountant"], told["two_k_kappa"]) == ("rdp", 0.0)
    assert "take more modulus_bits" in told["no_pld_because"]


def test_client_sampling_does_not_amplify_where_the_drawn_add_the_noise():
    free = "rounds.cohort_fraction=0.5"
    config = load_config(composing("client_distributed", free=free))
    plan = privacy_plan(config, build_workload(config), 31)
    assert plan.update_release(sampled=True).sampling_rate == 1


_SIGNED = "aggregation.identities=true aggregation.min_survivors=4"


@pytest.mark.parametrize(
    ("run_config", "says"),
    [
        ({"aggregation": "plain"}, "sees each contribution"),
        ({}, "can open single inputs"),
        ({"overrides": _SIGNED}, "one sum over T survivors"),
        ({"overrides": f"{_SIGNED} aggregation.graph=sparse"}, "can surround a node"),
    ],
)
def test_what_a_server_that_breaks_the_protocol_learns(run_config, says):
    assert says in plan_run(load_config(run_config)).malicious_server


def test_keys_of_both_kinds_have_their_bytes():
    sizes = [
        plan_run(
            load_config(
                {"overrides": f"rounds.min_clients=10 aggregation.key_agreement={agreed}"}
            )
        ).key_bytes
        for agreed in ("hybrid", "classical", "auto")
    ]
    # ML-KEM keys of each peer, and ciphertexts in each row (docs/secure-aggregation.md).
    assert 5_000 < (sizes[0] - sizes[1]) / 9 < 7_000
    assert sizes[1] > 0
    # A plan is of a deployment.
    assert sizes[2] == sizes[0]
    assert plan_run(load_config({"aggregation": "plain"})).key_bytes == 0


def test_of_many_colluders_some_are_told_and_those_that_are_promised():
    free = (
        "privacy.population=400 rounds.min_clients=400 aggregation.min_survivors=300"
        " aggregation.max_colluding=7"
    )
    plan = plan_run(load_config(composing("client_distributed", free=free)))
    told = [one.num_colluding for one in plan.adversaries[1:]]
    assert told == sorted(told)
    assert {0, 7, 299} <= {*told}
    assert len(told) <= 12
    spent = [one.epsilon for one in plan.adversaries[1:]]
    assert spent == sorted(spent)


def test_a_trusted_server_is_said_to_be():
    plan = plan_run(load_config(composing("client_central", "plain")))
    assert plan.adversaries[-1].who == "server, which is trusted"
    assert plan.adversaries[-1].epsilon == math.inf
    assert plan.guarantee["neighbours"] == "one client's contribution replaced by zero"


def test_the_sum_fits_with_next_to_no_chance_of_a_wrap():
    plan = plan_run(load_config(composing("client_distributed")))
    assert plan.modulus["fits"]
    assert plan.modulus["wrap_probability"] < 1e-9
    assert plan.modulus["padded_dimension"] == 32
    assert plan.bytes_up == 4 * 32
    # Without privacy also count and loss of training, count, loss, accuracy and bins of the
    # evaluation, and who clipped or diverged: 8 bytes each.
    clear = plan_run(load_config({"task": "breast_cancer", "aggregation": "secagg"}))
    assert clear.bytes_up == 4 * 31 + 8 * (2 + 3 + 2 * 256 + 2)


@pytest.mark.parametrize("option", ["example_distributed", "example_local"])
def test_what_is_kept_is_said_with_its_cost(capsys, option):
    def said(free: str) -> str:
        lines = told(capsys, "--run-config", as_text(composing(option, free=free)))
        return " ".join(" ".join(lines).split())

    text = said("aggregation.codec.keep_fraction=0.3")
    times = 3.2 if option == "example_distributed" else 3.1
    assert "kept 10 entries, others for each sum" in text
    assert f"is {times} times as large" in text
    assert f"adds {times - 1:.1f} times the squared length of the sum" in text
    assert " kept " not in said("")


@pytest.mark.parametrize(
    ("free", "warns"),
    [
        ("", False),
        ("aggregation.codec.modulus_bits=16", True),
        ("aggregation.codec.modulus_bits=16 aggregation.codec.max_weight_examples=60", False),
        ("task.training.learning_rate=1e-10", True),
    ],
)
def test_a_grid_that_is_coarser_than_updates_is_said_beforehand(capsys, free, warns):
    words = free if "learning_rate" in free else f"task.training.learning_rate=0.3 {free}"
    given = {"task": "breast_cancer", "aggregation": "secagg", "overrides": words}
    text = " ".join(told(capsys, "--run-config", as_text(given)))
    assert ("lower its max_weight_examples" in text) == warns


def test_no_privacy_is_said_to_be_none():
    plan = plan_run(load_config({"task": "breast_cancer", "aggregation": "plain"}))
    assert (plan.guarantee, plan.adversaries, plan.modulus) == ({}, [], {})
    assert plan.num_trips == 11


@pytest.mark.parametrize(
    ("free", "words"),
    [
        ("aggregation.codec.modulus_bits=8 privacy.population=2000", "modulus_bits"),
        ("privacy.noise_multiplier=1e300", "noise_multiplier"),
    ],
)
def test_what_cannot_be_is_refused(free, words):
    with pytest.raises(PlanError) as info:
        plan_run(load_config(composing("client_distributed", free=free)))
    assert words in str(info.value)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["example_central", "client_distributed"])
@pytest.mark.parametrize(
    "free",
    [
        "epsilon=1e-6",
        "epsilon=1e-300",
        "epsilon=1e300",
        "epsilon=1 privacy.delta=0.999999",
        "epsilon=1 privacy.delta=1e-300",
        "epsilon=nan",
        "epsilon=-1",
        "noise_multiplier=1e-9",
        "noise_multiplier=1e-300",
        "noise_multiplier=1e300",
        "noise_multiplier=inf",
        "noise_multiplier=0",
        "noise_multiplier=2 privacy.delta=nan",
        "noise_multiplier=2 privacy.delta=2",
        "noise_multiplier=2 privacy.clip_norm=1e300",
        "noise_multiplier=2 privacy.population=1000000000000",
        "noise_multiplier=2 privacy.population=-1",
        "noise_multiplier=2 privacy.range_deviations=1e300",
        "noise_multiplier=2 privacy.range_deviations=-inf",
        "noise_multiplier=2 privacy.metrics.every=1 privacy.metrics.noise_multiplier=1e300",
        "noise_multiplier=2 privacy.metrics.every=1 privacy.metrics.noise_multiplier=nan",
    ],
)
def test_extreme_numbers_have_a_plan_or_one_line_with_the_number(option, free):
    """No traceback, and where there is no plan the key with its value, and the mend."""
    run_config = composing(option)
    words = run_config["overrides"].replace("noise_multiplier=2", free)
    text = refusal(run_config | {"overrides": words})
    if text is None:
        return
    assert "\n" not in text
    key, _, value = f"privacy.{free}".split()[-1].rpartition("=")
    assert f"{key}={float(value):g}" in text or f"{key}={value}" in text


def refusal(run_config) -> str | None:
    """Return why a run has no plan; None where it has one, of which every figure is one."""
    try:
        plan = plan_run(load_config(run_config))
    except (ConfigError, PlanError) as error:
        return str(error)
    assert not any(math.isnan(one.epsilon) for one in plan.adversaries)
    return None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("epsilon=1e300", "privacy.epsilon=1e+300: take a value from 0.01 to 100"),
        (
            "noise_multiplier=1e-9",
            "privacy.noise_multiplier=1e-09: take a value from 0.01 to 1000",
        ),
    ],
)
def test_a_run_is_refused_in_the_words_of_its_plan(tmp_path, given, says):
    run_config = run_config_of(tmp_path, "example_central", "plain", rate=0.05)
    words = run_config["overrides"].replace("noise_multiplier=2", given)
    expected = re.escape(f"numbers too extreme to compute with: {says}")
    assert sent_by(run_config | {"overrides": words}, 4, ConfigError, expected) == []
    with pytest.raises(PlanError, match=expected):
        plan_run(load_config(run_config | {"overrides": words}))


_METRICS = "privacy.metrics.every=1 privacy.metrics.noise_multiplier"
_BIT = "privacy.adaptive_clip.bit_noise"


@pytest.mark.slow
@pytest.mark.parametrize("option", ["client_distributed", "client_local", "client_central"])
@pytest.mark.parametrize(
    ("given", "says"),
    [
        (f"{_METRICS}=1e5", "privacy.metrics.noise_multiplier=100000: such noise cannot be"),
        (f"{_METRICS}=1e-15", "privacy.metrics.noise_multiplier=1e-15: such noise cannot be"),
        (f"{_BIT}=1e5", "privacy.adaptive_clip.bit_noise=100000: such noise cannot be drawn;"),
        (f"{_BIT}=1e-15", "privacy.adaptive_clip.bit_noise=1e-15: such noise cannot be drawn;"),
    ],
)
def test_noise_that_no_sampler_draws_is_refused_before_anyone_is_asked(
    tmp_path, option, given, says
):
    run_config = run_config_of(tmp_path, option, "secagg", given)
    assert sent_by(run_config, 4, ConfigError, re.escape(says)) == []
    with pytest.raises(PlanError, match=re.escape(says)):
        plan_run(load_config(run_config))


def test_noise_under_a_thousandth_of_a_step_is_refused():
    free = "aggregation.codec.modulus_bits=8 privacy.range_deviations=2"
    run_config = composing("client_distributed", free=free)
    words = run_config["overrides"].replace("noise_multiplier=2", "noise_multiplier=1e-6")
    says = "privacy.noise_multiplier=1e-06: raise it, or raise aggregation.codec.modulus_bits=8"
    with pytest.raises(PlanError, match=re.escape(says)):
        plan_run(load_config(run_config | {"overrides": words}))


@pytest.mark.slow
@pytest.mark.parametrize("option", ["client_distributed", "client_local", "client_central"])
@pytest.mark.parametrize("given", [_METRICS, _BIT])
def test_the_range_of_a_noise_is_that_of_what_can_be_encoded(option, given):
    with pytest.raises(PlanError, match="cannot be drawn") as refused:
        plan_run(load_config(composing(option, free=f"{given}=1e9")))
    least, most = re.findall(r"from (\S+) to (\S+)", str(refused.value))[0]
    for value in (least, most):
        config = load_config(composing(option, free=f"{given}={value}"))
        workload = build_workload(config)
        codec = private_codec(config, workload, 31)
        context = SumContext(seed=bytes(32), num_contributions=4)
        update, scalars = codec.encode(codec.nothing(1, training=True), context)
        codec.decode(update, scalars, context, has_metrics=given == _METRICS)


def test_more_steps_than_can_be_accounted_for_are_refused():
    with pytest.raises(PlanError, match="lower num-rounds"):
        plan_run(load_config(composing("client_distributed", **{"num-rounds": 10**7 + 1})))
    spare = composing("client_distributed", free="privacy.spare_attempts=1000000000000")
    with pytest.raises(PlanError, match=r"or privacy\.spare_attempts$"):
        plan_run(load_config(spare))


# The command


def told(capsys, *arguments: object) -> list[str]:
    assert main(["plan", *map(str, arguments)]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    return out.out.splitlines()


def complaint(capsys, *arguments: object) -> str:
    assert main(["plan", *map(str, arguments)]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.startswith("tacet: ")
    assert out.err.count("\n") == 1
    return out.err


def as_text(run_config: dict) -> str:
    return " ".join(f"{k}={json.dumps(v)}" for k, v in run_config.items())


def test_the_table_and_the_file_say_the_same(tmp_path, capsys):
    run_config = run_config_of(tmp_path, "client_distributed", "secagg")
    file = tmp_path / "plan.json"
    lines = told(capsys, "--run-config", as_text(run_config), "--json", file)
    values = json.loads(file.read_text())
    assert values == plan_run(load_config(run_config)).to_dict()
    rows = dict(line.split("  ", 1) for line in lines if "  " in line)
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows["task"] == "breast_cancer, 31 parameters"
    assert rows["rounds"] == "3 of fedavg over secagg"
    assert rows["trips"] == "8, one after the other"
    assert rows["a round"] == "124 bytes to a node, 128 bytes from it"
    assert rows["unit"] == "client: one client's contribution replaced by zero"
    assert rows["noise"] == "distributed_discrete_gaussian, multiplier 2"
    cost = values["guarantee"]["two_k_kappa"]
    # 3 rounds of 32 numbers, at 32 bits.
    assert cost == pytest.approx(2 * 3 * 32 * 2.07e-19, rel=0.01)
    assert rows["accountant"] == f"pld, delta 0.001; 2 K kappa {cost:.2g}, in epsilon"
    for adversary in values["adversaries"]:
        assert rows[adversary["who"]] == f"{adversary['epsilon']:.6g}"


def test_spare_attempts_stand_beside_the_rounds_and_in_what_is_released(tmp_path, capsys):
    run_config = run_config_of(
        tmp_path, "client_distributed", "secagg", "privacy.spare_attempts=2"
    )
    lines = told(capsys, "--run-config", as_text(run_config))
    assert (
        "rounds      3 of fedavg over secagg, and 2 spare attempts that are paid for" in lines
    )
    assert any(line.endswith("rate 1, 5 releases") for line in lines)


def test_a_trusted_server_learns_without_bound(tmp_path, capsys):
    run_config = run_config_of(tmp_path, "client_central", "plain")
    file = tmp_path / "plan.json"
    lines = told(capsys, "--run-config", as_text(run_config), "--json", file)
    assert lines[-1].split() == ["server,", "which", "is", "trusted", "unbounded"]
    # Strict JSON has no infinity.
    strict = json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert strict["adversaries"][-1]["epsilon"] is None


def test_no_figure_of_a_plan_is_infinite_in_its_file(tmp_path, capsys):
    """At z=0.3 and q=1e-9 not only a trusted server learns without bound."""
    words = (
        "privacy.noise_multiplier=0.3 privacy.delta=1e-5 privacy.population=4"
        " privacy.sampling_rate=1e-9 privacy.expected_batch_size=1e9"
        " aggregation.min_survivors=3"
    )
    given = {"task": "breast_cancer", "privacy": "example_distributed", "overrides": words}
    file = tmp_path / "plan.json"
    told(capsys, "--run-config", as_text(given), "--json", file)
    strict = json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert strict["guarantee"]["epsilon"] is None
    given["overrides"] += " privacy.population=5"
    assert "is given twice, as 4 and as 5" in complaint(capsys, "--run-config", as_text(given))


def test_what_is_not_finite_is_nothing_in_json():
    values = {"a": [math.inf, (1.5, -math.inf)], "b": {"c": math.nan, "d": "inf", "e": 3}}
    assert finite(values) == {
        "a": [None, [1.5, None]],
        "b": {"c": None, "d": "inf", "e": 3},
    }


def test_without_a_run_config_it_plans_the_default_run(capsys):
    assert any("the model may reveal anything" in line for line in told(capsys))


def test_a_toml_file_is_taken_too(tmp_path, capsys):
    file = tmp_path / "run.toml"
    run_config = run_config_of(tmp_path, "client_local", "plain")
    file.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in run_config.items()))
    assert any(line.startswith("privacy") for line in told(capsys, "--run-config", file))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('privacy="client_locl"', "did you mean client_local?"),
        ('privacy="client_local"', "has no default and must be given"),
        ('privcy="client_local"', "privcy is no key; did you mean privacy?"),
        ('privacy="client_local', "--run-config"),
        ("nowhere.toml", "--run-config"),
    ],
)
def test_a_wrong_run_config_is_one_line(capsys, text, words):
    assert words in complaint(capsys, "--run-config", text)


def test_what_cannot_be_planned_is_one_line(tmp_path, capsys, monkeypatch):
    def with_batch_norm(self):
        return nn.Sequential(nn.Linear(30, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))

    monkeypatch.setattr(BreastCancer, "build_model", with_batch_norm)
    run_config = run_config_of(tmp_path, "example_distributed", "secagg")
    line = complaint(capsys, "--run-config", as_text(run_config))
    assert "BatchNorm1d" in line
    assert "privacy.fix_model=true" in line


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys):
    missing = tmp_path / "no" / "plan.json"
    assert "No such file" in complaint(capsys, "--json", missing)


@pytest.mark.parametrize(
    ("free", "says"),
    [
        ("aggregation.min_survivors=2 rounds.min_clients=3", "=2 is under threshold=3"),
        ("aggregation.min_survivors=3 aggregation.threshold=4", "min_survivors=3 is under"),
        ("aggregation.min_survivors=3 rounds.min_clients=9", "min_survivors=3 is under"),
        ("aggregation.codec.modulus_bits=8 rounds.min_clients=200", "modulus_bits=8"),
    ],
)
def test_a_run_none_of_whose_cohorts_can_be_summed_has_no_plan(free, says):
    with pytest.raises(PlanError, match=says) as refused:
        plan_run(load_config({"overrides": free}))
    assert str(refused.value).startswith("aggregation=secagg: ")


@pytest.mark.parametrize(
    "free",
    ["", "aggregation.threshold=5", "aggregation.max_colluding=10", "rounds.min_clients=9"],
)
def test_a_run_some_of_whose_cohorts_can_be_summed_has_a_plan(free):
    assert not plan_run(load_config({"overrides": free})).cohort_objection


def test_a_private_plan_tries_the_cohorts_of_its_population():
    with pytest.raises(PlanError, match="a cohort of 4 is under max_colluding"):
        plan_run(load_config(composing("client_local", free="aggregation.max_colluding=3")))
    free = "privacy.population=8"
    told = plan_run(load_config(composing("client_distributed", free=free))).cohort_objection
    assert told.startswith("once 8 nodes are drawn, the run stops: min_survivors=3 is under")


@pytest.mark.parametrize("num_rounds", [1, 6])
def test_exact_sums_that_nodes_follow_go_back_to_them(tmp_path, num_rounds):
    """As the plan says: the sum of the round before, and who has to take part."""

    def planned(more=""):
        run = {"task": "breast_cancer", "algorithm": "glm", "num-rounds": num_rounds}
        free = f"aggregation.min_survivors=3 {more}"
        return plan_run(load_config(run | {"overrides": free}))

    peers = tmp_path / "peers"
    signed = planned(f"aggregation.identities=true aggregation.peers_file={peers}")
    plain = planned()
    more = plain.bytes_up if num_rounds > 1 else 0
    assert signed.bytes_down == plain.bytes_down + more
    assert ("groups of T=3" in signed.same_nodes) == (num_rounds > 1)
    assert not plain.same_nodes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "num_rounds", "free", "privacy"),
    [
        ("marginals", 2, "", "none"),
        ("marginals", 3, "", "example_distributed"),
        ("ebm", 2, "algorithm.binning=quantile algorithm.max_bins=8", "none"),
    ],
)
def test_a_plan_says_what_a_node_is_sent_where_the_first_state_is_empty(
    tmp_path, algorithm, num_rounds, free, privacy
):
    masked = "aggregation.min_survivors=3 rounds.deadline_seconds=2"
    if privacy != "none":
        masked += (
            " privacy.noise_multiplier=3 privacy.delta=1e-4 privacy.population=3"
            " privacy.sampling_rate=1 privacy.expected_batch_size=600"
        )
    traced = Traced(
        {
            "task": "breast_cancer",
            "algorithm": algorithm,
            "privacy": privacy,
            "num-rounds": num_rounds,
            "overrides": f"{masked} {free}",
            "output-dir": str(tmp_path / "run"),
        },
        3,
    )
    sent = [message.content.array_records.get("arrays") for message, _ in traced.messages]
    found = max(
        sum(array.numpy().nbytes for array in arrays.values()) for arrays in sent if arrays
    )
    # Of edges there may be fewer, where a column has few values.
    assert 0.9 * traced.plan().bytes_down <= found <= traced.plan().bytes_down
