"""Images of a participant's own: what is read of a folder, and what of it does not fit."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.base import DataSource
from tasks.images.schema import Fit, ImagesConfig, Model
from tasks.images.task import ImageFolders
from tasks.records import DataError, LocalData

#: What the images task leaves to the user; small, so that tests are quick.
IMAGES_KEYS = {"classes": ["bright", "dark"], "side": 16, "channels": 1, "width": 4}


def write_pictures(folder: Path, classes: list[str], num: int, seed: int = 0) -> Path:
    """Write pictures of noise for each class, the first above its middle and the rest below."""
    rng = np.random.default_rng([7, seed])
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place in range(num):
            levels = rng.integers(0, 128, (20, 24, 3)) + 128 * (label == 0)
            ending = ("png", "jpg")[place % 2]
            picture = Image.fromarray(levels.astype(np.uint8))
            picture.save(folder / name / f"{place}.{ending}")
    return folder


def images(**keys) -> ImageFolders:
    return ImageFolders(ImagesConfig(**IMAGES_KEYS | keys), seed=0)


def load(folder: Path, *, is_private: bool = False, **keys) -> LocalData:
    task = images(**{"test_fraction": 0.0} | keys)
    task.is_private = is_private
    return task.load(DataSource(data_path=folder))


def flat(width: int, height: int, mode: str = "L", color=255) -> Image.Image:
    return Image.new(mode, (width, height), color)


def one_folder(folder: Path, picture: Image.Image, name: str = "a.png") -> Path:
    for kind in IMAGES_KEYS["classes"]:
        (folder / kind).mkdir()
    picture.save(folder / "dark" / name)
    return folder


def test_a_record_is_a_file_with_the_class_of_its_folder(tmp_path):
    data = load(write_pictures(tmp_path, IMAGES_KEYS["classes"], 5)).train
    assert data.inputs.shape == (10, 1, 16, 16)
    assert data.inputs.dtype == np.float32
    assert data.targets.tolist() == [0] * 5 + [1] * 5
    assert (data.inputs[:5].mean(axis=(1, 2, 3)) > 0.5).all()
    assert (data.inputs[5:].mean(axis=(1, 2, 3)) < 0.5).all()


def test_the_middle_is_taken_or_all_of_it(tmp_path):
    picture = flat(32, 16, color=0)
    picture.paste(255, (8, 0, 24, 16))
    folder = one_folder(tmp_path, picture)
    assert (load(folder).train.inputs == 1).all()
    padded = load(folder, fit=Fit.pad).train.inputs[0, 0]
    # Black above and below, and left and right of the picture's bright middle.
    assert not padded[:3].any()
    assert not padded[-3:].any()
    assert padded[8, 8] == 1
    assert padded[8, 0] == 0


def test_colours_are_channels(tmp_path):
    folder = one_folder(tmp_path, flat(16, 16, "RGB", (255, 0, 51)))
    found = load(folder, channels=3).train.inputs[0]
    assert found.shape == (3, 16, 16)
    np.testing.assert_allclose(found[:, 5, 5], [1, 0, 0.2], atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_all_usual_modes_are_read(tmp_path, mode):
    folder = one_folder(tmp_path, flat(16, 16, "L", 255).convert(mode))
    assert (load(folder).train.inputs == 1).all()


def test_a_camera_that_was_turned_is_upright(tmp_path):
    picture = flat(16, 16, "L", 0)
    picture.paste(255, (0, 0, 16, 8))
    turned = Image.Exif()
    turned[0x0112] = 3
    (tmp_path / "dark").mkdir()
    picture.save(tmp_path / "dark" / "a.jpg", exif=turned, quality=95)
    found = load(tmp_path).train.inputs[0, 0]
    assert found[12].mean() > 0.9
    assert found[3].mean() < 0.1


def png_of(width: int, height: int) -> bytes:
    """Return a PNG whose header says any size; there is nothing behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        sum_of = zlib.crc32(checked).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + checked + sum_of

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = chunk(b"IHDR", size + bytes([8, 0, 0, 0, 0]))
    return (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def truncated(folder: Path) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8))
    picture.save(folder / "dark" / "bad.png")
    content = (folder / "dark" / "bad.png").read_bytes()
    (folder / "dark" / "bad.png").write_bytes(content[: len(content) // 2])


def linked(folder: Path) -> None:
    (folder / "dark" / "bad.png").symlink_to(folder / "bright" / "0.png")


def nowhere(folder: Path) -> None:
    (folder / "dark" / "bad.png").symlink_to(folder / "gone.png")


def sixteen_bits(folder: Path) -> None:
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(folder / "dark" / "bad.png")


def linked_class(folder: Path) -> None:
    elsewhere = folder.parent / f"{folder.name}-elsewhere"
    (folder / "dark").rename(elsewhere)
    (folder / "dark").symlink_to(elsewhere)


def no_letters(folder: Path) -> None:
    name = os.fsencode(folder / "dark") + b"/\xff\n\x1b[2J.png"
    Path(os.fsdecode(name)).write_bytes(b"x")


def of_no_class(folder: Path) -> None:
    (folder / "grey").mkdir()
    flat(16, 16).save(folder / "grey" / "bad.png")


def nested(folder: Path) -> None:
    (folder / "dark" / "more").mkdir()


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "dark" / "bad.png")


def at_the_top(folder: Path) -> None:
    flat(16, 16).save(folder / "bad.png")


BAD = {
    "truncated": (truncated, "dark/bad.png: cannot be read: "),
    "empty": (lambda f: (f / "dark" / "bad.png").touch(), "neither a PNG nor a JPEG image"),
    "text": (lambda f: (f / "dark" / "n.txt").write_text("x"), "dark/n.txt: neither a PNG nor"),
    "gif": (lambda f: flat(16, 16).save(f / "dark" / "bad.gif"), "neither a PNG nor a JPEG"),
    "bomb": (
        lambda f: (f / "dark" / "bad.png").write_bytes(png_of(60_000, 60_000)),
        "more than task.max_pixels=50000000; make it smaller",
    ),
    "large": (
        lambda f: (f / "dark" / "bad.png").write_bytes(png_of(8_000, 8_000)),
        "8000 x 8000 pixels, more than task.max_pixels=50000000; make it smaller",
    ),
    "no pixels": (
        lambda f: (f / "dark" / "bad.png").write_bytes(png_of(16, 16)),
        "dark/bad.png: cannot be ",
    ),
    "endless link": (
        lambda f: (f / "bad").symlink_to(f / "bad"),
        "bad: in no folder of a class; move it to one",
    ),
    "link": (linked, "dark/bad.png: a link; put the file itself here"),
    "broken link": (nowhere, "dark/bad.png: a link; put the file itself here"),
    "16 bits": (sixteen_bits, "mode I;16; save it with 8 bits a channel"),
    "no class": (of_no_class, r"grey: a folder of no class of task.classes \(bright, dark\)"),
    "no letters": (no_letters, r"dark/\\udcff\\n\\x1b\[2J.png: neither a PNG nor"),
    "nested": (nested, "dark/more: a folder; move its images"),
    "pipe": (pipe, "dark/bad.png: no regular file; take it out"),
    "top": (at_the_top, "bad.png: in no folder of a class; move it to one"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit_is_named_and_refuses_no_private_run(tmp_path, bad):
    make, words = BAD[bad]
    folder = write_pictures(tmp_path, IMAGES_KEYS["classes"], 4)
    before = load(folder, is_private=True).train
    make(folder)
    with pytest.raises(DataError, match=words):
        load(folder)
    after = load(folder, is_private=True).train
    assert np.array_equal(after.inputs, before.inputs)
    assert np.array_equal(after.targets, before.targets)
    task = images()
    found = task.inspect(DataSource(data_path=folder))
    assert found.lines[0] == f"{folder}: 9 files, 8 used, 1 left out"
    assert found.lines[1] == "  images of each class: bright 4, dark 4"
    assert found.lines[2].startswith("misfit: ")
    assert found.objection == "1 of 9 files do not fit"
    task.is_private = True
    assert task.inspect(DataSource(data_path=folder)).objection == ""


def test_a_class_that_is_a_link_is_told(tmp_path):
    folder = write_pictures(tmp_path / "own", IMAGES_KEYS["classes"], 2)
    linked_class(folder)
    with pytest.raises(DataError, match="own/dark: a link; put the folder itself here"):
        load(folder)
    assert len(load(folder, is_private=True).train) == 2


def test_an_accent_may_be_a_letter_of_its_own(tmp_path):
    """As some file systems write it."""
    one, two = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    for name, other in ((one, two), (two, one)):
        folder = write_pictures(tmp_path / str(len(name)), [name], 2)
        assert load(folder, classes=["dark", other]).train.targets.tolist() == [1, 1]
    with pytest.raises(ValueError, match="are one name"):
        ImagesConfig(**IMAGES_KEYS | {"classes": [one, two]})


def test_a_name_that_is_no_text_is_printed(tmp_path):
    """Also where standard output takes UTF-8 and nothing else."""
    folder = write_pictures(tmp_path, IMAGES_KEYS["classes"], 2)
    no_letters(folder)
    for line in images().inspect(DataSource(data_path=folder)).lines:
        line.encode()
        assert line.isprintable()


def test_a_file_that_may_not_be_read_is_a_misfit(tmp_path, monkeypatch):
    folder = write_pictures(tmp_path, IMAGES_KEYS["classes"], 2)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(
        DataError, match=r"bright/0.png: cannot be read: Permission denied.*3 mo"
    ):
        load(folder)
    assert len(load(folder, is_private=True).train) == 0


def test_hidden_files_and_litter_are_passed_over(tmp_path):
    folder = write_pictures(tmp_path, IMAGES_KEYS["classes"], 3)
    for name in (".DS_Store", "Thumbs.db", "dark/._0.png", "dark/desktop.ini"):
        (folder / name).write_bytes(b"x")
    (folder / ".cache").mkdir()
    assert len(load(folder).train) == 6


def test_a_node_without_a_class_has_no_image_of_it(tmp_path):
    folder = write_pictures(tmp_path, ["dark"], 3)
    assert load(folder).train.targets.tolist() == [1, 1, 1]


def test_a_folder_without_images_says_so_and_refuses_no_private_run(tmp_path):
    found = images().inspect(DataSource(data_path=tmp_path))
    assert found.objection == "no record is left to train on"
    assert len(load(tmp_path, is_private=True).train) == 0


def test_what_is_no_folder_is_refused(tmp_path):
    file = tmp_path / "images.zip"
    file.write_bytes(b"x")
    with pytest.raises(DataError, match=r"images.zip: is no folder"):
        load(file, is_private=True)


def test_one_image_more_moves_no_other(tmp_path):
    """Neither to the other side of the split, nor by what is computed of it."""
    folder = write_pictures(tmp_path, IMAGES_KEYS["classes"], 12)
    for model in (Model.cnn, Model.scattering):
        keys = {"test_fraction": 0.5, "is_private": True, "model": model}
        whole = load(folder, **keys)
        victim = folder / "bright" / "0.png"
        content = victim.read_bytes()
        victim.unlink()
        fewer = load(folder, **keys)
        victim.write_bytes(content)
        for side in ("train", "test"):
            many, few = getattr(whole, side), getattr(fewer, side)
            left = {one.tobytes() for one in many.inputs} - {x.tobytes() for x in few.inputs}
            assert len(many) - len(few) == len(left) <= 1
        assert len(fewer.train) + len(fewer.test) == 23


def test_an_image_that_changes_is_read_again(tmp_path):
    folder = one_folder(tmp_path, flat(16, 16, color=255))
    assert load(folder).train.inputs.min() == 1
    flat(16, 16, color=0).save(folder / "dark" / "a.png")
    os.utime(folder / "dark" / "a.png", ns=(1, 1))
    assert load(folder).train.inputs.max() == 0


def test_images_to_predict_are_those_of_the_folder_with_labels_where_known(tmp_path):
    folder = write_pictures(tmp_path, ["dark", "unknown"], 2)
    flat(16, 16).save(folder / "new.png")
    found = images().new_rows(folder)
    assert found.objection == ""
    assert [row for (row,) in found.rows] == [
        "dark/0.png",
        "dark/1.jpg",
        "new.png",
        "unknown/0.png",
        "unknown/1.jpg",
    ]
    assert found.is_labelled.tolist() == [True, True, False, False, False]
    assert found.examples.targets[0] == 1
    (folder / "dark" / "bad.png").touch()
    bad = images().new_rows(folder)
    assert bad.objection.startswith("1 of 6 files do not fit")
    assert "misfit: dark/bad.png: neither a PNG nor" in bad.findings[1]
    (tmp_path / "none").mkdir()
    assert images().new_rows(tmp_path / "none").objection == "there are no images"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"classes": ["one"]}, "must name at least two"),
        ({"classes": ["a", "../b"]}, "'../b' cannot be the name of a folder"),
        ({"classes": ["a", ".b"]}, "'.b' cannot be"),
        ({"classes": ["a", ""]}, "'' cannot be"),
        ({"classes": ["Cat", "cat"]}, "Cat, cat are one name"),
        ({"side": 7}, "task.side=7: must be from 8 to 512"),
        ({"side": 18, "model": Model.scattering}, "task.side=18: must be a multiple of 4"),
        ({"channels": 2}, "task.channels=2: must be 1 or 3"),
        ({"max_pixels": 0}, "task.max_pixels=0"),
        ({"width": 6}, "task.width=6: must be a multiple of 4"),
    ],
)
def test_keys_that_cannot_be_are_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        ImagesConfig(**IMAGES_KEYS | keys)


def test_keys_of_another_model_are_idle():
    config = ImagesConfig(**IMAGES_KEYS | {"model": Model.scattering})
    assert config.idle_keys().keys() == {"width", "backbone"}
    assert ImagesConfig(**IMAGES_KEYS).idle_keys().keys() == {"backbone"}
