"""Model updates, the FedAvg family: each node trains the model, updates are averaged."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import one_term
from privacy.bounding.clipping import clip_bit
from privacy.mode import Place
from privacy.unit import Unit
from workloads.base import Privacy, Records, Step
from workloads.model import ModelWorkload
from workloads.values import (
    NUM_EXAMPLES,
    TRAIN_LOSS,
    Aggregate,
    Arrays,
    Contribution,
    NoisedUpdate,
    PrivateContribution,
    Query,
    State,
)

log = logging.getLogger("flwr.tacet")


class ModelUpdate(ModelWorkload):
    """Sum the updates: local minus global parameters (McMahan et al. 2017, arXiv 1602.05629).

    Under the client unit a node's update is its one term. Under ``example`` x ``local`` the
    node trains by DP-SGD with all of the noise, and what it sends is private already.

    A part of the model that stays on each node (``task.personal``) changes nothing about the
    client unit. A node's term in a round is a function of what was released before and of what
    is its own: records, randomness, that part. It is clipped whatever they are, and nobody
    else's term depends on them but through releases; so with one node more or less one term of
    each round differs, by the clip norm at most, given all releases before, which is what
    adaptive composition asks for. A single record is in that part after its first round and
    from there in every later term, of the round's other records too. So it has no bound, and
    the configuration refuses it under the example unit.
    """

    serves = frozenset(
        {*((Unit.CLIENT, place) for place in Place), (Unit.EXAMPLE, Place.LOCAL)}
    )
    is_weighted = True
    averages_updates = True

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Score the model as it came, then train it: evaluation costs no trip of its own."""
        model = self.load(state, records)
        sums = self.score(model, records)
        result = self._train(model, records, rng)
        sums[NUM_EXAMPLES] = float(result.num_examples)
        sums[TRAIN_LOSS] = result.mean_loss * result.num_examples
        update = update_of(model, state)
        return Contribution(update, sums, personal=personal_of(model))

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Return the clipped update, or under ``example`` x ``local`` the noised one."""
        model = self.load(state, records)
        if privacy.mode.trains_privately:
            self._train_by_dp_sgd(model, records, rng, privacy)
            return PrivateContribution(NoisedUpdate(update_of(model, state)))
        train_loss = None
        # A refusal would tell; a client without records moves nothing.
        if len(records.train):
            train_loss = float(self._train(model, records, rng).mean_loss)
        term = one_term(
            update_of(model, state), privacy.clip_norm, l1=privacy.plan.terms.bounds_l1
        )
        if not term.was_finite:
            log.warning("training diverged here: this contribution is noise alone")
        bit = None
        if privacy.plan.terms.clip_bit_noise:
            bit = one_term(np.array([clip_bit(term.norm, 1.0)]), 0.5).bounded
        return PrivateContribution(
            term.bounded,
            clip_bit=bit,
            own_train_loss=train_loss,
            personal=personal_of(model),
        )

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Let the optimiser move the model by the mean update, times a learning rate."""
        mean = aggregate.mean()
        mode = self.setup.mode
        if mode is not None and mode.hides_clients:
            # Who answered may depend on the data: the divisor is a public constant.
            mean = aggregate.total * (self.learning_rate / self._expected_cohort)
        if (span := self.centre_span(state)) is not None:
            # Only a gradient sum looks for the centre: here there is nothing but noise.
            mean[span] = 0
        arrays = step(server_round, state.arrays, mean.astype(np.float32), aggregate.weight)
        return State(arrays, state.header)

    def device(self) -> str:
        """Return where a node trains and scores the model; loads torch."""
        mode = self.setup.mode
        if mode is not None and mode.trains_privately:
            return ""
        from tasks.training.device import device_of, name_of

        return name_of(device_of(self.task.config.training))

    @property
    def _expected_cohort(self) -> float:
        return self.setup.population * self.setup.cohort_fraction

    @property
    def _proximal_mu(self) -> float:
        return getattr(self.setup.algorithm, "proximal_mu", 0.0)

    def _train(self, model: Any, records: Records, rng: np.random.Generator) -> Any:
        from tasks.training.local import seed_torch, train

        seed_torch(int(rng.integers(2**63)))
        return train(self.task, model, records.train, rng, self._proximal_mu)

    def _train_by_dp_sgd(
        self, model: Any, records: Records, rng: np.random.Generator, privacy: Privacy
    ) -> None:
        from privacy.noise.draw import private_sum
        from tasks.training.dp_sgd import train_privately

        plan, setup = privacy.plan, self.setup
        train_privately(
            self.task,
            model,
            records.train,
            clip_norm=privacy.clip_norm,
            sampling_rate=plan.terms.sampling_rate,
            num_steps=plan.terms.num_local_steps,
            expected_batch_size=setup.expected_batch_size,
            add_noise=private_sum(plan.update_release(), plan.step, privacy.clip_norm),
            rng=rng,
            proximal_mu=self._proximal_mu,
        )


def update_of(model: Any, state: State) -> NDArray[np.float32]:
    """Return a trained model minus the state that it was loaded from; loads torch."""
    from tasks.training import local

    return local.update_of(model, state.arrays)


def personal_of(model: Any) -> Arrays | None:
    """Return what of a model stays on its node; None where all is exchanged."""
    from tasks.training.personal import get_personal

    return get_personal(model) or None
