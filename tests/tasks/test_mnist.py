"""MNIST: reading IDX files and saying what is wrong with one that is none."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tasks.base import DataSource
from tasks.mnist import Mnist, MnistConfig
from tasks.records import DataError
from tasks.scattering import ImageModel, scattering_features
from tasks.schema import PartitionConfig, Scheme

TRAIN_IMAGES = "train-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    magic = 0x800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def contents(num_train: int = 40, num_test: int = 12) -> dict[str, bytes]:
    """Return the four files; an image's first pixels are its number, its label, its set."""
    files = {}
    for stem, count in (("train", num_train), ("t10k", num_test)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(count)
        labels = (np.arange(count) % 10).astype(np.uint8)
        images[:, 0, 1] = labels
        images[:, 0, 2] = stem == "t10k"
        files[f"{stem}-images-idx3-ubyte"] = idx(images)
        files[f"{stem}-labels-idx1-ubyte"] = idx(labels)
    return files


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory


def mnist(scheme: str = "iid") -> Mnist:
    partition = PartitionConfig(scheme=Scheme(scheme), min_examples=2)
    return Mnist(MnistConfig(partition=partition), seed=0)


def test_pixels_are_scaled_and_belong_to_their_labels(tmp_path):
    data = mnist().load(DataSource(0, 1, write(tmp_path, contents())))
    assert data.train.inputs.shape == (40, 1, 28, 28)
    assert data.test.inputs.shape == (12, 1, 28, 28)
    for part in (data.train, data.test):
        assert np.allclose(part.inputs[:, 0, 0, 1] * 255, part.targets)
    # The brightest pixel that the files hold is 39 of 255.
    assert data.train.inputs.max() == pytest.approx(39 / 255)


@pytest.mark.parametrize("scheme", ["iid", "dirichlet", "size_skew"])
def test_every_image_goes_to_one_client(tmp_path, scheme):
    write(tmp_path, contents())
    parts = [mnist(scheme).load(DataSource(k, 3, tmp_path)) for k in range(3)]
    for name, count in (("train", 40), ("test", 12)):
        inputs = np.concatenate([getattr(part, name).inputs for part in parts])
        numbers = np.round(inputs[:, 0, 0, 0] * 255).astype(int)
        assert sorted(numbers.tolist()) == list(range(count))
    # The test images are spread evenly whatever the scheme.
    assert [len(part.test) for part in parts] == [4, 4, 4]


def test_with_scattering_the_inputs_are_the_images_own_features(tmp_path):
    source = DataSource(1, 2, write(tmp_path, contents()))
    pixels = mnist().load(source)
    partition = PartitionConfig(min_examples=2)
    task = Mnist(MnistConfig(partition=partition, model=ImageModel.scattering), seed=0)
    features = task.load(source)
    assert task.input_shape == (81 * 7 * 7,)
    for plain, found in ((pixels.train, features.train), (pixels.test, features.test)):
        assert np.array_equal(found.targets, plain.targets)
        assert np.array_equal(found.inputs, scattering_features(plain.inputs))


def test_natural_is_refused(tmp_path):
    with pytest.raises(DataError, match="scheme=natural: this data set has no groups"):
        mnist("natural").load(DataSource(0, 2, write(tmp_path, contents())))


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_all_usual_names_are_read(tmp_path, mark, zipped):
    files = {}
    for name, data in contents().items():
        name = name.replace("-idx", f"{mark}idx") + (".gz" if zipped else "")
        files[name] = gzip.compress(data) if zipped else data
    assert len(mnist().load(DataSource(0, 1, write(tmp_path, files))).train) == 40


def flat(count: int, side: int = 28) -> np.ndarray:
    return np.zeros((count, side, side), np.uint8)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (TRAIN_IMAGES, b"\0\0\x08", "3 bytes, expected a header of 16"),
        (TRAIN_IMAGES, idx(flat(40), 0x801), "magic number 2049, expected 2051 for images"),
        (TRAIN_IMAGES, idx(flat(40))[:-1], "31375 bytes, expected 31376"),
        (TRAIN_IMAGES, idx(flat(40)) + b"\0", "31377 bytes, expected 31376"),
        (TRAIN_IMAGES, idx(flat(40, side=27)), "images of 27x27, expected 28x28"),
        (
            TEST_LABELS,
            idx(np.zeros(11, np.uint8)),
            "11 labels, expected 12 as in .*t10k-images",
        ),
        (TEST_LABELS, idx(np.full(12, 10, np.uint8)), "label 10, expected 0 to 9"),
        (TEST_LABELS, b"", "0 bytes, expected a header of 8"),
        # A header that claims 2**96 bytes must not overflow into a small number.
        (
            TRAIN_IMAGES,
            struct.pack(">4I", 0x803, *[2**32 - 1] * 3),
            f"16 bytes, expected {16 + (2**32 - 1) ** 3}",
        ),
    ],
)
def test_broken_files_are_named(tmp_path, name, data, message):
    write(tmp_path, contents() | {name: data})
    with pytest.raises(DataError, match=f"{name}: {message}"):
        mnist().load(DataSource(0, 1, tmp_path))


