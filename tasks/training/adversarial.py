"""The losses of a conditional GAN, and what a server does with the gradient of real records.

Only ``real_losses`` and ``real_gradient`` are about records. All else takes numbers that were
released, the networks and a public seed, so it costs no privacy, and gives the same again
where a run is resumed: one thread, and random numbers by numpy.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tasks.base import Task
from tasks.records import Examples
from tasks.training.record_gradients import undisturbed

Vector = NDArray[np.float64]
Moments = tuple[NDArray[np.float32], NDArray[np.float32]]

#: Of Adam; with the usual 0.9 two networks that follow each other swing.
_BETAS = (0.5, 0.99)
#: How much of the mean generator each step keeps, once there were enough of them.
_KEPT = 0.98
_FIRST_STEPS = 10
# Beside a distance, and beside a ratio: images that are all alike have a gradient too.
_CLOSE, _ALIKE = 1e-5, 1e-2
# Beside a length, so that nothing is divided by zero; as Opacus has it.
_TINY = 1e-6
#: Images that go through a network at once.
_BATCH = 1024


def real_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of images as records of their classes, shape (n,).

    That of the own class's logit as real (Goodfellow et al. 2014), and the mean of that of the
    other classes' as not real: an image with a wrong label is as wrong as one that is made up
    (Reed et al. 2016, arXiv 1605.05396, section 4.2).
    """
    own = outputs.gather(1, targets[:, None]).squeeze(1)
    others = functional.softplus(outputs).sum(dim=1) - functional.softplus(own)
    return functional.softplus(-own) + others / max(1, outputs.shape[1] - 1)


def made_up_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the discriminator's loss of images as made up, shape (n,)."""
    return functional.softplus(outputs.gather(1, targets[:, None]).squeeze(1))


def generator_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the generator's loss, shape (n,): small where images pass for records."""
    return functional.softplus(-outputs.gather(1, targets[:, None]).squeeze(1))


def sameness(images: Tensor, latents: Tensor, num_classes: int) -> Tensor:
    """Return how alike made-up images of one class are, a number.

    The mean of the inverse of the mode-seeking ratio (Mao et al. 2019, arXiv 1903.05628,
    equation 1): the mean distance of two images over that of the random numbers they are made
    of. Without it a generator that has few steps makes one image of each class. Classes stand
    in turn, so that an image and the one ``num_classes`` later are of one class.
    """
    between = (images[num_classes:] - images[:-num_classes]).flatten(1).abs().mean(dim=1)
    apart = (latents[num_classes:] - latents[:-num_classes]).abs().mean(dim=1)
    return (1 / (between / (apart + _CLOSE) + _ALIKE)).mean()


