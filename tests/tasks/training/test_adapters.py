"""Low-rank adapters: what is trained and exchanged, what stays, and what a file holds."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from app.builders.workload import build_task, build_workload
from app.cli.main import main
from app.config.load import ConfigError, load_config
from app.node.session import NodeSession
from app.node.settings import NodeSettings
from app.results.model_file import ModelFileError, load_model, read_model, save_model
from app.simulation.in_process import simulate
from tasks.base import ModelRefusedError
from tasks.records import DataError
from tasks.training.adapters import Adapted, _directions, _orthonormal
from tasks.training.local import get_parameters, initial_model, outputs_of, train
from tasks.training.optimizer import build_optimizer
from tasks.training.record_gradients import RecordGradient
from tests.kits.private_kit import sent_by
from workloads.values import State

_SMALL = "task.width=16 task.length=8"
#: Option of task and its keys: recurrent, attention, convolutions of pictures.
MODELS = [
    ("shakespeare", f"{_SMALL} task.model=gru"),
    ("shakespeare", f"{_SMALL} task.model=lstm"),
    ("shakespeare", f"{_SMALL} task.model=transformer"),
    ("mnist", ""),
    ("digits", ""),
]


def based(tmp_path: Path, option: str, keys: str, rank: int = 2, **changes):
    """Write a base that is not the untrained model; return the run config of adapters on it."""
    plain = build_task(load_config({"task": option, "overrides": keys, "seed": 5}))
    file = tmp_path / "base.safetensors"
    save_file(get_parameters(initial_model(plain)), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    adapters = {"rank": rank, "base": str(file), "sha256": digest, **changes}
    words = [f"task.adapters.{key}={value}" for key, value in adapters.items()]
    return {"task": option, "overrides": " ".join([keys, *words])}


def task_of(run_config):
    return build_task(load_config(run_config))


@pytest.mark.slow
@pytest.mark.parametrize(("option", "keys"), MODELS)
def test_adapters_begin_as_the_base_and_little_is_exchanged(tmp_path, option, keys):
    task = task_of(based(tmp_path, option, keys, rank=1))
    model = initial_model(task)
    inputs = task.made_up_inputs(3)
    np.testing.assert_array_equal(outputs_of(model, inputs), outputs_of(model.base, inputs))
    base = load_file(tmp_path / "base.safetensors")
    exchanged = get_parameters(model)
    assert all(name.startswith("cores.") for name in exchanged)
    names = [name.removeprefix("cores.").replace("/", ".") for name in exchanged]
    assert sorted(names) == sorted(name for name, values in base.items() if values.ndim > 1)
    assert {values.shape for values in exchanged.values()} == {(1, 1)}
    assert sum(v.size for v in exchanged.values()) < sum(v.size for v in base.values()) / 5


@pytest.mark.slow
@pytest.mark.parametrize(("option", "keys"), MODELS)
def test_training_moves_every_adapter_and_nothing_of_the_base(tmp_path, option, keys):
    task = task_of(based(tmp_path, option, f"{keys} task.training.batch_size=4"))
    model = initial_model(task)
    before = [p.clone() for p in _frozen(model)]
    train(task, model, task.made_up(8), np.random.default_rng(0), 0.1)
    base = load_file(tmp_path / "base.safetensors")
    for name, parameter in model.base.named_parameters():
        np.testing.assert_array_equal(parameter.numpy(), base[name])
    assert all(map(torch.equal, _frozen(model), before))
    assert all(p.abs().max() > 0 for p in model.cores.values())
    inputs = task.made_up_inputs(3)
    merged = model.merged()
    np.testing.assert_allclose(outputs_of(merged, inputs), outputs_of(model, inputs), atol=1e-6)
    assert np.abs(outputs_of(merged, inputs) - outputs_of(model.base, inputs)).max() > 1e-4
    assert not any(isinstance(layer, Adapted) for layer in merged.modules())


def _frozen(model: Adapted) -> list[torch.Tensor]:
    return [*model.left.values(), *model.right.values()]


def test_the_mean_of_adapters_is_the_mean_of_their_models(tmp_path):
    """What averaging two factors apart is not."""
    task = task_of(based(tmp_path, "digits", ""))
    nodes = [initial_model(task) for _ in range(3)]
    for seed, model in enumerate(nodes):
        train(task, model, task.made_up(40), np.random.default_rng(seed), 0.0)
    mean = initial_model(task)
    with torch.no_grad():
        for name, parameter in mean.cores.items():
            parameter.copy_(torch.stack([node.cores[name] for node in nodes]).mean(0))
    due = [torch.stack(each).mean(0) for each in zip(*map(_weights, nodes), strict=True)]
    for found, expected in zip(_weights(mean), due, strict=True):
        torch.testing.assert_close(found, expected)


def _weights(model: Adapted) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in model.merged().parameters()]


def test_the_gradient_of_a_record_is_the_one_of_the_chain_rule(tmp_path):
    """Of W + L R K it is that of W between L and K, both transposed, at the base."""
    task = task_of(based(tmp_path, "digits", ""))
    model, record = initial_model(task), task.made_up(1)
    found = RecordGradient(task, model, 1.0).gradient(record)
    plain = task_of({"task": "digits"})
    base = initial_model(plain)
    base.load_state_dict({k: v.clone() for k, v in model.base.state_dict().items()})
    base.requires_grad_(True)
    task.per_example_loss(
        base.double()(torch.from_numpy(record.inputs).double()),
        torch.from_numpy(record.targets),
    ).sum().backward()
    own = dict(base.named_parameters())
    parts = [_turned(model, key, own[key.replace("/", ".")].grad) for key in model.cores]
    torch.testing.assert_close(found, torch.cat([part.flatten() for part in parts]))


def _turned(model: Adapted, key: str, gradient: torch.Tensor) -> torch.Tensor:
    gradient = gradient.flatten(1)
    if key in model.left:
        gradient = model.left[key].double() @ gradient
    return gradient @ model.right[key].double().T if key in model.right else gradient


def _low_rank(rows: int, columns: int, rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    drawn = [
        torch.randn(*each, generator=generator) for each in ((rows, rank), (rank, columns))
    ]
    return drawn[0] @ drawn[1]


class TestDirections:
    """The rows of K, and of L with the matrix transposed."""

    def found(self, matrix: torch.Tensor, rank: int) -> torch.Tensor:
        torch.manual_seed(0)
        return _directions(matrix, rank)

    def test_they_are_those_in_which_a_matrix_does_most(self):
        matrix = torch.diag(torch.tensor([1.0, 9.0, 0.5, 8.0, 2.0, 0.1, 0.2, 7.0]))
        found = self.found(matrix, 3)
        torch.testing.assert_close(found @ found.T, torch.eye(3))
        assert found.square().sum(0)[[1, 3, 7]].min() > 0.99

    @pytest.mark.parametrize(
        "matrix",
        [
            torch.zeros(5, 8),
            torch.eye(8),
            _low_rank(20, 8, 1),
            1e-12 * _low_rank(20, 8, 8),
            _low_rank(20, 8, 8),
        ],
        ids=["zero", "equal", "low-rank", "tiny", "full"],
    )
    def test_rounding_does_not_move_them(self, matrix):
        """Machines round differently; the mean of what they train stands on one basis."""
        rounding = 1e-15 * torch.randn(matrix.shape, dtype=torch.float64)
        moved = matrix.double() + rounding * matrix.abs().max()
        found = self.found(matrix.double(), 4)
        torch.testing.assert_close(self.found(moved, 4), found, rtol=0, atol=1e-8)

    def test_their_signs_are_those_of_what_they_are_made_of(self):
        """Which sign a library takes is its own affair."""
        columns = _low_rank(8, 4, 4).double()
        basis = _orthonormal(columns)
        assert ((basis.T @ columns).diagonal() > 0).all()
        torch.testing.assert_close(basis @ (basis.T @ columns), columns)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_rate_that_suits_the_model_suits_its_adapters(tmp_path, optimizer):
    """SGD moves R by the model's own step in its directions, Adam each weight by the rate."""
    plain = " task.training.momentum=0" * (optimizer == "sgd")
    keys = f"task.training.optimizer={optimizer} task.training.learning_rate=0.1{plain}"
    task = task_of(based(tmp_path, "digits", keys))
    model = initial_model(task)
    steps = build_optimizer(model, task.config.training)
    for core in model.cores.values():
        core.grad = torch.randn(core.shape)
    steps.step()
    own, merged = (dict(one.named_parameters()) for one in (model.base, model.merged()))
    for key, core in model.cores.items():
        moved = (merged[key.replace("/", ".")] - own[key.replace("/", ".")]).detach()
        if optimizer == "sgd":
            due = 0.1 * core.grad.norm()
            torch.testing.assert_close(moved.norm(), due, rtol=1e-4, atol=0)
        else:
            size = moved.square().mean().sqrt()
            torch.testing.assert_close(size, torch.tensor(0.1), rtol=1e-4, atol=0)


