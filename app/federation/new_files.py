"""New files with their modes: keys, which are never overwritten, and what goes with them."""

from __future__ import annotations

import os
from pathlib import Path

from app.node.identity import IdentityError

PRIVATE, PUBLIC = 0o600, 0o644


def write_new(files: dict[Path, tuple[bytes, int]]) -> None:
    """Write files with their modes, or none if one of them exists."""
    for path in files:
        if path.exists():
            raise IdentityError(
                f"{path}: is there already, and a key is never overwritten; choose another path"
            )
    try:
        for path, (data, mode) in files.items():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
    except OSError as error:
        raise IdentityError(f"{error.filename}: {error.strerror}") from None
