"""Keys that have no effect in a combination of options: they are refused where given."""

from collections.abc import Iterable, Iterator, Mapping

from hydra.core.override_parser.overrides_parser import OverridesParser

from app.config.run import AppConfig, OnClientFailure
from app.config.workload import workload_name
from tasks.registry import task_of
from tasks.schema import Optimizer, Scheme
from workloads.gradient_sum import NO_DEVICE
from workloads.registry import WORKLOADS

#: Keys of ``task`` that are about its neural model.
_OF_MODELS = (
    "model",
    "hidden",
    "width",
    "rbf_features",
    "rbf_gamma",
    "preprocessing",
    "adapters",
    "personal",
)

#: Keys of ``aggregation.codec`` by which updates are sent in fewer bytes.
_COMPRESSING = ("value_bits", "keep_fraction", "error_feedback")

#: A key, or the beginning of keys, and why it has no effect, with the mend.
Idle = Iterator[tuple[str, str]]


def refuse_idle(config: AppConfig, words: list[str]) -> None:
    """Refuse a free override that changes nothing in this run.

    Parameters
    ----------
    config : AppConfig
        As composed.
    words : list of str
        The free overrides, each ``key=value``.

    Raises
    ------
    ValueError
        Naming the key, the reason and the mend.
    """
    idle = dict(_idle(config))
    if not idle:
        return
    for key in _given(words):
        for beginning, why in idle.items():
            if key == beginning or key.startswith(f"{beginning}."):
                raise ValueError(f"overrides: {key} has no effect here: {why}")


def _given(words: list[str]) -> Iterator[str]:
    """Yield every dotted key that the overrides set, those inside of a mapping too."""
    parser = OverridesParser.create()
    for override in parser.parse_overrides(words):
        yield from _leaves(override.key_or_group, override.value())


def _leaves(key: str, value: object) -> Iterable[str]:
    if not isinstance(value, dict) or not value:
        return [key]
    return [leaf for name, inner in value.items() for leaf in _leaves(f"{key}.{name}", inner)]


def _idle(config: AppConfig) -> Idle:
    yield from _training(config)
    yield from _task(config)
    is_private = config.privacy.mode is not None
    yield from _under("aggregation", config.aggregation.idle_keys(is_private=is_private))
    yield from _codec(config)
    yield from _privacy(config)
    yield from _attempts(config)
    yield from _tracking(config)
    yield from _synchronisation(config)
    if not config.early_stopping.patience:
        yield (
            "early_stopping.min_delta",
            "early_stopping.patience=0 never stops early; give a patience",
        )


def _under(group: str, idle: Mapping[str, str]) -> Idle:
    """Yield the keys of a group with its name before each; the empty key is the whole group."""
    for key, why in idle.items():
        yield (f"{group}.{key}" if key else group), why


def _training(config: AppConfig) -> Idle:
    """Yield what of ``task.training`` the workload does not use."""
    training = config.task.training
    idle = WORKLOADS[workload_name(config.algorithm)].idle_training
    yield from _under("task.training", idle)
    if idle:
        return
    mode = config.privacy.mode
    if mode is not None and mode.trains_privately:
        yield (
            "task.training.batch_size",
            "each record is drawn by itself; give privacy.sampling_rate",
        )
        yield "task.training.device", NO_DEVICE
    if training.num_steps:
        yield (
            "task.training.num_epochs",
            f"task.training.num_steps={training.num_steps} counts steps; set that to 0",
        )
    if training.optimizer is Optimizer.adam:
        yield "task.training.momentum", "task.training.optimizer=adam has moments of its own"


def _task(config: AppConfig) -> Idle:
    """Yield what of ``task.partition`` splits nothing."""
    task = task_of(config.task)
    scheme = config.task.partition.scheme
    if not task.is_split:
        yield "task.partition", "each node has records of its own, and nothing is split"
    elif scheme in (Scheme.iid, Scheme.natural):
        yield (
            "task.partition.alpha",
            f"task.partition.scheme={scheme.value} draws no shares; take dirichlet, say",
        )
    if task.is_split and scheme is Scheme.natural:
        yield "task.partition.min_examples", "task.partition.scheme=natural draws no shares"
    yield from _under("task", config.task.idle_keys())
    workload = WORKLOADS[workload_name(config.algorithm)]
    if not workload.has_model:
        for key in _OF_MODELS:
            yield f"task.{key}", "this workload has no neural model; take it out"
    if not workload.holds_out:
        yield "task.test_fraction", "this workload holds no record out; take it out"
    if not workload.needs_table:
        yield "task.bins", "only workloads of histograms have bins; take one by algorithm"


