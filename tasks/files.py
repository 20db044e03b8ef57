"""What was read from files, kept until one of them changes.

A run asks for its records in every round, and parsing takes seconds. But a process may outlive
the file that it read: one that was replaced must be read again.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from tasks.records import DataError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def keep_until_changed(num_kept: int) -> Callable[[Callable[[*Ts], T]], Callable[[*Ts], T]]:
    """Keep what a function read from the files among its arguments, as long as they stand.

    A file is known by path, size and time of writing. The function takes its arguments by
    position, all of them hashable, and its result is shared: it must not be changed. The
    function raises ``DataError`` if one of the files is not there or cannot be looked at.

    Parameters
    ----------
    num_kept : int
        How many results are kept at most: those used last.
    """

    def decorate(read: Callable[[*Ts], T]) -> Callable[[*Ts], T]:
        @lru_cache(maxsize=num_kept)
        def kept(states: tuple[tuple[int, int], ...], arguments: tuple[*Ts]) -> T:
            return read(*arguments)

        @wraps(read)
        def reading(*arguments: *Ts) -> T:
            # The state from before reading: what is written meanwhile is read the next time.
            states = tuple(_state(file) for file in arguments if isinstance(file, Path))
            return kept(states, arguments)

        return reading

    return decorate


def _state(file: Path) -> tuple[int, int]:
    """Return a file's size in bytes and when it was last written, in nanoseconds."""
    try:
        found = file.stat()
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except OSError as error:
        # A file where a folder is due, say.
        raise DataError(f"{file}: {error.strerror}") from None
    return found.st_size, found.st_mtime_ns
