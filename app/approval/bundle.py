"""The bundle that a node's code runs from: its hash, and whether the node's owner approved it.

A bundle is what ``flwr run`` ships. The guard (``app.approval.guard``) looks at its hash before
anything of it is imported, and tells the code which bundle it is by an environment variable.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from io import BytesIO
from pathlib import Path

from app.node.policy import Policy, PolicyError

#: Set by the guard, in the process that runs the bundle: its SHA-256 as 64 hexadecimal digits.
RUNNING = "TACET_BUNDLE"
#: In the adverts of nodes without a guard, and of simulated ones.
NO_BUNDLE = bytes(32)


class BundleError(ValueError):
    """No bundle can be built or read: in one line, with the mend."""


def running_bundle(simulated: bool) -> bytes:
    """Return the SHA-256 of the bundle that this process runs from.

    Parameters
    ----------
    simulated : bool
        Whether the node is; a simulation has no guard.

    Returns
    -------
    bytes
        32 bytes, all 0 if the guard did not start this process.

    Raises
    ------
    PolicyError
        If the environment variable holds something else.
    """
    told = os.environ.get(RUNNING, "")
    if simulated or not told:
        return NO_BUNDLE
    if not re.fullmatch("[0-9a-f]{64}", told):
        raise PolicyError(f"{RUNNING}: not a SHA-256; only the guard sets it, so unset it")
    return bytes.fromhex(told)


def approved_bundles(policy: Policy | None, simulated: bool) -> frozenset[bytes] | None:
    """Return the bundles that peers may run; None for any.

    Raises
    ------
    PolicyError
        If the policy lists bundles and what runs here is none of them.
    """
    running = running_bundle(simulated)
    if simulated or policy is None or policy.bundles is None:
        return None
    approved = frozenset(bytes.fromhex(bundle) for bundle in policy.bundles)
    if running == NO_BUNDLE:
        raise PolicyError(
            "this node's policy lists bundles, but no guard looked at the one that runs; start"
            " the node with `tacet supernode` in place of `flower-supernode`"
        )
    if running not in approved:
        raise PolicyError(
            f"this node's policy does not list the bundle that runs, {running.hex()}; review it"
            " and add it to bundles"
        )
    return approved


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
