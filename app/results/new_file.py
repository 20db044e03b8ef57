"""A new file that a command writes: never over one that is there."""

import os
import tempfile
from pathlib import Path


class NewFileError(ValueError):
    """A file cannot be written there. The message is one line, with the mend."""


def require_new(output: Path) -> None:
    """Refuse a path at which something is, or whose folder is not there.

    Raises
    ------
    NewFileError
        Naming the path.
    """
    if output.exists() or output.is_symlink():
        raise NewFileError(f"--output {output}: is there already; choose another path")
    if not output.parent.is_dir():
        raise NewFileError(f"--output {output}: there is no such folder")


def write_new(output: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all.

    Raises
    ------
    NewFileError
        If there is one meanwhile, or it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            # A link fails where there is a file, as a rename would not.
            os.link(name, output)
        finally:
            Path(name).unlink(missing_ok=True)
    except FileExistsError:
        raise NewFileError(
            f"--output {output}: is there already; choose another path"
        ) from None
    except OSError as error:
        raise NewFileError(f"{output}: {error.strerror}") from None
