"""Replace a page on disk."""

from __future__ import annotations

import os
from pathlib import Path


def replace_page(path: Path, text: str, *, is_secret: bool = False) -> None:
    """Replace a file atomically, also where another process draws the same page.

    Not synced, as ``write_whole`` is: a page that a power failure takes is drawn again.

    Parameters
    ----------
    path : Path
        The file.
    text : str
        What it is to hold.
    is_secret : bool
        Whether only its owner may read it, from its first byte on.

    Raises
    ------
    OSError
        If it cannot be written; what was there is as it was.
    """
    # Of this process alone, and no name that anything else of a run folder has meanwhile.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if is_secret:
            # One that another user has put there would be theirs to read.
            partial.unlink(missing_ok=True)
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        # Half a character, as JSON may hold, is no text.
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
