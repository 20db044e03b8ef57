"""A generator of images: nodes add gradients of a discriminator, the server does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privacy.mode import Place
from privacy.noise.sampling import poisson_sample
from privacy.unit import Unit
from tasks.discrimination import Discrimination
from tasks.records import DataError, Examples
from tasks.schema import require
from workloads.base import Privacy, Records, Setup, Step, Workload
from workloads.gan_config import GanConfig
from workloads.gradient_sum import GradientSum
from workloads.model_arrays import parted, prefixed
from workloads.values import (
    NUM_EXAMPLES,
    TRAIN_LOSS,
    Aggregate,
    Arrays,
    Contribution,
    PrivateContribution,
    Query,
    State,
    StateRefusedError,
)

if TYPE_CHECKING:
    from torch import nn

_DISCRIMINATOR, _GENERATOR, _MEAN = "discriminator/", "generator/", "mean"
_MOMENTS = ("moments/first/", "moments/second/")


class Gan(Workload):
    """Train a conditional GAN (Goodfellow et al. 2014; Mirza and Osindero 2014).

    Nodes sum the gradient of the discriminator's loss on real records, and nothing else: they
    are sent the discriminator alone. The rest of its gradient is about made-up images, which
    hold no record, so the server adds it to the sum; then it trains the generator against the
    discriminator (Xie et al. 2018, arXiv 1802.06739: only the discriminator need be private;
    Bie et al. 2023, arXiv 2302.02936: the gradient's real part alone is clipped and noised).
    That is post-processing of released sums: it costs no epsilon and no byte.

    A round is one step of the discriminator, as each step of a private one is a release.

    Guarantees
    ----------
    Unit: one record, of whichever node. Its term is the gradient of its own loss at the
    discriminator that came, clipped to ``clip_norm``, by the gradient sum's own code.
    The server's part is a function of state, sum and public seed: no record is in it.
    """

    Config = GanConfig
    setup: Setup
    serves = frozenset({(Unit.EXAMPLE, Place.DISTRIBUTED), (Unit.EXAMPLE, Place.CENTRAL)})
    is_weighted = True
    sums_a_direction = True
    loads_as = np.float32
    idle_training: ClassVar[Mapping[str, str]] = {
        "": "nodes add up gradients and train nothing; the server's steps are those of"
        " algorithm.discriminator_learning_rate and its fellows; take it out"
    }
    begins_afresh = (
        "a generator is trained with the discriminator that it plays against, and a model file"
        " has no discriminator; take initial-model out (resume-from goes on with a run)"
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        task = setup.task
        if not task.has_images or not task.scored_classes:
            raise ValueError(
                "its inputs are no images with a class, which algorithm=gan makes more of; take"
                " task=digits, or task=mnist without task.model=scattering"
            )
        least, batch = 2 * task.scored_classes, setup.algorithm.made_up_batch
        require(
            batch >= least,
            f"algorithm.made_up_batch={batch}: must be at least {least}, two of each class",
        )
        # What nodes do is the gradient sum of a model like any other.
        self._nodes = GradientSum(replace(setup, task=Discrimination(task)))

    @cached_property
    def _initial_discriminator(self) -> Arrays:
        return self._nodes.initial_state().arrays

    def sum_names(self, *, training: bool) -> tuple[str, ...]:
        """Return the count of records and the sum of their losses."""
        return (NUM_EXAMPLES, TRAIN_LOSS) if training else ()

    def initial_state(self) -> State:
        """Return both networks untrained, and an optimiser that remembers nothing."""
        judge, maker = self._initial_discriminator, self._initial_generator()
        arrays = prefixed(_DISCRIMINATOR, judge) | prefixed(_GENERATOR, maker)
        arrays[_MEAN] = np.concatenate([values.ravel() for values in maker.values()])
        for moments in _MOMENTS:
            for name, own in ((_DISCRIMINATOR, judge), (_GENERATOR, maker)):
                size = sum(values.size for values in own.values())
                arrays[moments + name] = np.zeros(size, np.float32)
        return State(arrays)

    def asked(self, state: State) -> State:
        """Return the discriminator's parameters, by their own names."""
        return State(parted(_DISCRIMINATOR, state.arrays)[0])

    def length(self, state: State) -> int:
        """Return the number of the discriminator's parameters."""
        return sum(values.size for values in self._initial_discriminator.values())

    def check(self, state: State) -> None:
        """Refuse what is not the discriminator, as a node is sent it, or is not finite."""
        self._nodes.check(state)
        if state.header:
            raise StateRefusedError(f"a header, {dict(state.header)}, where there is none")

    def rehearse(self, records: Records | None = None) -> None:
        """Train the discriminator on made-up records, each by itself under privacy."""
        self._nodes.rehearse(records)

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return the mean gradient of this node's records, by those that are drawn.

        They are divided by how many are to be expected, and all records count, so that a round
        in which a node draws none is one like any other, and right on average.

        Raises
        ------
        DataError
            If there is no record.
        """
        from tasks.training.adversarial import real_gradient

        num_records, rate = len(records.train), self.setup.algorithm.sampling_rate
        if not num_records:
            raise DataError("no record to train on: this node has too few, or all are held out")
        own = records.train.take(poisson_sample(num_records, rate, rng))
        total, loss_sum = real_gradient(self._nodes.task, self._nodes.load(state), own)
        sums = {NUM_EXAMPLES: float(num_records), TRAIN_LOSS: loss_sum / rate}
        return Contribution(total / (num_records * rate), sums)

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Return the sum of the clipped gradients of the records drawn."""
        return self._nodes.bounded(state, query, records, rng, privacy)

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Let the discriminator do a step along the sum, and the generator answer it."""
        setup = self.setup
        real = aggregate.mean()
        if setup.mode is not None:
            # How many were drawn is secret: the divisor is a public constant.
            real = aggregate.total / setup.expected_batch_size
        game = self._game(state, server_round - 1)
        rng = np.random.default_rng([self.task.seed, server_round])
        game.play(real, setup.algorithm.generator_steps, rng)
        return self._state_of(game)

    def published(self, state: State) -> State:
        """Return the mean generator by its parameters' names: what a model file has."""
        return State(_shaped(state.arrays[_MEAN], parted(_GENERATOR, state.arrays)[0]))

    def generator(self, state: State) -> nn.Module:
        """Return the generator of a model file, evaluating."""
        from tasks.training.local import set_parameters

        network = self._new_generator()
        try:
            set_parameters(network, dict(state.arrays))
        except (KeyError, TypeError, ValueError) as error:
            raise StateRefusedError(str(error)) from error
        return network.eval()

    def generate(self, state: State, num_records: int, rng: np.random.Generator) -> Examples:
        """Return images that the generator makes up, of each class in turn."""
        from tasks.training.adversarial import generated

        classes = np.arange(num_records, dtype=np.int64) % self._num_classes
        images = generated(self.generator(state), self.generator_inputs(classes, rng))
        return Examples(images, classes)

    def generator_inputs(
        self, classes: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return normal numbers and the class of each image, float32, shape (n, k)."""
        from tasks.training.adversarial import generator_inputs

        size = self.setup.algorithm.latent_size
        return generator_inputs(classes, self._num_classes, size, rng)

    @property
    def _num_classes(self) -> int:
        return self._nodes.task.num_classes  # pyright: ignore

    def _new_generator(self) -> nn.Module:
        from tasks.image_gan import generator

        size = self.setup.algorithm.latent_size
        return generator(self.task.input_shape, self._num_classes, size)

    def _initial_generator(self) -> Arrays:
        """Return the untrained generator's parameters, the same for the same seed."""
        import torch

        from tasks.training.local import get_parameters, seed_torch

        with torch.random.fork_rng(devices=[]):
            seed_torch(self.task.seed)
            return get_parameters(self._new_generator())

    def _game(self, state: State, num_rounds: int) -> Any:
        """Return both networks as they stand after so many rounds."""
        from tasks.training.adversarial import Game, Player

        algorithm = self.setup.algorithm
        networks = {
            _DISCRIMINATOR: self._nodes.load(self.asked(state)),
            _GENERATOR: self.generator(State(parted(_GENERATOR, state.arrays)[0])),
        }
        rates = (algorithm.discriminator_learning_rate, algorithm.generator_learning_rate)
        steps = (num_rounds, num_rounds * algorithm.generator_steps)
        players = [
            Player(
                network,
                (
                    state.arrays[_MOMENTS[0] + name].copy(),
                    state.arrays[_MOMENTS[1] + name].copy(),
                ),
                rate,
                done,
            )
            for (name, network), rate, done in zip(networks.items(), rates, steps, strict=True)
        ]
        return Game(
            *players,
            mean=state.arrays[_MEAN].copy(),
            num_classes=self._num_classes,
            latent_size=algorithm.latent_size,
            num_made_up=algorithm.made_up_batch,
            diversity=algorithm.diversity,
            clip_norm=self.setup.clip_norm,
        )

    def _state_of(self, game: Any) -> State:
        from tasks.training.local import get_parameters

        players = ((_DISCRIMINATOR, game.discriminator), (_GENERATOR, game.generator))
        arrays: Arrays = {}
        for name, player in players:
            arrays |= prefixed(name, get_parameters(player.network))
        arrays[_MEAN] = game.mean
        for place, moments in enumerate(_MOMENTS):
            arrays |= {moments + name: player.moments[place] for name, player in players}
        return State(arrays)


def _shaped(flat: Any, like: Arrays) -> Arrays:
    """Return the parts of a vector, with the names and shapes of others."""
    cuts = np.cumsum([values.size for values in like.values()])[:-1]
    parts = np.split(flat, cuts)
    return {
        name: part.reshape(values.shape)
        for (name, values), part in zip(like.items(), parts, strict=True)
    }