def real_gradient(task: Task, model: nn.Module, examples: Examples) -> tuple[Vector, float]:
    """Return the sum of the gradients of records, float64, and that of their losses.

    For runs without privacy: in batches, and not clipped. Zeros of no record.
    """
    parameters = list(model.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    loss_sum = 0.0
    for first in range(0, len(examples), _BATCH):
        batch = examples.take(np.arange(first, min(first + _BATCH, len(examples))))
        outputs = model(torch.from_numpy(batch.inputs))
        loss = task.per_example_loss(outputs, torch.from_numpy(batch.targets)).sum()
        found = torch.autograd.grad(loss, parameters)
        total += torch.cat([one.flatten() for one in found]).double()
        loss_sum += float(loss.detach())
    return total.numpy(), loss_sum


@dataclass
class Player:
    """One of the two networks, as the server trains it.

    Attributes
    ----------
    network : nn.Module
        Changed in place.
    moments : two of ndarray, float32, shape (num_parameters,)
        What Adam remembers; changed in place.
    learning_rate : float
    num_done : int
        Steps that were done before.
    """

    network: nn.Module
    moments: Moments
    learning_rate: float
    num_done: int

    def step(self, gradient: Tensor) -> None:
        """Do one step of Adam (Kingma and Ba 2015)."""
        parameters = list(self.network.parameters())
        flat = nn.Parameter(parameters_to_vector(parameters).detach())
        flat.grad = gradient.to(flat.dtype)
        adam = torch.optim.Adam([flat], lr=self.learning_rate, betas=_BETAS)
        first, second = (torch.from_numpy(values) for values in self.moments)
        done = torch.tensor(float(self.num_done))
        adam.state[flat] = {"step": done, "exp_avg": first, "exp_avg_sq": second}
        adam.step()
        vector_to_parameters(flat.detach(), parameters)
        self.num_done += 1


@dataclass(frozen=True)
class Game:
    """The two networks and what is public of how they play.

    Attributes
    ----------
    discriminator, generator : Player
    mean : ndarray, float32, shape (num_parameters,)
        The generator's parameters, averaged over its steps; changed in place.
    num_classes, latent_size : int
        The generator's inputs.
    num_made_up : int
        Images that are made up for each step, at least two of each class.
    diversity : float
        Weight of ``sameness`` in the generator's loss.
    clip_norm : float, optional
        What the gradient of each real record was clipped to; None for not at all.
    """

    discriminator: Player
    generator: Player
    mean: NDArray[np.float32]
    num_classes: int
    latent_size: int
    num_made_up: int
    diversity: float
    clip_norm: float | None

    def play(self, real: Vector, num_generator_steps: int, rng: np.random.Generator) -> None:
        """Do one step of the discriminator, and then those of the generator.

        Parameters
        ----------
        real : ndarray, float64, shape (num_parameters,)
            The mean gradient of real records, as it was released.
        num_generator_steps : int
            How many.
        rng : numpy Generator
            Public: draws the inputs of the generator.
        """
        with undisturbed():
            made_up = self._made_up_gradient(rng)
            self.discriminator.step(torch.from_numpy(np.asarray(real, np.float64)) + made_up)
            for _ in range(num_generator_steps):
                self.generator.step(self._generator_gradient(rng))
                self._average()

    def _made_up_gradient(self, rng: np.random.Generator) -> Tensor:
        """Return the discriminator's mean gradient of made-up images, each clipped as records.

        Otherwise they would pull harder than the records do.
        """
        inputs, classes = self._inputs(rng)
        network = self.discriminator.network
        with torch.no_grad():
            images = self.generator.network(inputs)
        parameters = {name: one.detach() for name, one in network.named_parameters()}

        def loss(parameters: dict[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
            outputs = functional_call(network, parameters, (image[None],))
            return made_up_losses(outputs, target[None]).sum()

        found: Any = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, images, classes)
        rows = torch.cat([one.flatten(1) for one in found.values()], dim=1)
        if self.clip_norm is not None:
            lengths = torch.linalg.vector_norm(rows, dim=1) + _TINY
            rows = rows * (self.clip_norm / lengths).clamp(max=1.0)[:, None]
        return rows.mean(dim=0).double()

    def _generator_gradient(self, rng: np.random.Generator) -> Tensor:
        inputs, classes = self._inputs(rng)
        images = self.generator.network(inputs)
        loss = generator_losses(self.discriminator.network(images), classes).mean()
        if self.diversity:
            latents = inputs[:, : self.latent_size]
            loss = loss + self.diversity * sameness(images, latents, self.num_classes)
        parameters = list(self.generator.network.parameters())
        return torch.cat([one.flatten() for one in torch.autograd.grad(loss, parameters)])

    def _average(self) -> None:
        done = self.generator.num_done
        kept = np.float32(min(_KEPT, done / (done + _FIRST_STEPS)))
        now = parameters_to_vector(self.generator.network.parameters()).detach().numpy()
        mean = self.mean
        mean += (1 - kept) * (now - mean)

    def _inputs(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return inputs of the generator, each class as often as any, and the classes."""
        classes = np.arange(self.num_made_up, dtype=np.int64) % self.num_classes
        inputs = generator_inputs(classes, self.num_classes, self.latent_size, rng)
        return torch.from_numpy(inputs), torch.from_numpy(classes)


def generator_inputs(
    classes: NDArray[np.int64], num_classes: int, latent_size: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return inputs of a generator, shape (n, latent_size + num_classes)."""
    noise = rng.standard_normal((len(classes), latent_size), dtype=np.float32)
    one_hot = np.eye(num_classes, dtype=np.float32)[classes]
    return np.concatenate([noise, one_hot], axis=1)


@torch.inference_mode()
def generated(network: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the images that a generator makes of its inputs, shape (n, channels, side, side).

    The same for the same inputs, however many threads there are.
    """
    with undisturbed():
        firsts = range(0, len(inputs), _BATCH)
        parts = [network(torch.from_numpy(inputs[i : i + _BATCH])).numpy() for i in firsts]
    return np.concatenate(parts)
