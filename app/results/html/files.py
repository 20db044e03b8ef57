"""Replace a page on disk."""

from __future__ import annotations

import os
from pathlib import Path


def replace_page(path: Path, text: str) -> None:
    """Replace a file atomically, also where another process draws the same page.

    Not synced, as ``write_whole`` is: a page that a power failure takes is drawn again.

    Raises
    ------
    OSError
        If it cannot be written; what was there is as it was.
    """
    # Of this process alone, and no name that anything else of a run folder has meanwhile.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Half a character, as JSON may hold, is no text.
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
