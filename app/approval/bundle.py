"""Flower App Bundles: building, hashing and comparing them."""

from __future__ import annotations

import hashlib
import zipfile
from io import BytesIO
from pathlib import Path

#: Our own packages, which a bundle brings along.
PACKAGES = ("app", "strategies", "workloads", "tasks", "privacy")


class BundleError(ValueError):
    """A bundle that cannot be built or read. The message is one line with the mend."""


def build_bundle(path: Path) -> bytes:
    """Return the bundle of a checkout, as ``flwr run`` ships it, or of a ``.fab`` file.

    Raises
    ------
    BundleError
        If it is neither.
    """
    try:
        if path.is_file():
            return path.read_bytes()
        if not (path / "pyproject.toml").is_file():
            raise BundleError(
                f"{path}: neither a .fab file nor a checkout with a pyproject.toml; name one"
            )
        from flwr.cli.build import build_fab_from_disk

        return build_fab_from_disk(path)
    except BundleError:
        raise
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from None
    except Exception as error:
        # Flower raises its own, Click's and tomli's errors here.
        raise BundleError(
            f"{path}: Flower cannot build it: {' '.join(str(error).split())}"
        ) from None


def digest(bundle: bytes) -> str:
    """Return the SHA-256 of a bundle in hexadecimal digits, as policies list it."""
    return hashlib.sha256(bundle).hexdigest()


def differing_files(one: bytes, other: bytes) -> list[str]:
    """Return the names of the files in which two bundles differ.

    Two machines may compress the same files to other bytes, and so to another hash.

    Raises
    ------
    BundleError
        If one is no bundle, or has two files of one name.
    """
    first, second = _files(one), _files(other)
    return sorted(n for n in first.keys() | second.keys() if first.get(n) != second.get(n))


def _files(bundle: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(BytesIO(bundle)) as archive:
            names = archive.namelist()
            if len(set(names)) < len(names):
                raise BundleError("a file stands twice in the bundle; do not approve it")
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"not a bundle: {error}; make one with `flwr build`") from None
