"""Compose Flower's flat run config into one typed, checked ``AppConfig``, with Hydra.

Server and clients call ``load_config`` with the same run config and get the same result. There
is no ``_target_`` and no interpolation: a run config chooses among options, it can name neither
code nor anything of the machine it is read on.
"""

import difflib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import cast

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from app.config.composing import (
    HYDRA_LOCK,
    Files,
    composed_of,
    files_of,
    register_schemas,
    schemas,
)
from app.config.effects import refuse_idle
from app.config.misread import misread_key, misread_text
from app.config.plain import to_dict
from app.config.removed import REMOVED
from app.config.run import GROUPS, AppConfig
from app.config.words import check_values, refuse_twice, split_words
from tasks.registry import LACKS_SCHEMA, TASKS
from tasks.schema import TaskConfig

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"
GROUP_KEYS = ("task", "algorithm", "aggregation", "privacy", "tracking")
EVERYDAY_KEYS = (
    "num_rounds",
    "seed",
    "deterministic",
    "output_dir",
    "resume_from",
    "initial_model",
    "data_dir",
    "simulation_nodes",
)

# Mappings of ``algorithm`` whose keys are the user's own: the classes of a label.
_OWN_NAMES = ("class_weight",)

Scalar = bool | int | float | str

# What OmegaConf adds to a message that only a programmer would want.
_NOISE = ("object_type=", "reference_type=")


class ConfigError(ValueError):
    """The run config is wrong. The message is one line and names the key."""


def load_config(run_config: Mapping[str, Scalar]) -> AppConfig:
    """Compose and check the configuration of a run.

    Parameters
    ----------
    run_config : mapping
        Flower's run config: the keys that ``pyproject.toml`` declares. Missing keys take their
        defaults from ``conf/config.yaml``.

    Returns
    -------
    AppConfig
        Cached and shared between callers: treat it as read-only.

    Raises
    ------
    ConfigError
        Naming the key, the value and the mend, in one line.
    """
    # With its type: to a cache 1, 1.0 and True are one key, but not all are integers.
    given = tuple((k, type(v), v) for k, v in sorted(run_config.items()))
    return _load(given, files_of(CONF_DIR))


def load_given(run_config: Mapping[str, Scalar]) -> AppConfig:
    """Compose and check what a person gave: a key that is given twice is a mistake there.

    Code that adds an override of its own goes on with ``load_config``, where the last wins.

    Raises
    ------
    ConfigError
        As ``load_config``, or naming the key and both of its values.
    """
    try:
        refuse_twice(split_words(str(run_config.get("overrides", ""))))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return load_config(run_config)


def options(group: str) -> list[str]:
    """Return the options of a group, sorted: one for each YAML in ``conf/<group>``."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def resolved(config: AppConfig) -> dict[str, object]:
    """Return the configuration as plain nested dicts, each group with the option's name."""
    values = to_dict(config)
    for group in schemas():
        named = {"name": option_of(config, group)}
        values[group] = named | cast(dict[str, object], values[group])
    return values


def option_of(config: AppConfig, group: str) -> str:
    """Return the name of a group's chosen option, whatever YAML configured it."""
    chosen = type(getattr(config, group))
    return next(name for name, schema in schemas()[group].items() if schema is chosen)


@lru_cache(maxsize=4)
def to_yaml(config: AppConfig) -> str:
    """Return the resolved configuration as YAML; asked for twice a run, and slow."""
    return OmegaConf.to_yaml(OmegaConf.create(resolved(config)))


def task_config(name: str, values: Mapping[str, object]) -> object:
    """Return the typed configuration of a task from what ``to_dict`` gave for it."""
    schema = OmegaConf.structured(TASKS[name].Config)
    return _typed(OmegaConf.merge(schema, OmegaConf.create(dict(values))))


def algorithm_config(schema: type, values: Mapping[str, object]) -> object:
    """Return the typed configuration of an algorithm from what ``to_dict`` gave for it."""
    return _typed(OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(dict(values))))


def _typed(composed: DictConfig | ListConfig) -> object:
    """Return the dataclasses of a configuration, of which nothing may be looked up.

    Hydra removes backslashes from what it reads, so the words as given do not tell: an
    interpolation such as ``${oc.env:...}`` would read the environment of whoever resolves it.

    Raises
    ------
    ConfigError
        Naming the key of the first value with an interpolation.
    """
    for key, text in _strings("", OmegaConf.to_container(composed, resolve=False)):
        if "${" in text:
            raise ConfigError(
                f"{key}={text!r}: interpolation is not allowed here; give the value itself"
            )
    return OmegaConf.to_object(composed)


