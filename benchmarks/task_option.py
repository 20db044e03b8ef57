"""An option of ``task`` that only benchmarks have."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from app.config import load as loading


@contextmanager
def task_option(schema: Path) -> Iterator[None]:
    """Let this process find a YAML in ``conf/task``, where a user would copy it.

    Parameters
    ----------
    schema : Path
        The YAML, whose name is the option's.
    """
    before = loading.CONF_DIR
    with TemporaryDirectory(prefix="tacet-") as folder:
        loading.CONF_DIR = Path(shutil.copytree(before, Path(folder) / "conf"))
        shutil.copy(schema, loading.CONF_DIR / "task")
        try:
            yield
        finally:
            loading.CONF_DIR = before