def _tracking(config: AppConfig) -> Idle:
    """Yield what of ``tracking`` names a model where there is none."""
    if not WORKLOADS[workload_name(config.algorithm)].gives_model():
        yield "tracking.registered_model", "the result is no model that predicts; take it out"
    if config.has_own_parts:
        yield (
            "tracking.registered_model",
            "a part of the model stays on each node (task.personal), so that what MLflow had of"
            " it could predict nothing; take it out",
        )


def _codec(config: AppConfig) -> Idle:
    """Yield what of ``aggregation.codec`` encodes nothing."""
    mode = config.privacy.mode
    name, workload = "aggregation.codec", WORKLOADS[workload_name(config.algorithm)]
    yield from _compression(config)
    if mode is not None:
        yield f"{name}.max_weight_examples", "under privacy no client has a weight"
        if not mode.trains_privately:
            yield f"{name}.clip_range", "under privacy it is privacy.clip_norm that bounds"
    elif workload.is_integer:
        yield name, "whole numbers are summed modulo 2^64; take it out"
    elif not workload.is_weighted:
        yield f"{name}.max_weight_examples", "every participant counts once; take it out"


def _compression(config: AppConfig) -> Idle:
    """Yield what would compress where there is no update, or where others fix the bits."""
    name, workload = "aggregation.codec", WORKLOADS[workload_name(config.algorithm)]
    is_private = config.privacy.mode is not None
    # The sum of gradients is a step along them, as the mean of updates is.
    is_step = workload.has_model if is_private else workload.averages_updates
    if is_private:
        yield (
            f"{name}.value_bits",
            "under privacy the grid follows from the noise; lower"
            " aggregation.codec.modulus_bits",
        )
        yield (
            f"{name}.error_feedback",
            "under privacy what a term leaves out may not come back in a later one, which no"
            " clip norm would bound; take it out",
        )
    if not is_step:
        for key in ("keep_fraction",) if is_private else _COMPRESSING:
            yield (
                f"{name}.{key}",
                "only updates of a model are compressed, whose mean is a step anyway; take it"
                " out, or algorithm=fedavg, say",
            )
    elif not (is_private or config.aggregation.codec.is_compressed):
        yield (
            f"{name}.error_feedback",
            "all of an update is sent; give value_bits or keep_fraction, or take it out",
        )


def _synchronisation(config: AppConfig) -> Idle:
    """Yield what would tell changes where the whole state is sent, or is no model's."""
    if not config.rounds.is_incremental:
        why = "rounds.synchronisation=full sends all of the model; take incremental"
        yield "rounds.delta", why
    elif not WORKLOADS[workload_name(config.algorithm)].has_model:
        yield "rounds.synchronisation", "the state is no neural model, and small; take it out"
        yield "rounds.delta", "the state is no neural model, and small; take it out"


def _attempts(config: AppConfig) -> Idle:
    """Yield what would count attempts that never are."""
    if config.rounds.on_client_failure is OnClientFailure.stop:
        yield (
            "rounds.max_silent",
            "rounds.on_client_failure=stop ends the run at the first silence; take proceed",
        )


def _privacy(config: AppConfig) -> Idle:
    """Yield what of ``privacy`` is switched off by another key."""
    private = config.privacy.private
    if private is None:
        return
    if config.task.adapters.rank:
        yield (
            "privacy.fix_model",
            f"task.adapters.rank={config.task.adapters.rank}: the base of adapters stays as it"
            " is, and no layer of it is replaced; take it out",
        )
    if not private.metrics.every:
        for key in ("noise_multiplier", "loss_clip"):
            yield f"privacy.metrics.{key}", "privacy.metrics.every=0 releases no metrics"
    if private.mode.hides_clients and private.adaptive is None:
        for key in ("target_quantile", "learning_rate"):
            yield (
                f"privacy.adaptive_clip.{key}",
                "privacy.adaptive_clip.bit_noise=0 keeps the clip norm as it is",
            )
    if not WORKLOADS[workload_name(config.algorithm)].has_model:
        for key in ("fix_model", "learning_rate"):
            yield f"privacy.{key}", "this workload has no model; take it out"
    if private.mode.trains_privately:
        yield (
            "privacy.range_deviations",
            "a node's update is private before it is summed; give aggregation.codec.clip_range",
        )
