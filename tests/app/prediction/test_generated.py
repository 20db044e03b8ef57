"""What becomes of a generator: pictures on the page, a file of records of nobody, exports."""

import io
import re

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from app.api import PredictionError, load_model
from app.cli.main import main
from app.results.html.page import write_page
from app.results.html.pictures import figure_of
from app.results.model_file import ModelFileError
from app.results.model_file import load_model as load_file_of
from app.simulation.in_process import simulate
from tests.kits.pages import MOST_BYTES, check, page_in

# torch recommends another format than TorchScript, which only torch of the same version reads.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "gan"
    config = {"task": "digits", "algorithm": "gan", "num-rounds": 2}
    overrides = "algorithm.made_up_batch=20"
    simulate({**config, "overrides": overrides, "output-dir": str(folder)}, 3, draws_page=True)
    return folder


def tacet(capsys, *words) -> tuple[int, str, str]:
    status = main([*map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_samples_are_written_and_the_same_by_the_same_seed(tmp_path, capsys, run):
    file = tmp_path / "made.npz"
    status, out, _ = tacet(capsys, "sample", run, "--number", 12, "--output", file)
    assert status == 0
    assert out.splitlines() == [
        f"{file}: 12 records of nobody, by seed 0",
        "inputs: float32 of shape (12, 1, 8, 8); targets: their classes",
    ]
    found = np.load(file)
    made = load_model(run).sample(12)
    assert np.array_equal(found["inputs"], made.inputs)
    assert found["targets"].tolist() == [*range(10), 0, 1]
    other = load_model(run / "model.safetensors").sample(12, seed=1)
    assert not np.array_equal(found["inputs"], other.inputs)
    again = tacet(capsys, "sample", run, "--number", 12, "--output", file)
    assert again[0] == 2
    assert "is there already" in again[2]


@pytest.mark.parametrize("words", [("0", "0"), ("3", "-1")])
def test_numbers_that_are_none_are_refused(tmp_path, capsys, run, words):
    number, seed = words
    more = ("--number", number, "--seed", seed, "--output", tmp_path / "made.npz")
    status, _, err = tacet(capsys, "sample", run, *more)
    assert status == 2
    assert "there must be at least 1" in err
    assert not (tmp_path / "made.npz").exists()


def test_a_generator_predicts_nothing_and_a_classifier_makes_nothing_up(tmp_path, run):
    with pytest.raises(PredictionError, match="tacet sample"):
        load_model(run).predict([{"pixel": 1}])
    folder = tmp_path / "tree"
    config = {"task": "breast_cancer", "algorithm": "ebm", "num-rounds": 1}
    simulate({**config, "output-dir": str(folder)}, 3)
    with pytest.raises(PredictionError, match="makes none up; that does algorithm=gan"):
        load_model(folder).sample(3)


def test_exports_say_what_the_generator_says(tmp_path, capsys, run):
    module, file = load_model(run).module, tmp_path / "made.pt"
    status, out, _ = tacet(capsys, "export", run, "--format", "torchscript", "--output", file)
    assert status == 0
    assert "inputs: float32 of shape (n, 26): 16 standard normal numbers" in out
    assert "outputs: images of shape (n, 1, 8, 8), from 0 to 1" in out
    inputs = torch.randn(7, 26)
    script = torch.jit.load(io.BytesIO(file.read_bytes()))
    with torch.inference_mode():
        torch.testing.assert_close(script(inputs), module(inputs), rtol=0, atol=1e-6)
    plain = tmp_path / "plain.safetensors"
    assert tacet(capsys, "export", run, "--format", "safetensors", "--output", plain)[0] == 0
    assert load_file(plain).keys() == load_file(run / "model.safetensors").keys()
    status, _, err = tacet(
        capsys, "export", run, "--format", "onnx", "--output", tmp_path / "m.onnx"
    )
    assert status == 2
    assert "torchscript or safetensors" in err


@pytest.mark.parametrize("change", ["nan", "shape", "name"])
def test_a_damaged_generator_is_refused(tmp_path, run, change):
    from safetensors import safe_open

    arrays = load_file(run / "model.safetensors")
    with safe_open(run / "model.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    name = next(iter(arrays))
    if change == "nan":
        arrays[name] = np.full_like(arrays[name], np.nan)
    elif change == "shape":
        arrays[name] = arrays[name][:1].copy()
    else:
        arrays["more"] = arrays.pop(name)
    file = tmp_path / "model.safetensors"
    save_file(arrays, file, metadata=metadata)
    with pytest.raises(ModelFileError, match=re.escape(str(file))):
        load_file_of(file)


def test_the_page_shows_a_row_of_pictures_for_each_class(run):
    page = page_in(run)
    assert "pictures" in page.sections
    figure = page.figure("A row for each class")
    assert figure.alt == "8 pictures of each class, 0 to 9 from top to bottom"
    assert figure.texts == [str(digit) for digit in range(10)]
    assert "may show what it has learnt by heart" in page.text
    # Drawn again, it is of the model that the folder has then.
    first = (run / "report.html").read_text()
    write_page(run)
    assert (run / "report.html").read_text() == first


def test_the_largest_grid_keeps_to_a_page_and_shows_what_is_there():
    noise = np.random.default_rng(0).uniform(size=(8, 10, 28, 28))
    svg = figure_of(noise).svg
    check(f"<figure><figcaption>pictures</figcaption>{svg}</figure>")
    assert len(svg) < 0.8 * MOST_BYTES
    one = np.zeros((2, 3, 4, 4))
    one[1, 2, 3, 1:3] = 1.0
    svg = figure_of(one).svg
    # A line of two pixels, in the second column and the third row of pictures 5 apart.
    assert re.findall(r' d="([^"]*)"', svg) == ["M6 13h2"]
    assert 'stroke-opacity="1"' in svg
