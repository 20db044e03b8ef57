"""The networks of a conditional GAN of images: what judges them, and what makes them up.

Neither has buffers nor mixes the records of a batch, so that a discriminator can be trained
record by record (batch normalisation, which most GANs have, would do both).
"""

from math import prod

from torch import nn

_SLOPE = 0.2
#: Of the discriminator of small images, and of both layers of their generator.
_HIDDEN = 128
#: From this side on networks are convolutional; before it a perceptron sees all of an image.
_LEAST_SIDE = 16
_CHANNELS = (16, 32)
_WIDTH = 256


def discriminator(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return an untrained discriminator.

    Input shape (n, channels, side, side), output shape (n, num_classes): for each class the
    logit that the image is a record's of that class, so that the label picks an output.
    """
    if not _is_convolutional(shape):
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(prod(shape), _HIDDEN),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(_HIDDEN, num_classes),
        )
    first, second = _CHANNELS
    return nn.Sequential(
        nn.Conv2d(shape[0], first, 4, stride=2, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(first, second, 4, stride=2, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Flatten(),
        nn.Linear(second * (shape[1] // 4) ** 2, num_classes),
    )


def generator(shape: tuple[int, ...], num_classes: int, latent_size: int) -> nn.Module:
    """Return an untrained generator.

    Input shape (n, latent_size + num_classes): standard normal numbers, then a 1 at the place
    of the class and 0 elsewhere. Output shape (n, channels, side, side), from 0 to 1.
    """
    if not _is_convolutional(shape):
        return nn.Sequential(
            nn.Linear(latent_size + num_classes, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, prod(shape)),
            nn.Sigmoid(),
            nn.Unflatten(1, shape),
        )
    side = shape[1] // 4
    first, second = _CHANNELS
    return nn.Sequential(
        nn.Linear(latent_size + num_classes, _WIDTH),
        nn.ReLU(),
        nn.Linear(_WIDTH, second * side**2),
        nn.ReLU(),
        nn.Unflatten(1, (second, side, side)),
        nn.ConvTranspose2d(second, first, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(first, shape[0], 4, stride=2, padding=1),
        nn.Sigmoid(),
    )


def _is_convolutional(shape: tuple[int, ...]) -> bool:
    """Return whether two halvings of the side leave whole pixels, and enough of them."""
    return shape[1] >= _LEAST_SIDE and shape[1] % 4 == 0
