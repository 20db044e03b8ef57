"""Tell whether others may change, or read, a file by which a node goes.

Keys, peers and policy are what a node trusts: who may write one of them, or put another file in
its folder, decides for the node. OpenSSH asks much the same of its own files (StrictModes).
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
        The file; where it is a link, the folders of both ends are looked at.
    is_secret : bool
        Whether others must not read it either. Of a file of root's its group may, as the node's
        user is in it where an orchestrator mounts secrets.

    Raises
    ------
    OSError
        If it is not there.
    """
    real = path.resolve(strict=True)
    found = real.stat()
    mode, is_own = found.st_mode, found.st_uid == os.geteuid()
    if mode & _WRITE_BY_OTHERS:
        return f"{path}: others may write it; take that from them: chmod go-w {real}"
    if is_secret and mode & (_ANYTHING_BY_OTHERS if is_own else stat.S_IRWXO):
        return (
            f"{path}: others may read it (mode {stat.S_IMODE(mode):03o}); chmod 600 {real}, and"
            " make a new one if any of them may have"
        )
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
