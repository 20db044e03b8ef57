"""The images of a folder: each file read alone, and what does not fit told with its place."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from tasks.images.schema import Fit, ImagesConfig
from tasks.records import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

#: The label of an image in a folder of no class.
NO_LABEL = -1

#: Of one image, or what is kept of it.
Pixels = NDArray[np.float32]

_FORMATS = ("PNG", "JPEG")
# What eight bits a channel can be converted from. Transparency is dropped.
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
# What file browsers leave behind.
_LITTER = frozenset({"thumbs.db", "desktop.ini"})


class Entry(NamedTuple):
    """A file in a folder of images.

    Attributes
    ----------
    place : str
        Its path below the folder, the parts joined by ``/``.
    label : int
        The class of the folder that it is in; ``NO_LABEL`` if of none.
    objection : str
        Why it cannot be an image of a class; empty if it may be one.
    num_bytes, written : int
        Its size, and when it was last written, in nanoseconds.
    """

    place: str
    label: int
    objection: str
    num_bytes: int = 0
    written: int = 0


@dataclass(frozen=True)
class Kept:
    """What is kept of each image, whose pixels would fill the memory.

    Attributes
    ----------
    shape : tuple of int
        Of what is kept of one.
    of : callable
        Makes it of the pixels of one, shape (channels, side, side).
    """

    shape: tuple[int, ...]
    of: Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class Images:
    """What the files of a folder hold.

    Attributes
    ----------
    pixels : ndarray, float32, shape (n, channels, side, side)
        From 0 to 1; or what is kept of them, shape (n, ...).
    contents : tuple of bytes
        A digest of each image's pixels.
    labels : ndarray, int64, shape (n,)
    places : tuple of str
        Where each image is.
    misfits : tuple of (str, str)
        Where each file is that does not fit, to be printed, and what is wrong with it.
    """

    pixels: NDArray[np.float32]
    contents: tuple[bytes, ...]
    labels: NDArray[np.int64]
    places: tuple[str, ...]
    misfits: tuple[tuple[str, str], ...]


def entries_of(folder: Path, classes: Sequence[str], *, labelled: bool) -> tuple[Entry, ...]:
    """Return the files of a folder and of the folders in it, in the order of their paths.

    Hidden files, and those that file browsers leave behind, are passed over.

    Parameters
    ----------
    folder : Path
        Where they are.
    classes : sequence of str
        The names of the folders of each class.
    labelled : bool
        Whether an image must be in the folder of a class. If not, it may be in any, or in none.

    Raises
    ------
    DataError
        If the folder itself cannot be read.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: is no folder; it must have a folder of images for each class"
        )
    try:
        found = list(_entries(folder, classes, labelled))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from None
    return tuple(sorted(found))


def read_images(
    folder: Path,
    entries: Sequence[Entry],
    config: ImagesConfig,
    kept: Kept | None = None,
) -> Images:
    """Decode the images among files, each alone; none is refused here.

    Parameters
    ----------
    folder : Path
        Where they are.
    entries : sequence of Entry
        The files.
    config : ImagesConfig
        How they are read.
    kept : Kept, optional
        What is kept of the pixels; without, they are.
    """
    pixels: list[Pixels] = []
    contents: list[bytes] = []
    used: list[Entry] = []
    misfits: list[tuple[str, str]] = []
    for entry in entries:
        try:
            if entry.objection:
                raise _MisfitError(entry.objection)
            image = _pixels(folder / entry.place, config)
            contents.append(blake2b(image.tobytes(), digest_size=16).digest())
            pixels.append(image if kept is None else kept.of(image))
            used.append(entry)
        except _MisfitError as error:
            misfits.append((_printable(entry.place), str(error)))
    shape = kept.shape if kept else (config.channels, config.side, config.side)
    return Images(
        np.array(pixels, np.float32).reshape(len(used), *shape),
        tuple(contents),
        np.array([entry.label for entry in used], np.int64),
        tuple(entry.place for entry in used),
        tuple(misfits),
    )


def told(folder: Path, images: Images, classes: Sequence[str]) -> list[str]:
    """Return how many images there are of each class, for the eyes of their owner."""
    counts = Counter(images.labels.tolist())
    named = ", ".join(f"{name} {counts[label]}" for label, name in enumerate(classes))
    left_out, used = len(images.misfits), len(images.places)
    lines = [f"{folder}: {used + left_out} files, {used} used, {left_out} left out"]
    return [*lines, f"  images of each class: {named}"]


