"""Tell whether others may change, or read, a file by which a node goes.

Keys, peers and policy are what a node trusts: who may write one of them, or put another file in
its place, decides for the node. OpenSSH asks the same of its own files (StrictModes).
"""

import os
import stat
from pathlib import Path

_WRITE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ANYTHING_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def objection(path: Path, *, is_secret: bool = False) -> str | None:
    """Return why a file is not to be trusted, in one line with the mend; None if it is.

    Parameters
    ----------
    path : Path
        The file; where it is a link, both ends are looked at.
    is_secret : bool
        Whether others must not read it either.

    Raises
    ------
    OSError
        If it is not there.
    """
    real = path.resolve(strict=True)
    mode = real.stat().st_mode
    if mode & _WRITE_BY_OTHERS:
        return f"{path}: others may write it; take that from them: chmod go-w {real}"
    if is_secret and mode & _ANYTHING_BY_OTHERS:
        return f"{path}: others may read it; make a new one, for this may be known"
    for one in dict.fromkeys((real, real.parent, path.absolute().parent)):
        found = one.stat()
        if found.st_uid not in (0, os.geteuid()):
            return f"{one}: belongs to another user; chown it to the user who runs the node"
        # In a folder such as /tmp only its owner may replace a file.
        is_shared = found.st_mode & _WRITE_BY_OTHERS and not found.st_mode & stat.S_ISVTX
        if one != real and is_shared:
            return (
                f"{path}: others may write its folder, and so replace it; take that from them:"
                f" chmod go-w {one}"
            )
    return None
