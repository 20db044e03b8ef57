"""Our strategies around Flower's: the same models, and states that come back."""

import flwr
import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvgM

from app.builders.run import RunFacts, build_strategy
from app.builders.workload import build_workload
from app.config.algorithm import AlgorithmConfig
from app.config.load import load_config, options
from app.config.run import GROUPS
from app.simulation.in_process import InProcessGrid
from strategies.rounds.attempt import RoundAttempt, RunStoppedError
from strategies.rounds.flower_step import FlowerStep
from strategies.rounds.records import to_arrays, to_parameters, to_record
from strategies.rounds.transport import PollingGrid
from workloads.model_arrays import flatten
from workloads.scoring.bins import score_bins
from workloads.values import Contribution, State, names_of_scores

# Those of neural models: other workloads step by themselves.
ALGORITHMS = [
    name
    for name in options("algorithm")
    if issubclass(GROUPS["algorithm"][name], AlgorithmConfig)
]
COUNTS = {11: 30, 12: 50, 13: 20}
START = {
    "w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "b": np.zeros(2, dtype=np.float32),
}


evaluation = dict.fromkeys(
    (*names_of_scores(("accuracy",)), *score_bins(10, is_private=False).names), 0.0
)


def strategy_for(algorithm: str):
    config = load_config({"algorithm": algorithm, "aggregation": "plain"})
    return build_strategy(config, RunFacts(1, len(COUNTS), build_workload(config), 3))


def local_update(node: int, server_round: int) -> np.ndarray:
    return np.random.default_rng([node, server_round]).normal(size=8).astype(np.float32) * 0.1


def answer(message: Message) -> Message:
    """Answer as a Tacet client does: with an update and sums."""
    node = message.metadata.dst_node_id
    server_round = message.content["config"]["server-round"]
    sums = evaluation | {"num_examples": float(COUNTS[node]), "train_loss": float(node)}
    contribution = Contribution(local_update(node, server_round), sums)
    return Message(to_record(contribution), reply_to=message)


def asked(server_round: int, arrays: ArrayRecord) -> RoundAttempt:
    return RoundAttempt(
        tell_release=lambda: None,
        number=server_round,
        state=State(to_parameters(arrays)),
        deadline_seconds=5,
        draw=lambda _: list(COUNTS),
    )


def run_ours(strategy, num_rounds: int, arrays: ArrayRecord, first: int = 1) -> ArrayRecord:
    grid = PollingGrid(InProcessGrid(dict.fromkeys(COUNTS, answer)))
    for server_round in range(first, first + num_rounds):
        result = strategy.train_round(grid, asked(server_round, arrays))
        assert result.state is not None
        arrays = to_arrays(result.state.arrays)
    return arrays


def run_flowers(inner, num_rounds: int) -> dict[str, np.ndarray]:
    """Drive Flower's own strategy with whole models, as its own clients would send them."""
    arrays, grid = to_arrays(START), InProcessGrid(dict.fromkeys(COUNTS, answer))
    for server_round in range(1, num_rounds + 1):
        messages = inner.configure_train(server_round, arrays, ConfigRecord(), grid)
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            update = local_update(node, server_round)
            model = {
                "w": to_parameters(arrays)["w"] + update[:6].reshape(2, 3),
                "b": to_parameters(arrays)["b"] + update[6:],
            }
            metrics = MetricRecord({inner.weighted_by_key: COUNTS[node]})
            content = RecordDict({"arrays": to_arrays(model), "metrics": metrics})
            replies.append(Message(content, reply_to=message))
        arrays, _ = inner.aggregate_train(server_round, replies)
    return to_parameters(arrays)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_models_are_those_of_flowers_own_strategy(algorithm):
    ours = to_parameters(run_ours(strategy_for(algorithm), 4, to_arrays(START)))
    flowers = run_flowers(strategy_for(algorithm).flower_step.inner, 4)
    for name, values in flowers.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-6)
        assert ours[name].dtype == np.float32
    moved = np.abs(flatten(ours) - flatten(START)).max()
    assert moved > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_optimiser_state_survives_a_checkpoint(algorithm):
    straight = run_ours(strategy_for(algorithm), 5, to_arrays(START))
    first, second = strategy_for(algorithm), strategy_for(algorithm)
    middle = run_ours(first, 2, to_arrays(START))
    state = first.flower_step.export_state(list(START))
    second.flower_step.restore_state(state, list(START))
    resumed = run_ours(second, 3, middle, first=3)
    for name, values in to_parameters(straight).items():
        np.testing.assert_array_equal(to_parameters(resumed)[name], values)


