"""Backbones: their features, the file that they come from, and the runs on top of them."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from app.builders.workload import build_task, build_workload
from app.cli.main import main
from app.config.load import ConfigError, load_config
from app.export.network import onnx_of_network, parameters_of, torchscript_of
from app.node.session import NodeSession
from app.node.settings import NodeSettings
from app.results.model_file import read_model
from app.results.run_folder import RunFolderError
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.images import backbone
from tasks.images.backbone import Backbone, backbone_of
from tasks.images.backbone_config import SHAPES, Network
from tasks.images.resnet import ResNet
from tasks.images.task import ImageFolders
from tasks.records import DataError, joined
from tasks.training.local import get_parameters, initial_model
from tests.kits import backbones
from tests.tasks.test_contract import config_of
from tests.tasks.test_images import write_pictures
from tests.workloads.test_centre import summed
from workloads.decisions import NotExportedError

CLASSES = ["bright", "dark"]
SIDE = 32
PRIVATE = {
    "aggregation.min_survivors": 3,
    "privacy.noise_multiplier": 1,
    "privacy.delta": 1e-4,
    "privacy.population": 3,
    "privacy.sampling_rate": 1,
    "privacy.expected_batch_size": 36,
    "privacy.clip_norm": 0.5,
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Return the keys of ``task`` for a backbone, whose file is there."""
    return {"classes": CLASSES} | backbones.write(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """Return the folders of three nodes, of uneven size."""
    parent = tmp_path_factory.mktemp("images")
    return [
        write_pictures(parent / str(place), CLASSES, num, seed=place)
        for place, num in enumerate((3, 6, 9))
    ]


def task_of(keys, **changes) -> ImageFolders:
    return ImageFolders(config_of("images", keys | changes), seed=0)


def words_of(keys, **further) -> str:
    given = {
        "task.classes": f"[{','.join(keys['classes'])}]",
        "task.model": "backbone",
        "task.side": SIDE,
        **{f"task.backbone.{key}": value for key, value in keys["backbone"].items()},
        **further,
    }
    return " ".join(f"{key}={value}" for key, value in given.items())


def pictures(num: int) -> np.ndarray:
    return np.random.default_rng(2).random((num, 3, SIDE, SIDE), np.float32)


class TestFeatures:
    @pytest.mark.parametrize(
        ("name", "due"),
        [
            (
                Network.resnet18,
                "0.0627079 0.0463253 0.0038402 0.0513663 0.0601817 0.0128675 0.0437625"
                " 0.0592037",
            ),
            (
                Network.resnet50,
                "0.0419077 0 0.0441001 0 0.0390207 0 0.0302676 0",
            ),
        ],
    )
    def test_they_are_those_of_torchvision(self, name, due):
        """As torchvision 0.28 has them: ``get_model(name)`` with ``by_formula`` and no head."""
        network = ResNet(SHAPES[name]).eval()
        network.load_state_dict(backbones.by_formula(network), strict=False)
        levels = np.arange(3 * 40 * 40) % 97 / 96
        found = Backbone(network).features(levels.astype(np.float32).reshape(3, 40, 40))
        expected = np.array(due.split(), np.float32)
        np.testing.assert_allclose(found[:: len(found) // 8], expected, rtol=0, atol=2e-6)

    @pytest.mark.parametrize(
        ("name", "num_parameters"),
        # As torchvision's pages say of its weights.
        [
            (Network.resnet18, 11_689_512),
            (Network.resnet34, 21_797_672),
            (Network.resnet50, 25_557_032),
            (Network.resnet101, 44_549_160),
            (Network.resnet152, 60_192_808),
        ],
    )
    def test_networks_are_as_large_as_torchvisions(self, name, num_parameters):
        with torch.device("meta"):
            network = ResNet(SHAPES[name])
        head = 1000 * (SHAPES[name].num_features + 1)
        assert sum(p.numel() for p in network.parameters()) + head == num_parameters

    def test_they_depend_on_their_image_alone(self, keys):
        """Bit for bit: whatever went before, and however many threads torch may have."""
        found = loaded(keys)
        images = pictures(4)
        alone = [found.features(image) for image in images]
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            again = [found.features(image) for image in images[::-1]][::-1]
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(threads)
        moved = np.empty(images.size + 1, np.float32)[1:].reshape(images.shape)
        moved[:] = images
        for image, first, second in zip(moved, alone, again, strict=True):
            assert np.array_equal(first, second)
            assert np.array_equal(found.features(image), first)
        assert len({one.tobytes() for one in alone}) == len(images)
        np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize("scale", [0.0, 1e30])
    def test_a_network_without_finite_features_gives_zeros(self, scale):
        with torch.no_grad():
            network = ResNet(SHAPES[Network.resnet18]).eval()
            network.layer4[1].bn2.weight.fill_(scale)
            network.layer4[0].bn2.weight.mul_(scale)
            network.layer4[0].downsample[1].weight.mul_(scale)
        found = Backbone(network).features(pictures(1)[0])
        assert np.isfinite(found).all()
        assert np.linalg.norm(found) <= 1 + 1e-6
        if scale == 0:
            assert not found.any()


def loaded(keys) -> Backbone:
    config = config_of("images", keys).backbone
    return backbone_of(Path(config.weights), config)


class TestTask:
    def test_records_are_the_features_of_images(self, keys, folders):
        task = task_of(keys, test_fraction=0.0)
        data = task.load(DataSource(data_path=folders[0])).train
        plain = task_of(keys | {"model": "cnn", "backbone": {}}, test_fraction=0.0)
        images = plain.load(DataSource(data_path=folders[0])).train
        assert data.inputs.shape == (6, *task.input_shape) == (6, 512)
        due = np.stack([loaded(keys).features(image) for image in images.inputs])
        assert np.array_equal(data.inputs, due)
        assert np.array_equal(data.targets, images.targets)

    def test_they_are_kept_until_an_image_changes(self, keys, tmp_path, monkeypatch):
        folder = write_pictures(tmp_path, CLASSES, 2)
        task, seen = task_of(keys), []
        once = Backbone.features
        monkeypatch.setattr(
            Backbone, "features", lambda self, image: seen.append(1) or once(self, image)
        )
        for _ in range(2):
            task.load(DataSource(data_path=folder))
            assert len(seen) == 4
        (folder / "dark" / "0.png").unlink()
        task.load(DataSource(data_path=folder))
        assert len(seen) == 7

    def test_one_image_more_moves_no_other(self, keys, tmp_path):
        folder = write_pictures(tmp_path, CLASSES, 8)
        task = task_of(keys, test_fraction=0.5)
        task.is_private = True
        whole = task.load(DataSource(data_path=folder))
        (folder / "bright" / "0.png").unlink()
        fewer = task.load(DataSource(data_path=folder))
        for many, few in ((whole.train, fewer.train), (whole.test, fewer.test)):
            left = {x.tobytes() for x in many.inputs} - {x.tobytes() for x in few.inputs}
            assert len(many) - len(few) == len(left) <= 1
        assert len(fewer.train) + len(fewer.test) == 15

    def test_folders_are_checked_without_the_file(self, keys, folders):
        """On a machine that is not the server's; the counts are those of a run."""
        task = task_of(keys)
        task.base = None
        for folder in folders:
            found = task.inspect(DataSource(data_path=folder))
            data = task_of(keys).load(DataSource(data_path=folder))
            assert (found.num_train, found.num_test) == (len(data.train), len(data.test))

    def test_the_initial_model_is_the_same_whether_the_file_was_read_before(self, keys):
        backbone._loaded.cache_clear()
        first, second = (get_parameters(initial_model(task_of(keys))) for _ in range(2))
        assert {*first} == {"centre", "weights.weight", "weights.bias"}
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_sums_over_nodes_are_the_sum_in_one_place_and_a_record_is_one_term(keys, folders):
    """Bit for bit, as integers are added: of inputs in the first round, then of gradients."""
    words = words_of(keys, **PRIVATE, **{"task.test_fraction": 0})
    given = {"task": "images", "privacy": "example_distributed", "algorithm": "fedadam"}
    workload = build_workload(load_config({**given, "overrides": words}))
    nodes = [workload.task.load(DataSource(data_path=folder)).train for folder in folders]
    pooled = joined(nodes)
    initial = workload.initial_state()
    moved = {**initial.arrays, "centre": pooled.inputs.mean(axis=0)}
    for state in (initial, replace(initial, arrays=moved)):
        total = summed(workload, state, pooled).integers
        parts = [summed(workload, state, node).integers for node in nodes]
        assert total.any()
        assert np.array_equal(np.sum(parts, axis=0), total)
        for victim in (0, 17, len(pooled) - 1):
            others = np.delete(np.arange(len(pooled)), victim)
            own = summed(workload, state, pooled.take(np.array([victim]))).integers
            without = summed(workload, state, pooled.take(others)).integers
            assert np.array_equal(total - without, own)
            assert own.any()


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["none", "example_distributed"])
def test_a_masked_run_gives_a_model_that_predicts(keys, folders, tmp_path, capsys, privacy):
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text("".join(f"- {{data-path: {folder}}}\n" for folder in folders))
    own = PRIVATE if privacy != "none" else {"aggregation.min_survivors": 3}
    run, output = tmp_path / "run", tmp_path / "out.csv"
    run_config = {
        "task": "images",
        "privacy": privacy,
        "num-rounds": 2,
        "simulation-nodes": str(nodes),
        "output-dir": str(run),
        "overrides": words_of(keys, **own),
    }
    simulate(run_config, 3)
    saved = read_model(run / "model.safetensors")
    shapes = {name: values.shape for name, values in saved.state.arrays.items()}
    assert shapes == {"centre": (512,), "weights.weight": (1, 512), "weights.bias": (1,)}
    # The first round of a private run finds the centre; no other moves it.
    assert saved.state.arrays["centre"].any() == (privacy != "none")
    capsys.readouterr()
    new = write_pictures(tmp_path / "new", CLASSES, 4, seed=8)
    given = ["predict", str(run), "--input", str(new), "--output", str(output)]
    assert main(given) == 0
    assert "scored by the label of 8 rows" in capsys.readouterr().out
    assert len(output.read_text().splitlines()) == 9


def test_a_model_is_exported_from_its_features_on(keys):
    task = task_of(keys)
    model = initial_model(task).eval()
    with pytest.raises(NotExportedError, match="--format torchscript"):
        onnx_of_network(task, model)
    _, said = torchscript_of(task, model)
    assert said[0] == "inputs: float32 of shape (n, 512)"
    assert said[-1].startswith("not in the file: images to features by resnet18; in Python")
    content, _ = parameters_of(task, model)
    assert len(content) < 10_000


class _Touching:
    """Pickled so that whoever unpickles it freely makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def _without(tensors, file):
    torch.save({name: values for name, values in tensors.items() if name != "bn1.bias"}, file)


def _with(tensors, file):
    torch.save({**tensors, "layer5.weight": torch.zeros(1)}, file)


def _changed(name, change):
    def write(tensors, file):
        torch.save({**tensors, name: change(tensors[name])}, file)

    return write


BAD = {
    "missing": (_without, r"lacks 'bn1\.bias', unlike resnet18: name the network"),
    "foreign": (_with, r"has 'layer5\.weight', unlike resnet18: name the network"),
    "shape": (
        _changed("bn1.bias", lambda v: v[:3]),
        r"bn1\.bias is float32 of shape \(3,\), but float32 of \(64,\)",
    ),
    "type": (_changed("conv1.weight", torch.Tensor.half), r"conv1\.weight is float16 of"),
    "number": (_changed("bn1.bias", lambda v: 3), r"bn1\.bias is no tensor"),
    "not finite": (_changed("bn1.bias", lambda v: v * torch.nan), r"bn1\.bias is not finite"),
    "variance": (_changed("bn1.running_var", torch.neg), "has a variance below 0"),
    "nested": (lambda t, f: torch.save({"state_dict": t}, f), r"lacks 'bn1\.bias'"),
    "tensor": (lambda t, f: torch.save(t["fc.bias"], f), "holds a Tensor, no state_dict"),
    "code": (
        lambda t, f: torch.save({**t, "x": _Touching(f.with_name("ran"))}, f),
        r"nor a state_dict of tensors alone .*\(UnpicklingError\); save the network's own",
    ),
    "pickle": (
        lambda t, f: f.write_bytes(pickle.dumps(_Touching(f.with_name("ran")))),
        "nor a state_dict of tensors alone",
    ),
    "text": (lambda t, f: f.write_text("hello"), "neither a safetensors file nor a state_dict"),
    "cut": (
        lambda t, f: f.write_bytes(b"\x10\0\0\0\0\0\0\0{" + b" " * 30),
        "neither a safetensors file",
    ),
    "empty": (lambda t, f: f.write_bytes(b""), "neither a safetensors file"),
}


class TestFile:
    @pytest.mark.parametrize("ending", ["pth", "safetensors"])
    def test_both_formats_are_read_and_older_files_too(self, keys, tmp_path, ending):
        """Without counts of batches, and with a head of any size or none."""
        tensors = backbones.made_up()
        counts = [name for name in tensors if name.endswith("num_batches_tracked")]
        assert len(counts) == 20
        for name in [*counts, "fc.weight", "fc.bias"]:
            del tensors[name]
        # What it is called does not matter.
        file = tmp_path / f"weights.{'bin' if ending == 'pth' else ending}"
        (torch.save if ending == "pth" else save_file)(tensors, file)
        given = keys | backbones.keys_of(file)
        image = pictures(1)[0]
        assert np.array_equal(loaded(given).features(image), loaded(keys).features(image))

    @pytest.mark.parametrize("bad", BAD)
    def test_tensors_that_are_not_the_networks_are_refused(self, tmp_path, bad):
        write, told = BAD[bad]
        file = tmp_path / "weights.pth"
        write(backbones.flat(), file)
        with pytest.raises(DataError, match=told) as refused:
            loaded({"classes": CLASSES} | backbones.keys_of(file))
        assert str(refused.value).startswith(f"{file}: ")
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "ran").exists()

    def test_another_file_is_refused_before_it_is_unpickled(self, keys, tmp_path):
        file = tmp_path / "weights.pth"
        torch.save(_Touching(tmp_path / "ran"), file)
        config = replace(config_of("images", keys).backbone, weights=str(file))
        with pytest.raises(DataError, match=r"its SHA-256 is \w{64}, not task\.backbone\.sha"):
            backbone_of(file, config)
        assert not (tmp_path / "ran").exists()

    def test_a_file_that_was_replaced_is_refused(self, keys, tmp_path):
        file = tmp_path / "weights.safetensors"
        file.write_bytes(Path(keys["backbone"]["weights"]).read_bytes())
        config = config_of("images", keys).backbone
        assert backbone_of(file, config) is backbone_of(Path(config.weights), config)
        file.write_bytes(file.read_bytes() + b"x")
        with pytest.raises(DataError, match=r"not task\.backbone\.sha256"):
            backbone_of(file, config)
        file.unlink()
        with pytest.raises(DataError, match="there is no such file"):
            backbone_of(file, config)

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"sha256": "0" * 64}, r"its SHA-256 is \w{64}, not task\.backbone\.sha256=0000"),
            ({"weights": "/none.pth"}, r"/none\.pth: there is no such file"),
            ({"name": "resnet50"}, r"lacks 'bn1\.|lacks .*unlike resnet50: name the network"),
        ],
    )
    def test_a_server_refuses_before_it_asks_anything(self, keys, folders, changes, told):
        class Never:
            def __getattr__(self, name):
                raise AssertionError("a node was asked")

        given = keys | {"backbone": keys["backbone"] | changes}
        run_config = {"task": "images", "overrides": words_of(given)}
        clients = {place: Never() for place in range(3)}
        with pytest.raises(ConfigError, match=told):
            simulate(run_config, 3, clients)  # pyright: ignore[reportArgumentType]


class TestNode:
    """A node takes its own copy: the path that the server names is the server's."""

    def task(self, keys, settings: NodeSettings) -> ImageFolders:
        config = load_config({"task": "images", "overrides": words_of(keys)})
        task = build_task(config)
        NodeSession(None, config, settings).take_base(task)  # pyright: ignore
        return task

    def test_a_deployed_node_reads_no_path_of_the_server(self, keys, folders):
        task = self.task(keys, NodeSettings())
        with pytest.raises(DataError, match='base-model="FILE" in --node-config'):
            task.load(DataSource(data_path=folders[0]))

    def test_a_deployed_node_takes_its_own(self, keys, folders, tmp_path):
        own = tmp_path / "own.safetensors"
        own.write_bytes(Path(keys["backbone"]["weights"]).read_bytes())
        gone = keys | {"backbone": keys["backbone"] | {"weights": "/nowhere"}}
        found = self.task(gone, NodeSettings(base_model=own))
        shared = self.task(keys, NodeSettings(simulated=True))
        first, second = (
            task.load(DataSource(data_path=folders[1])).train for task in (found, shared)
        )
        assert np.array_equal(first.inputs, second.inputs)

    def test_a_copy_that_is_another_file_is_refused(self, keys, folders, tmp_path):
        own = tmp_path / "own.safetensors"
        save_file(backbones.made_up(seed=1), own)
        task = self.task(keys, NodeSettings(base_model=own))
        with pytest.raises(DataError, match=r"own\.safetensors: its SHA-256 is"):
            task.load(DataSource(data_path=folders[0]))


SHA = hashlib.sha256(b"").hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("task.model=backbone", r"task\.backbone\.weights: give the file"),
        ("task.model=backbone task.backbone.weights=x", r"sha256='': give .*`sha256sum x`"),
        (
            f"task.backbone.sha256={SHA}",
            r"task\.backbone\.sha256=\w+ has no effect with task\.model=cnn",
        ),
        ("task.backbone.weights=x", r"task\.backbone\.weights=x has no effect"),
        (
            "task.backbone.name=resnet34",
            r"task\.backbone\.name has no effect here: task\.model",
        ),
        (
            f"task.model=backbone task.backbone.weights=x task.backbone.sha256={SHA}"
            " task.channels=1",
            r"task\.channels=1: must be 3 for task\.model=backbone",
        ),
        (
            f"task.model=backbone task.backbone.weights=x task.backbone.sha256={SHA}"
            " task.width=8",
            r"task\.width has no effect here: task\.model=backbone",
        ),
        (
            f"task.model=backbone task.backbone.weights=x task.backbone.sha256={SHA}"
            f" task.adapters.rank=1 task.adapters.base=x task.adapters.sha256={SHA}",
            r"task\.adapters\.rank=1 with task\.model=backbone",
        ),
        ("task.model=backbone task.backbone.name=alexnet", r"alexnet.*resnet18"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(words, told):
    with pytest.raises(ConfigError, match=told):
        load_config({"task": "images", "overrides": f"task.classes=[a,b] {words}"})


def test_a_run_goes_on_with_the_same_backbone_or_not_at_all(keys, folders, tmp_path, capsys):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(Path(keys["backbone"]["weights"]).read_bytes())
    own = keys | backbones.keys_of(file)
    nodes, run = tmp_path / "nodes.yaml", tmp_path / "run"
    nodes.write_text("".join(f"- {{data-path: {folder}}}\n" for folder in folders))
    run_config = {
        "task": "images",
        "num-rounds": 1,
        "simulation-nodes": str(nodes),
        "overrides": words_of(own),
    }
    simulate(run_config | {"output-dir": str(run)}, 3)
    again = run_config | {"num-rounds": 2, "resume-from": str(run)}
    save_file(backbones.made_up(seed=1), file)
    with pytest.raises(ConfigError, match="its SHA-256 is"):
        simulate(again, 3)
    other = words_of(keys | backbones.keys_of(file))
    with pytest.raises(RunFolderError, match=r"task\.backbone\.sha256"):
        simulate(again | {"overrides": other}, 3)
    capsys.readouterr()
    given = ["predict", str(run), "--input", str(folders[0]), "--output", str(tmp_path / "o")]
    assert main(given) != 0
    assert f"{file}: its SHA-256 is" in capsys.readouterr().err
