"""Hydra's part in reading a configuration: schemas, and the chosen options put together."""

import os
import threading
from functools import lru_cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from app.config.run import GROUPS, AppConfig
from tasks.registry import TASKS

#: Hydra keeps the initialised compose API in a global; two threads would trip over it.
HYDRA_LOCK = threading.Lock()
#: Path, time and size of each YAML.
Files = tuple[tuple[str, int, int], ...]

# The schemas that Hydra has, by group and option.
_REGISTERED: dict[tuple[str | None, str], type] = {}


def schemas() -> dict[str, dict[str, type]]:
    """Return group -> option -> dataclass."""
    return {"task": {name: task.Config for name, task in TASKS.items()}, **GROUPS}


def register_schemas() -> None:
    """Give Hydra the schemas that it has not got yet; each takes some milliseconds."""
    store = ConfigStore.instance()
    groups: dict[str | None, dict[str, type]] = {None: {"root": AppConfig}, **schemas()}
    for group, options in groups.items():
        for name, node in options.items():
            if _REGISTERED.get((group, name)) is not node:
                store.store(group=group, name=f"{name}_schema", node=node)
                _REGISTERED[group, name] = node


def files_of(conf_dir: Path) -> Files:
    """Return what tells that a YAML has changed."""
    found: list[tuple[str, int, int]] = []
    for folder in (conf_dir, *(conf_dir / group for group in schemas())):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".yaml"):
                    stat = entry.stat()
                    found.append((entry.path, stat.st_mtime_ns, stat.st_size))
    return tuple(sorted(found))


# What takes longest, and the same where only everyday values differ.
@lru_cache(maxsize=32)
def composed_of(conf_dir: Path, overrides: tuple[str, ...], _: Files) -> DictConfig:
    """Return the composed options, for the caller to copy and not to change.

    The caller holds ``HYDRA_LOCK`` and has registered the schemas.

    Raises
    ------
    HydraException, OmegaConfBaseException, yaml.YAMLError
        If there is no such option or key, or a YAML cannot be read.
    """
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir)):
        return compose(config_name="config", overrides=list(overrides))