def test_forgetting_the_optimiser_state_would_be_noticed():
    straight = run_ours(strategy_for("fedavgm"), 5, to_arrays(START))
    middle = run_ours(strategy_for("fedavgm"), 2, to_arrays(START))
    resumed = run_ours(strategy_for("fedavgm"), 3, middle, first=3)
    assert np.abs(resumed["w"].numpy() - straight["w"].numpy()).max() > 1e-3


def test_a_state_of_another_algorithm_or_model_is_refused():
    first = strategy_for("fedavgm")
    run_ours(first, 1, to_arrays(START))
    state = first.flower_step.export_state(list(START))
    with pytest.raises(ValueError, match="not of FedAvg"):
        strategy_for("fedavg").flower_step.restore_state(state, list(START))
    with pytest.raises(ValueError, match="another model"):
        strategy_for("fedavgm").flower_step.restore_state(state, ["w", "other"])


def test_a_model_that_is_not_finite_stops_the_run():
    def far_off(message: Message) -> Message:
        update = np.full(8, 3e38, dtype=np.float32)
        sums = evaluation | {"num_examples": 1.0, "train_loss": 0.0}
        content = to_record(Contribution(update, sums))
        return Message(content, reply_to=message)

    grid = PollingGrid(InProcessGrid(dict.fromkeys(COUNTS, far_off)))
    start = to_arrays({name: np.full_like(v, 3e38) for name, v in START.items()})
    with pytest.raises(RunStoppedError, match="the new model is not finite"):
        strategy_for("fedavg").train_round(grid, asked(1, start))


@pytest.mark.parametrize(
    ("algorithm", "free", "flowers"),
    [
        ("fedprox", "proximal_mu=0.7", {"proximal_mu": 0.7}),
        (
            "fedavgm",
            "server_learning_rate=0.4 algorithm.server_momentum=0.6",
            {"server_learning_rate": 0.4, "server_momentum": 0.6},
        ),
        *(
            (
                algorithm,
                "server_learning_rate=0.2 algorithm.beta_1=0.3 algorithm.beta_2=0.4"
                " algorithm.tau=0.5",
                {"eta": 0.2, "beta_1": 0.3, "beta_2": 0.4, "tau": 0.5},
            )
            for algorithm in ("fedadam", "fedyogi")
        ),
    ],
)
def test_every_number_of_the_config_reaches_flowers_strategy(algorithm, free, flowers):
    config = load_config({"algorithm": algorithm, "overrides": f"algorithm.{free}"})
    inner = build_strategy(config, RunFacts(1, 3, build_workload(config), 3)).flower_step.inner
    assert type(inner).__name__.lower() == algorithm
    assert {name: getattr(inner, name) for name in flowers} == flowers


@pytest.mark.parametrize(("strategy", "name"), [(FedAdam, "v_t"), (FedAvgM, "momentum_vector")])
def test_a_flower_that_keeps_its_state_elsewhere_is_refused(strategy, name):
    """Its state would be missing from every checkpoint, and nobody would be told."""
    inner = strategy()
    FlowerStep(inner)
    delattr(inner, name)
    with pytest.raises(ValueError, match=f"flwr {flwr.__version__}: .* has no {name};"):
        FlowerStep(inner)