def _printable(place: str) -> str:
    """Return a path that can be printed: bytes that are no UTF-8 and line breaks as codes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in place)


class _MisfitError(ValueError):
    """An image that cannot be used. The message has the mend."""


def _entries(folder: Path, classes: Sequence[str], labelled: bool) -> Iterator[Entry]:
    # Some file systems write an accent as a letter of its own.
    labels = {normalize("NFC", name): label for label, name in enumerate(classes)}
    for one in _seen(folder):
        label = labels.get(normalize("NFC", one.name), NO_LABEL)
        # An entry would raise for a link that leads nowhere it may look.
        if one.is_symlink() and os.path.isdir(one.path):  # noqa: PTH112
            yield Entry(one.name, label, "a link; put the folder itself here")
        elif not one.is_dir(follow_symlinks=False):
            yield _entry(one, one.name, NO_LABEL, labelled)
        elif labelled and label == NO_LABEL:
            named = ", ".join(classes)
            yield Entry(one.name, label, f"a folder of no class of task.classes ({named})")
        else:
            yield from _entries_of_class(one, label)


def _entries_of_class(folder: os.DirEntry[str], label: int) -> Iterator[Entry]:
    try:
        inside = _seen(Path(folder.path))
    except OSError as error:
        yield Entry(folder.name, label, f"cannot be read: {error.strerror}")
        return
    for one in inside:
        place = f"{folder.name}/{one.name}"
        if one.is_dir(follow_symlinks=False):
            yield Entry(place, label, "a folder; move its images to the folder of their class")
        else:
            yield _entry(one, place, label, False)


def _seen(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return [
            one
            for one in found
            if not one.name.startswith(".") and one.name.lower() not in _LITTER
        ]


def _entry(one: os.DirEntry[str], place: str, label: int, labelled: bool) -> Entry:
    if labelled:
        return Entry(place, label, "in no folder of a class; move it to one, or take it out")
    if one.is_symlink():
        return Entry(place, label, "a link; put the file itself here")
    try:
        found = one.stat(follow_symlinks=False)
    except OSError as error:
        return Entry(place, label, f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(found.st_mode):
        return Entry(place, label, "no regular file; take it out")
    return Entry(place, label, "", found.st_size, found.st_mtime_ns)


def _pixels(file: Path, config: ImagesConfig) -> NDArray[np.float32]:
    """Return a file's image, shape (channels, side, side), from 0 to 1.

    Raises
    ------
    _MisfitError
        If it cannot be used, whatever goes wrong: in a private run no file may cause a refusal.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and odd metadata; sizes are checked here.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as image:
                _check(image, config)
                square = _square(image, config)
    except _MisfitError:
        raise
    except UnidentifiedImageError:
        raise _MisfitError(
            "neither a PNG nor a JPEG image; take it out or convert it"
        ) from None
    except Image.DecompressionBombError:
        raise _MisfitError(_too_large(config)) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise _MisfitError(f"cannot be read: {why}; save it again or take it out") from None
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise _MisfitError(f"cannot be decoded: {why}; save it again or take it out") from None
    levels = np.asarray(square, np.uint8).reshape(config.side, config.side, config.channels)
    return levels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def _check(image: Image, config: ImagesConfig) -> None:
    """Refuse what the header says; nothing is decoded yet."""
    if image.width * image.height > config.max_pixels:
        raise _MisfitError(f"{image.width} x {image.height} pixels, {_too_large(config)}")
    if image.mode not in _MODES:
        raise _MisfitError(
            f"its pixels are of Pillow's mode {image.mode}; save it with 8 bits a channel"
        )


def _too_large(config: ImagesConfig) -> str:
    return f"more than task.max_pixels={config.max_pixels}; make it smaller or take it out"


def _square(image: Image, config: ImagesConfig) -> Any:
    from PIL import ImageOps
    from PIL.Image import Resampling

    # Cameras turn images by a note in their metadata.
    upright = ImageOps.exif_transpose(image).convert("L" if config.channels == 1 else "RGB")
    size = config.side, config.side
    if config.fit is Fit.pad:
        return ImageOps.pad(upright, size, Resampling.BILINEAR, color=0)
    return ImageOps.fit(upright, size, Resampling.BILINEAR)
