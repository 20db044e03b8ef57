"""What a client does with a message of a private run, once torch and Opacus are needed."""

import logging

import numpy as np
import torch
from flwr.app import RecordDict
from torch import nn

from app.builders.algorithm import proximal_mu
from app.config.privacy import ExampleLocalConfig, ExamplePrivacyConfig, PrivateConfig
from app.config.run import AppConfig
from app.round.contribute import request_round
from app.round.train import prepare, rng_of
from privacy.noise.draw import private_sum
from privacy.noise.randomness import secure_generator
from privacy.plan.plan import PrivacyPlan
from strategies.contribution import EVAL_PREFIX, NUM_EXAMPLES, Contribution, flatten
from tasks.base import DataSource, LocalData, Task
from tasks.training.clipped_sum import clipped_gradient_sum
from tasks.training.dp_sgd import metric_vectors, poisson_sample, train_privately
from tasks.training.local import get_parameters
from tasks.training.local import train as train_model

log = logging.getLogger("flwr.tacet")


def train(
    content: RecordDict, config: AppConfig, source: DataSource, plan: PrivacyPlan
) -> Contribution:
    """Return this node's contribution: bounded, but with no noise yet unless it is local.

    Under ``example`` privacy the update is a sum of clipped gradients, float64, which the codec
    rounds and adds noise to; under ``example_local`` an update that is private already; under
    ``client`` an update that the codec clips.

    Raises
    ------
    Refusal
        If the model does not fit.
    DataError, ModelRefusedError
        If this node's records do not fit the task, or the model cannot be trained per record.
    """
    privacy = config.privacy
    assert isinstance(privacy, PrivateConfig)  # noqa: S101 - chosen for such runs only
    task, data, model = prepare(content, config, source)
    _warn_of_delta(privacy.delta, len(data.train))
    server_round = request_round(content)
    due = plan.has_metrics(server_round)
    sums = _metric_sums(task, model, data, privacy) if due else {}
    if isinstance(privacy, ExamplePrivacyConfig):
        rng = rng_of(config, source.partition_id, server_round, secure_generator)
        if isinstance(privacy, ExampleLocalConfig):
            update = _train_locally(task, model, data, config, plan, rng)
        else:
            update = _gradient_sum(task, model, data, privacy, rng)
        return Contribution(update, sums)
    before = flatten(get_parameters(model))
    if len(data.train) == 0:
        # A refusal would tell; a client without records moves nothing.
        return Contribution(np.zeros_like(before), sums)
    rng = rng_of(config, source.partition_id, server_round)
    torch.manual_seed(int(rng.integers(2**63)))
    train_model(task, model, data.train, rng, proximal_mu(config))
    return Contribution(flatten(get_parameters(model)) - before, sums)


def evaluate(
    content: RecordDict, config: AppConfig, source: DataSource, plan: PrivacyPlan
) -> Contribution:
    """Return this node's metric sums of the last model, if such are released at all."""
    privacy = config.privacy
    assert isinstance(privacy, PrivateConfig)  # noqa: S101 - chosen for such runs only
    task, data, model = prepare(content, config, source)
    sums = _metric_sums(task, model, data, privacy) if plan.terms.metrics_every else {}
    return Contribution(np.zeros(0, dtype=np.float32), sums)


def _warn_of_delta(delta: float, num_records: int) -> None:
    """Say in the node's own log that delta allows a record to be given away whole."""
    if num_records and delta >= 1 / num_records:
        log.warning(
            "privacy.delta=%g is not below 1 over this node's %d training records",
            *(delta, num_records),
        )


def _gradient_sum(
    task: Task,
    model: nn.Module,
    data: LocalData,
    privacy: ExamplePrivacyConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    sample = poisson_sample(len(data.train), privacy.sampling_rate, rng)
    return clipped_gradient_sum(
        task,
        model,
        data.train,
        sample,
        privacy.clip_norm,
        privacy.grad_sample_mode,
        privacy.max_physical_batch,
    )


def _train_locally(
    task: Task,
    model: nn.Module,
    data: LocalData,
    config: AppConfig,
    plan: PrivacyPlan,
    rng: np.random.Generator,
) -> np.ndarray:
    privacy = config.privacy
    assert isinstance(privacy, ExampleLocalConfig)  # noqa: S101 - chosen for such runs only
    before = flatten(get_parameters(model))
    train_privately(
        task,
        model,
        data.train,
        clip_norm=privacy.clip_norm,
        sampling_rate=privacy.sampling_rate,
        num_steps=plan.terms.num_local_steps,
        expected_batch_size=privacy.expected_batch_size,
        add_noise=private_sum(plan.update_release(), plan.step, privacy.clip_norm),
        rng=rng,
        mode=privacy.grad_sample_mode,
        proximal_mu=proximal_mu(config),
        max_physical_batch=privacy.max_physical_batch,
    )
    return flatten(get_parameters(model)) - before


def _metric_sums(
    task: Task, model: nn.Module, data: LocalData, privacy: PrivateConfig
) -> dict[str, float]:
    """Return the metric vector of the held-out records, by name: one unit moves each by 1."""
    vectors = metric_vectors(task, model, data.test, privacy.metrics.loss_clip)
    if isinstance(privacy, ExamplePrivacyConfig):
        vector = vectors.sum(axis=0)
    else:
        # One client counts once, however many records it has.
        vector = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1])
    names = (NUM_EXAMPLES, "loss", *task.metric_names(task.config))
    return {EVAL_PREFIX + name: float(v) for name, v in zip(names, vector, strict=True)}
