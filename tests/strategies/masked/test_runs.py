"""Whole runs with secure aggregation, in one process, through the real client handlers."""

import numpy as np
import pytest
from flwr.app import Message

from app.simulation.in_process import simulate
from strategies.masked.messages import unwrap
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.records import to_arrays, to_parameters
from strategies.secagg.messages import MaskedInput
from tests.kits.secure_kit import FAST, assert_same, in_clear, secure_run, through_codec
from tests.kits.traced import Traced, kind_of, with_faults


@pytest.fixture
def run_config(tmp_path):
    return secure_run(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["digits", "breast_cancer"])
@pytest.mark.parametrize("algorithm", ["fedavg", "fedadam"])
def test_the_model_is_that_of_plain_through_the_codec_bit_for_bit(run_config, task, algorithm):
    run_config |= {"task": task, "algorithm": algorithm}
    secure, clear = simulate(run_config, 5), simulate(through_codec(run_config), 5)
    assert_same(secure.arrays, clear.arrays)
    assert secure.metrics == clear.metrics


def test_heart_is_the_same_bit_for_bit(run_config, data_dir):
    run_config |= {"task": "heart", "data-dir": str(data_dir / "heart")}
    secure, clear = simulate(run_config, 4), simulate(through_codec(run_config), 4)
    assert_same(secure.arrays, clear.arrays)


def test_one_round_is_within_n_steps_of_plain_floats(run_config):
    run_config |= {"num-rounds": 1}
    free = "aggregation.codec.max_weight_examples=100 aggregation.codec.modulus_bits=24"
    secure = simulate({**run_config, "overrides": f"{FAST} {free}"}, 5)
    clear = simulate(in_clear(run_config), 5)
    step = 8.0 * 5 / 2**23
    for name in secure.arrays:
        difference = np.abs(secure.arrays[name].numpy() - clear.arrays[name].numpy()).max()
        assert 0 < difference <= 5 * step


def test_five_rounds_and_a_masked_evaluation_take_fourteen_trips(run_config):
    traced = Traced(run_config | {"num-rounds": 5}, 4)
    assert traced.grid.num_trips == 14
    assert traced.kinds() == {
        "train.advert": 4,
        "train.share": 4,
        "train": 20,
        "train.unmask": 24,
        "evaluate": 4,
    }


def test_no_reply_holds_anything_but_protocol_bytes(run_config):
    traced = Traced(run_config, 4)
    for message, reply in traced.messages:
        assert reply is not None
        assert set(reply.content) == {"secagg"}, kind_of(message)


def test_masked_inputs_look_like_noise_and_repeat_nothing(run_config):
    traced = Traced(run_config, 4)
    payloads = [
        np.frombuffer(MaskedInput.decode(unwrap(reply.content)).update, np.uint8)
        for message, reply in traced.messages
        if kind_of(message) == "train"
    ]
    assert len({payload.tobytes() for payload in payloads}) == 12
    values = np.concatenate(payloads).astype(float)
    # 12 x 31 x 4 uniform bytes: the mean's deviation is 73.9 / sqrt(1488) = 1.92; nine of
    # those are passed with probability below 1e-18.
    assert abs(values.mean() - 127.5) < 9 * 1.92


def test_cohorts_that_change_cost_no_trips_of_their_own(run_config):
    run_config |= {"num-rounds": 5}
    run_config["overrides"] += " rounds.cohort_fraction=0.6"
    traced = Traced(run_config, 8)
    assert traced.grid.num_trips == 14
    cohorts = {
        number: {
            m.metadata.dst_node_id
            for m, _ in traced.messages
            if kind_of(m) == "train" and m.content["config"]["server-round"] == number
        }
        for number in range(1, 6)
    }
    assert all(len(cohort) == 5 for cohort in cohorts.values())
    assert len({frozenset(cohort) for cohort in cohorts.values()}) > 1


def test_a_server_that_shows_one_node_another_model_hears_nothing(run_config):
    def fault(message, real):
        if kind_of(message) == "train" and message.metadata.dst_node_id == 1001:
            changed = {n: v + 1 for n, v in to_parameters(message.content["arrays"]).items()}
            content = type(message.content)(dict(message.content))
            content["arrays"] = to_arrays(changed)
            message = _with_content(message, content)
        return real(message)

    with pytest.raises(RunStoppedError):
        simulate(run_config, 3, with_faults(run_config, 3, fault))


def _with_content(message: Message, content) -> Message:
    changed = Message.__new__(Message)
    changed.__dict__.update(message.__dict__)
    changed.__dict__["_content"] = content
    return changed
