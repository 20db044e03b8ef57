"""Codecs and workloads of a configuration, and nodes that contribute what a test says."""

import numpy as np

import app.round.contribute
from app.builders.privacy import privacy_plan, private_codec
from app.builders.step import learning_rate
from app.builders.workload import build_workload
from privacy.bounding.bounded_sum import no_terms, one_term, sum_of_terms
from strategies.codec.private_codec import PrivateCodec
from strategies.codec.stages import SumContext
from workloads.values import Aggregate, PrivateContribution, State


def codec_of(config, length: int) -> PrivateCodec:
    """Return the codec of a private configuration."""
    return private_codec(config, build_workload(config), length)


def model_of(config):
    """Return the run's untrained model."""
    return build_workload(config).build_model()


def context(cohort: int, survivors: int = 0, seed: bytes = bytes(32)) -> SumContext:
    """Return what all know of a sum."""
    return SumContext(seed=seed, num_contributions=cohort, num_survivors=survivors)


def step_size(config) -> float:
    """Return what the server multiplies a sum by, as the workload itself does it.

    A learning rate that is left to the noise is that of one parameter.
    """
    moved = []

    def step(server_round, before, mean, weight):
        moved.append(float(mean[0]))
        return before

    workload = build_workload(config)
    if config.privacy.stepped is not None:
        rate = learning_rate(config, privacy_plan(config, workload, 1))
        workload = workload.with_learning_rate(rate)
    aggregate = Aggregate(np.full(1, 1e6), {}, config.privacy.population)
    workload.apply(State({"w": np.zeros(1, np.float32)}), aggregate, 1, step)
    return moved[0] / 1e6


def bounded(codec: PrivateCodec, update: np.ndarray) -> PrivateContribution:
    """Return an update as the unit's own maker bounds it."""
    if codec.plan.terms.unit == "client":
        laplace = codec.plan.terms.mechanism == "laplace"
        return PrivateContribution(one_term(update, codec.clip_norm, l1=laplace).bounded)
    # So many records' terms that none of them is clipped.
    length = float(np.linalg.norm(update)) / codec.clip_norm
    num_records = int(length) + 2 if np.isfinite(length) else 1
    term = update.astype(np.float64) / num_records
    return PrivateContribution(sum_of_terms([term] * num_records, len(update), codec.clip_norm))


def contributing(monkeypatch, update_of) -> None:
    """Let each node contribute ``update_of(partition_id)``, bounded, and zeros for metrics."""

    def private(request, codec, session, _records):
        server_round = request.query.server_round
        nothing = codec.nothing(server_round, training=request.training)
        if not request.training:
            return nothing
        update = update_of(session.source.partition_id)
        if update is None:
            return nothing
        made = bounded(codec, update)
        return PrivateContribution(made.update, nothing.metrics, nothing.clip_bit)

    monkeypatch.setattr(app.round.contribute, "_private", private)


def failing(monkeypatch) -> None:
    """Let every attempt to contribute privately fail."""

    def private(*_arguments):
        raise RuntimeError("a record")

    monkeypatch.setattr(app.round.contribute, "_private", private)


def zeros(codec: PrivateCodec) -> PrivateContribution:
    """Return the contribution of nobody."""
    terms = codec.plan.terms
    return PrivateContribution(no_terms(terms.dimension, codec.clip_norm, terms.unit))