def _strings(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield every string in nested dicts and lists, names included, with its dotted key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in cast(dict[object, object], value).items():
            dotted = f"{key}.{name}" if key else str(name)
            yield dotted, str(name)
            yield from _strings(dotted, inner)
    elif isinstance(value, list):
        for inner in cast(list[object], value):
            yield from _strings(key, inner)


@lru_cache(maxsize=32)
def _load(items: tuple[tuple[str, type, Scalar], ...], files: Files) -> AppConfig:
    try:
        choices, values, free = _split({key: value for key, _, value in items})
    except ValueError as error:
        raise ConfigError(str(error)) from None
    file = _task_file(choices + free)
    with HYDRA_LOCK:
        register_schemas()
        try:
            words = tuple(_opened(choices + free))
            composed = deepcopy(composed_of(CONF_DIR, words, files))
            composed.merge_with(values)
            config = cast(AppConfig, _typed(composed))
            refuse_idle(config, free)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            misread = misread_key(file) if file else ""
            raise ConfigError(misread or _one_line(error, choices)) from None
    if file and (misread := misread_text(file, config.task)):
        raise ConfigError(misread)
    return config


def _task_file(words: list[str]) -> Path | None:
    """Return the YAML of the chosen task, in which people name columns; None by default."""
    names = [word.partition("=")[2] for word in words if word.startswith("task=")]
    return CONF_DIR / "task" / f"{names[-1]}.yaml" if names else None


def _opened(words: list[str]) -> list[str]:
    """Return the overrides, of which some name what is in a mapping of the user's own names.

    To Hydra these are keys that do not exist yet.
    """
    chosen = [word.partition("=")[2] for word in words if word.startswith("algorithm=")]
    schema = GROUPS["algorithm"].get(chosen[-1]) if chosen else None
    known = [] if schema is None else [item.name for item in fields(schema)]
    own = (f"algorithm.{name}" for name in _OWN_NAMES if name in known)
    begun = tuple(begun for key in own for begun in (f"{key}.", f"{key}={{"))
    return [f"+{word}" if word.startswith(begun) else word for word in words]


def _split(run_config: dict[str, Scalar]) -> tuple[list[str], dict[str, Scalar], list[str]]:
    """Split a run config into group choices, everyday values and free overrides."""
    free = _free_overrides(str(run_config.pop("overrides", "")))
    choices: list[str] = []
    values: dict[str, Scalar] = {}
    for key, value in run_config.items():
        name = key.replace("-", "_")
        # Flower takes the keys that pyproject.toml declares, which have hyphens.
        if "_" in key or name not in (*GROUP_KEYS, *EVERYDAY_KEYS):
            raise ConfigError(f"run config: {_no_key(key, value)}")
        if name in GROUP_KEYS:
            choices.append(_group_choice(name, str(value)))
        else:
            values[name] = value
    return choices, values, free


def _no_key(key: str, value: Scalar) -> str:
    """Return that there is no such key, with the mend."""
    if "." in key:
        return f'{key} is no key of its own; give it as overrides="{key}={value}"'
    known = [k.replace("_", "-") for k in (*GROUP_KEYS, *EVERYDAY_KEYS)]
    return f"{key} is no key{_did_you_mean(key, known)}"


def _group_choice(group: str, option: str) -> str:
    known = options(group)
    if option not in known:
        raise ConfigError(
            f"{group}={option!r}: no such option{_did_you_mean(option, known)};"
            f" there are {', '.join(known)}"
        )
    return f"{group}={option}"


def _free_overrides(text: str) -> list[str]:
    words = split_words(text)
    for word in words:
        key, _, value = word.partition("=")
        if key.startswith(("hydra", "+", "~")) or "@" in key:
            raise ConfigError(f"overrides: {key!r} is not a key of this configuration")
        if "${" in word:
            raise ConfigError(f"overrides: {word!r}: interpolation is not allowed here")
        if key in GROUP_KEYS:
            _group_choice(key, value)
        if key.replace("-", "_") in EVERYDAY_KEYS:
            own = key.replace("_", "-")
            raise ConfigError(f"overrides: {word!r}: give {own} as a run config key of its own")
    check_values(words)
    return words


def _one_line(error: Exception, choices: list[str]) -> str:
    """Return one readable line for what Hydra spreads over several."""
    cause = error.__cause__ if error.__cause__ is not None else error
    if f"not in '{TaskConfig.__name__}'" in str(cause):
        return LACKS_SCHEMA
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        key = str(cause.full_key)
        if key in REMOVED:
            return f"{key} is no key any more: {REMOVED[key]}"
        close = _did_you_mean(key, _known_keys(choices))
        return f"{key} is not a key of this configuration{close}"
    if isinstance(cause, MissingMandatoryValue) and cause.full_key:
        key = str(cause.full_key)
        return f'{key} has no default and must be given, e.g. overrides="{key}=..."'
    texts = [str(error)] if cause is error else [str(error), str(cause)]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    lines = [line.replace("full_key: ", "key: ") for line in lines]
    # Ours, and not the user's: see _opened.
    lines = [line.replace("override +", "override ") for line in lines]
    if lines and "incompatible with (str)" in str(cause):
        lines.append("a name that looks like a number or a truth value: write KEY.NAME=VALUE")
    return "; ".join(line for line in lines if line and not line.startswith(_NOISE))


def _known_keys(choices: list[str]) -> list[str]:
    """Return every dotted key of the chosen options."""
    keys: list[str] = []

    def walk(prefix: str, values: Mapping[str, object]) -> None:
        for name, value in values.items():
            keys.append(prefix + name)
            if isinstance(value, dict):
                walk(f"{prefix}{name}.", value)

    composed = OmegaConf.to_container(
        composed_of(CONF_DIR, tuple(choices), files_of(CONF_DIR)), throw_on_missing=False
    )
    walk("", cast(dict[str, object], composed))
    return keys


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