def test_what_was_learnt_means_the_same_under_another_optimizer(tmp_path):
    """A run may begin with a run's model and train it otherwise."""
    found = []
    for optimizer in ("sgd", "adam"):
        keys = f"task.training.optimizer={optimizer}"
        model = initial_model(task_of(based(tmp_path, "digits", keys)))
        with torch.no_grad():
            for core in model.cores.values():
                core.fill_(0.1)
        found.append(outputs_of(model.merged(), task_of({"task": "digits"}).made_up_inputs(3)))
    np.testing.assert_array_equal(*found)


def test_a_model_of_older_adapters_is_refused(tmp_path):
    """Its numbers would change the base in other directions than they were trained in."""
    config = load_config(based(tmp_path, "digits", ""))
    file = tmp_path / "model.safetensors"
    save_model(file, config, 1, State({"columns.0/weight": np.ones((16, 2), np.float32)}))
    with pytest.raises(ModelFileError, match=r"export it with the version that trained it"):
        load_model(file)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Return the model file of a masked run over three nodes."""
    folder = tmp_path_factory.mktemp("first") / "run"
    words = "aggregation.min_survivors=3 task.training.num_epochs=5"
    simulate(
        {"task": "digits", "overrides": words, "num-rounds": 4, "output-dir": str(folder)}, 3
    )
    return folder / "model.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["none", "example_distributed"])
def test_a_masked_run_of_adapters_gives_a_model_like_any_other(tmp_path, first, privacy):
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    words = [
        f"aggregation.min_survivors=3 task.adapters.rank=2 task.adapters.base={first}",
        f"task.adapters.sha256={digest}",
    ]
    if privacy != "none":
        words.append(
            "privacy.noise_multiplier=2 privacy.delta=1e-4 privacy.population=3"
            " privacy.sampling_rate=1 privacy.expected_batch_size=1400 privacy.clip_norm=1"
        )
    run_config = {
        "task": "digits",
        "privacy": privacy,
        "num-rounds": 2,
        "overrides": " ".join(words),
        "output-dir": str(tmp_path / "run"),
    }
    simulate(run_config, 3)
    file = tmp_path / "run" / "model.safetensors"
    state = read_model(file).state
    assert all(name.startswith("cores.") for name in state.arrays)
    task, model = load_model(file)
    assert not isinstance(model, Adapted)
    workload = build_workload(load_config(run_config))
    inputs = task.made_up_inputs(5)
    np.testing.assert_allclose(
        outputs_of(model, inputs), outputs_of(workload.load(state), inputs), atol=1e-6
    )
    assert set(load_file(first)) == {name for name, _ in model.named_parameters()}


def test_a_base_that_is_another_one_is_refused(tmp_path):
    run_config = based(tmp_path, "digits", "", sha256="0" * 64)
    with pytest.raises(DataError, match=r"its SHA-256 is \w{64}, not task\.adapters\.sha256=0"):
        initial_model(task_of(run_config))


def _renamed(arrays):
    return {f"x{name}": values for name, values in arrays.items()}


def _cut(arrays):
    return {name: values[..., :1].copy() for name, values in arrays.items()}


def _wrong_type(arrays):
    return {name: values.astype(np.float64) for name, values in arrays.items()}


def _nowhere_finite(arrays):
    return {name: np.full_like(values, np.nan) for name, values in arrays.items()}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (_renamed, "lacks '.*the task's other keys must be as they were"),
        (_cut, "float32 of shape .*but float32 of"),
        (_wrong_type, "float64 of shape"),
        (_nowhere_finite, "is not finite"),
    ],
)
def test_tensors_of_another_model_are_refused(tmp_path, changed, told):
    run_config = based(tmp_path, "digits", "")
    file = tmp_path / "base.safetensors"
    save_file(changed(load_file(file)), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    run_config["overrides"] += f" task.adapters.sha256={digest}"
    with pytest.raises(ModelRefusedError, match=told):
        initial_model(task_of(run_config))


def test_what_is_no_safetensors_file_is_refused(tmp_path):
    run_config = based(tmp_path, "digits", "")
    (tmp_path / "base.safetensors").write_text("hello, this is no such file")
    with pytest.raises(DataError, match=r"give the model\.safetensors of a run"):
        initial_model(task_of(run_config))


@pytest.mark.parametrize("is_pipe", [True, False])
def test_a_base_that_is_no_file_is_not_waited_for(tmp_path, is_pipe):
    run_config = based(tmp_path, "digits", "")
    (tmp_path / "base.safetensors").unlink()
    if is_pipe:
        os.mkfifo(tmp_path / "base.safetensors")
    with pytest.raises(DataError, match=r"base\.safetensors: the base .* is no file, or not"):
        initial_model(task_of(run_config))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"seed": 4}, "seed was 0, now 4: records that it was trained on would be held out"),
        ({"words": "task.test_fraction=0.3"}, r"task\.test_fraction was 0\.2, now 0\.3"),
    ],
)
def test_a_base_of_another_meaning_is_refused_before_anything_is_sent(
    tmp_path, first, keys, told, capsys
):
    """Its tensors have the same names and shapes."""
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    words = f"task.adapters.rank=2 task.adapters.base={first} task.adapters.sha256={digest}"
    run_config = {
        "task": "digits",
        "num-rounds": 1,
        "overrides": f"{words} {keys.get('words', '')}",
        "seed": keys.get("seed", 0),
        "output-dir": str(tmp_path / "run"),
    }
    assert sent_by(run_config, 3, ConfigError, rf"task\.adapters\.base={first}: {told}") == []
    given = " ".join(
        f"{key}={json.dumps(value)}" for key, value in run_config.items() if key != "num-rounds"
    )
    assert main(["plan", "--run-config", given]) == 2
    assert re.search(told, capsys.readouterr().err)


def test_no_layer_of_a_base_is_replaced(tmp_path):
    run_config = based(tmp_path, "digits", "")
    words = (
        " privacy.noise_multiplier=2 privacy.delta=1e-4 privacy.population=3"
        " privacy.sampling_rate=1 privacy.expected_batch_size=1400 privacy.fix_model=true"
        " aggregation.min_survivors=3"
    )
    run_config |= {"privacy": "example_distributed"}
    run_config["overrides"] += words
    with pytest.raises(ConfigError, match=r"privacy\.fix_model has no effect here: .*rank=2"):
        load_config(run_config)


def test_a_rank_beyond_every_matrix_is_refused(tmp_path):
    run_config = based(tmp_path, "digits", "", rank=10_000)
    with pytest.raises(ModelRefusedError, match=r"adapters\.rank=10000.*take a smaller rank"):
        initial_model(task_of(run_config))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "task.adapters.rank=-1",
            r"task\.adapters\.rank=-1: must be 0 ",
        ),
        ("task.adapters.base=x", r"task\.adapters\.base=x has no effect .*rank=0"),
        ("task.adapters.rank=2", r"task\.adapters\.base: give the model\.safetensors"),
        (
            "task.adapters.rank=2 task.adapters.base=x",
            r"sha256='': give .* `sha256sum x`",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused(words, told):
    with pytest.raises(ConfigError, match=told):
        load_config({"task": "digits", "overrides": words})


def test_adapters_have_no_effect_without_a_network():
    with pytest.raises(ConfigError, match=r"task\.adapters\.rank has no effect here"):
        load_config({"task": "adult", "algorithm": "ebm", "overrides": "task.adapters.rank=0"})


class TestNode:
    """A node takes its own copy of the base: the path that the server names is the server's."""

    def model(self, run_config, settings: NodeSettings):
        task = task_of(run_config)
        session = NodeSession(None, load_config(run_config), settings)  # pyright: ignore
        session.take_base(task)
        return initial_model(task)

    def test_a_deployed_node_reads_no_path_of_the_server(self, tmp_path):
        run_config = based(tmp_path, "digits", "")
        with pytest.raises(DataError, match='base-model="FILE" in --node-config'):
            self.model(run_config, NodeSettings())

    def test_a_deployed_node_takes_its_own(self, tmp_path):
        run_config = based(tmp_path, "digits", "")
        own = (tmp_path / "base.safetensors").rename(tmp_path / "own.safetensors")
        assert isinstance(self.model(run_config, NodeSettings(base_model=own)), Adapted)

    def test_a_simulated_node_shares_the_server_s(self, tmp_path):
        run_config = based(tmp_path, "digits", "")
        assert isinstance(self.model(run_config, NodeSettings(simulated=True)), Adapted)