def test_in_a_private_run_a_label_that_is_no_digit_is_left_out(tmp_path, logged):
    labels = np.where(np.arange(12) < 2, 10, 3).astype(np.uint8)
    write(tmp_path, contents() | {TEST_LABELS: idx(labels)})
    task = mnist()
    task.is_private = True
    data = task.load(DataSource(0, 1, tmp_path))
    assert (len(data.train), data.test.targets.tolist()) == (40, [3] * 10)
    (record,) = logged
    assert "label 10, expected 0 to 9; 2 images are left out" in record.getMessage()


def test_no_images_are_refused(tmp_path):
    with pytest.raises(DataError, match=f"{TRAIN_IMAGES}: no images, expected at least 1"):
        mnist().load(DataSource(0, 1, write(tmp_path, contents(num_train=0))))


@pytest.mark.parametrize("keep", [5, 60])
def test_truncated_gzip_is_named(tmp_path, keep):
    files = contents()
    whole = gzip.compress(files.pop(TRAIN_IMAGES))
    write(tmp_path, files | {TRAIN_IMAGES + ".gz": whole[:keep]})
    with pytest.raises(DataError, match=rf"{TRAIN_IMAGES}\.gz: .*expected a whole file"):
        mnist().load(DataSource(0, 1, tmp_path))


@pytest.mark.parametrize(
    "damage",
    [b"no gzip at all", gzip.compress(b"x", mtime=0)[:10] + b"\xff" * 20],
    ids=["no gzip", "gzip header, then rubbish"],
)
def test_gz_that_is_no_gzip_is_named(tmp_path, damage):
    files = contents()
    del files[TRAIN_IMAGES]
    write(tmp_path, files | {TRAIN_IMAGES + ".gz": damage})
    with pytest.raises(DataError, match=rf"{TRAIN_IMAGES}\.gz: .*expected a whole file"):
        mnist().load(DataSource(0, 1, tmp_path))


@pytest.mark.parametrize("missing", list(contents()))
def test_missing_file_is_named(tmp_path, missing):
    files = contents()
    del files[missing]
    with pytest.raises(DataError, match=rf"none of {missing}, {missing}\.gz, .* is there"):
        mnist().load(DataSource(0, 1, write(tmp_path, files)))


def test_files_that_were_replaced_are_read_again(tmp_path):
    for num_train, num_test in ((40, 12), (30, 20)):
        data = mnist().load(DataSource(0, 1, write(tmp_path, contents(num_train, num_test))))
        assert (len(data.train), len(data.test)) == (num_train, num_test)


def test_no_data_path_is_refused():
    with pytest.raises(DataError, match="no data-path: give a directory with train-images"):
        mnist().load(DataSource(0, 1))


def test_real_images(data_dir):
    data = mnist().load(DataSource(3, 10, data_dir / "mnist"))
    assert (len(data.train), len(data.test)) == (6000, 1000)
    assert data.train.inputs.max() == 1.0
    assert set(data.train.targets.tolist()) == set(range(10))
