"""Whether a model that is there means the same as a run's: its inputs, outputs and split."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from app.config.load import ConfigError, option_of
from app.config.plain import to_dict
from app.config.run import AppConfig
from app.results.model_file import ModelFile, ModelFileError, read_model
from app.results.run_folder import difference

# What of a task's configuration is no part of what a model's inputs and outputs mean.
_MAY_DIFFER = ("training", "partition", "drop", "delimiter", "bins", "weight")


def meaning_objection(
    model: ModelFile, config: AppConfig, besides: Collection[str] = ()
) -> str:
    """Return why a model means something else than that of a run, with the mend; empty if not.

    Parameters
    ----------
    model : ModelFile
        As read.
    config : AppConfig
        Of the run.
    besides : collection of str
        Keys of ``task`` that may differ too.
    """
    if model.task != option_of(config, "task"):
        return (
            f"its task is {model.task}, this run's {option_of(config, 'task')}; give"
            f' task="{model.task}"'
        )
    left_out = {*_MAY_DIFFER, *besides}
    before, now = _without(left_out, model.config), _without(left_out, to_dict(config.task))
    if before != now:
        return (
            f"{difference('task', before, now)}: inputs or outputs mean something else, or"
            " records that it was trained on would be held out; give it as it was"
        )
    if (place := _reordered("task", before, now)) is not None:
        return (
            f"{place} has its names in another order, so inputs change places; give them as in"
            " that run's config.yaml"
        )
    if model.seed != config.seed:
        return (
            f"seed was {model.seed}, now {config.seed}: records that it was trained on would be"
            f" held out and score it; give seed={model.seed}"
        )
    return ""


def check_base(config: AppConfig) -> None:
    """Refuse a base of adapters that means something else than the run's model.

    Where its file says what it is of, as that of a run does; exported tensors say nothing.

    Raises
    ------
    ConfigError
        Naming the file, the reason and the mend.
    """
    adapters = config.task.adapters
    if not adapters.rank:
        return
    try:
        model = read_model(Path(adapters.base).expanduser())
    except ModelFileError:
        return
    if why := meaning_objection(model, config, ("adapters",)):
        raise ConfigError(f"task.adapters.base={adapters.base}: {why}")


def _without(left_out: Collection[str], task: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in task.items() if key not in left_out}


def _reordered(key: str, one: object, other: object) -> str | None:
    """Return where, at any depth, equal mappings have their names in different orders."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return None
    mine, others = cast(dict[str, Any], one), cast(dict[str, Any], other)
    # The top has the keys of a dataclass, which have one order.
    if key != "task" and [*mine] != [*others]:
        return key
    found = (_reordered(f"{key}.{name}", value, others[name]) for name, value in mine.items())
    return next((place for place in found if place is not None), None)
