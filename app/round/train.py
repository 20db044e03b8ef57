"""What a client does with a message once torch is needed."""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from flwr.app import ArrayRecord, RecordDict
from torch import nn

from app.builders.algorithm import proximal_mu
from app.builders.run import build_model, build_task
from app.config.run import AppConfig
from app.round.contribute import request_round
from strategies.contribution import (
    ARRAYS,
    EVAL_PREFIX,
    NUM_EXAMPLES,
    TRAIN_LOSS,
    Contribution,
    flatten,
    to_parameters,
)
from strategies.refusals import Reason, Refusal
from tasks.base import DataSource, LocalData, Task
from tasks.training.local import evaluate as evaluate_model
from tasks.training.local import get_parameters, set_parameters
from tasks.training.local import train as train_model

_TRAINING_STREAM = 3


def train(content: RecordDict, config: AppConfig, source: DataSource) -> Contribution:
    """Return this node's contribution to the round.

    The global model is scored before training, so that evaluation costs no trip of its own.

    Raises
    ------
    Refusal
        If the model does not fit.
    DataError
        If this node's records do not fit the task.
    """
    task, data, model = prepare(content, config, source)
    sums = _evaluation_sums(task, model, data)
    before = flatten(get_parameters(model))
    rng = rng_of(config, source.partition_id, request_round(content))
    torch.manual_seed(int(rng.integers(2**63)))
    result = train_model(task, model, data.train, rng, proximal_mu(config))
    update = flatten(get_parameters(model)) - before
    sums[NUM_EXAMPLES] = float(result.num_examples)
    sums[TRAIN_LOSS] = result.mean_loss * result.num_examples
    return Contribution(update, sums)


def evaluate(content: RecordDict, config: AppConfig, source: DataSource) -> Contribution:
    """Return this node's sums for the last evaluation, with an empty update."""
    task, data, model = prepare(content, config, source)
    sums = _evaluation_sums(task, model, data)
    return Contribution(np.zeros(0, dtype=np.float32), sums)


def prepare(
    content: RecordDict, config: AppConfig, source: DataSource
) -> tuple[Task, LocalData, nn.Module]:
    """Return the task, this node's records and the global model.

    Raises
    ------
    Refusal
        If the model that came does not fit.
    """
    task = build_task(config)
    data = task.load(source)
    model = build_model(config)
    try:
        set_parameters(model, to_parameters(cast(ArrayRecord, content[ARRAYS])))
    except (KeyError, ValueError) as error:
        raise Refusal(Reason.MODEL_REFUSED) from error
    return task, data, model


def _evaluation_sums(task: Task, model: nn.Module, data: LocalData) -> dict[str, float]:
    return {EVAL_PREFIX + k: v for k, v in evaluate_model(task, model, data.test).items()}


def rng_of(
    config: AppConfig,
    partition_id: int,
    server_round: int,
    unseeded: Callable[[], np.random.Generator] = np.random.default_rng,
) -> np.random.Generator:
    """Return what draws batches or samples: the operating system unless asked otherwise."""
    if config.deterministic:
        key = [config.seed, _TRAINING_STREAM, server_round, partition_id]
        return np.random.default_rng(key)
    return unseeded()
