"""Folders of runs that were given none."""

import time
from pathlib import Path


def new_folder(parent: Path) -> Path:
    """Make a run folder named by the time; two that are made in one second are two."""
    parent.mkdir(parents=True, exist_ok=True)
    name, number = time.strftime("%Y%m%d-%H%M%S"), 1
    while True:
        folder = parent / (f"{name}-{number}" if number > 1 else name)
        try:
            # To make it is to take it: nobody else can.
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
