"""Fixed features of images: a scattering transform, of which nothing is learned.

Wavelets at two scales and eight angles, the modulus, the same again, and a mean over places
(Bruna and Mallat 2013, arXiv 1203.1513; of images Oyallon and Mallat 2015, arXiv 1412.8659). A
linear model of these features learns better under differential privacy than a network of which
all is learned (Tramer and Boneh 2021, arXiv 2011.11660). The wavelets are public constants and
an image's features a function of that image alone, so nothing is spent on them.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from math import pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Features at each place of a channel: the mean, 16 of the first order, 64 of the second.
NUM_MAPS = 81

_NUM_SCALES = 2
_NUM_ANGLES = 8
#: Pixels from one place to the next.
_STEP = 2**_NUM_SCALES
#: The width of the wavelets of the first scale, and of the mean, in pixels of the image.
_WIDTH = 0.8
#: Angular frequency of the first scale's wavelets, in 1 / pixel.
_FREQUENCY = 3 / 4 * pi
#: How much longer a wavelet is across its waves than along them.
_SLANT = 4 / _NUM_ANGLES
#: Maps that are normalised together, which does without a mean over records.
_MAPS_IN_GROUP = 3
#: Added to the variance of a group; a black image has none.
_LEAST_VARIANCE = 1e-5


class ImageModel(Enum):
    """What is learned of images.

    ``cnn``: a small network of their pixels. ``scattering``: a linear model of fixed features,
    which learns better under differential privacy.
    """

    cnn = "cnn"
    scattering = "scattering"


def places_of(side: int) -> int:
    """Return how many places a side of so many pixels has."""
    return side // _STEP


def num_features(num_channels: int, side: int) -> int:
    """Return how many features an image has."""
    return num_channels * NUM_MAPS * places_of(side) ** 2


def scattering_features(images: NDArray[Any]) -> NDArray[np.float32]:
    """Return the features of images, each computed alone and of length 1.

    Maps are normalised three by three, to mean 0 and variance 1 over their places (Wu and He
    2018, arXiv 1803.08494), and the whole to length 1, so that one clip norm suits all records.

    Guarantees
    ----------
    Unit: one image. What is returned of it depends on it alone: each goes by itself through
    the same memory, in float64.

    Parameters
    ----------
    images : ndarray, shape (n, channels, side, side)
        Finite; a side is a multiple of 4, at least 8.

    Returns
    -------
    ndarray, float32, shape (n, num_features(channels, side))
        Zeros for a black image.
    """
    num, channels, side = images.shape[:3]
    scattering = _scattering(side)
    maps = np.empty((channels, NUM_MAPS, places_of(side) ** 2))
    found = np.empty((num, num_features(channels, side)), np.float32)
    for place in range(num):
        for channel in range(channels):
            maps[channel] = scattering.maps(images[place, channel])
        found[place] = _normalised(maps)
    return found


def _normalised(maps: Floats) -> Floats:
    groups = maps.reshape(maps.shape[0] * NUM_MAPS // _MAPS_IN_GROUP, -1)
    centred = groups - groups.mean(axis=1, keepdims=True)
    variance = (centred * centred).mean(axis=1, keepdims=True)
    flat = (centred / np.sqrt(variance + _LEAST_VARIANCE)).ravel()
    length = sqrt(float((flat * flat).sum()))
    return flat / length if length else flat


def require_side(name: str, side: int) -> None:
    """Raise ``ValueError`` if images of this side have no features.

    ``name`` is the key, or the parameter, that gives the side.
    """
    if side % _STEP or side < 2 * _STEP:
        raise ValueError(
            f"{name}={side}: must be a multiple of {_STEP}, at least {2 * _STEP}, for"
            " scattering features"
        )


class Scattering:
    """The transform of images of one size, with the memory that one image goes through."""

    def __init__(self, side: int) -> None:
        require_side("side", side)
        self._margin = _STEP
        size = side + 2 * self._margin
        half = size // 2
        self._first, self._second = (_wavelets(size, scale) for scale in range(_NUM_SCALES))
        #: The mean at the places of one side, from rows of all pixels and of every other.
        self._mean, self._half_mean = _means(size, 1), _means(half, 2)
        self._padded = np.empty((1, size, size))
        self._fine = np.empty((_NUM_ANGLES, size, size))
        self._coarse = np.empty((_NUM_ANGLES, half, half))
        self._twice = np.empty((_NUM_ANGLES * _NUM_ANGLES, half, half))

    def maps(self, image: NDArray[Any]) -> Floats:
        """Return the features of one channel, shape (81, places of a side squared)."""
        self._padded[0] = np.pad(image, self._margin, mode="reflect")
        spectrum = np.fft.fft2(self._padded)
        _modulus(np.fft.ifft2(spectrum * self._first), self._fine)
        _modulus(np.fft.ifft2(_every_other(spectrum * self._second)), self._coarse)
        fine = np.fft.fft2(self._fine)[:, np.newaxis]
        both = _every_other(fine * self._second).reshape(self._twice.shape)
        _modulus(np.fft.ifft2(both), self._twice)
        found = [
            self._mean @ self._padded @ self._mean.T,
            self._mean @ self._fine @ self._mean.T,
            self._half_mean @ self._coarse @ self._half_mean.T,
            self._half_mean @ self._twice @ self._half_mean.T,
        ]
        return np.concatenate(found).reshape(NUM_MAPS, -1)


@cache
def _scattering(side: int) -> Scattering:
    return Scattering(side)


def _modulus(values: NDArray[np.complex128], out: Floats) -> None:
    np.sqrt(values.real * values.real + values.imag * values.imag, out=out)


def _every_other(spectrum: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the spectrum of every other pixel: what is half a period apart is added."""
    half = spectrum.shape[-1] // 2
    rows = spectrum[..., :half, :] + spectrum[..., half:, :]
    return (rows[..., :half] + rows[..., half:]) / 4


def _wavelets(size: int, scale: int) -> Floats:
    """Return the spectra of Morlet wavelets of one scale, shape (angles, size, size).

    A wave under a Gaussian, less as much of the Gaussian as makes the sum 0; real, as the
    wavelet is the conjugate of its mirror image.
    """
    width, frequency = _WIDTH * 2**scale, _FREQUENCY / 2**scale
    found: list[Floats] = []
    for number in range(_NUM_ANGLES):
        angle = (_NUM_ANGLES // 2 - 1 - number) * pi / _NUM_ANGLES
        wave = _gabor(size, width, angle, frequency)
        bump = _gabor(size, width, angle, 0.0)
        found.append(np.fft.fft2(wave - wave.sum() / bump.sum() * bump).real)
    return np.stack(found)


def _gabor(size: int, width: float, angle: float, frequency: float) -> NDArray[np.complex128]:
    """Return a wave under a Gaussian of sum 1 without it, with period ``size``."""
    along = np.array([np.cos(angle), np.sin(angle)])
    total = np.zeros((size, size), np.complex128)
    for down in range(-2, 3):
        for right in range(-2, 3):
            x, y = np.mgrid[:size, :size] + np.array([down, right])[:, None, None] * size
            forth = x * along[0] + y * along[1]
            across = y * along[0] - x * along[1]
            bump = np.exp(-(forth**2 + (_SLANT * across) ** 2) / (2 * width**2))
            total += bump * np.exp(1j * frequency * forth)
    return total * _SLANT / (2 * pi * width**2)


def _means(size: int, spacing: int) -> Floats:
    """Return what takes the Gaussian mean along rows, shape (places, size).

    Parameters
    ----------
    size : int
        Pixels of a padded row.
    spacing : int
        Their distance, in pixels of the image.
    """
    width = _WIDTH * 2 ** (_NUM_SCALES - 1)
    step = _STEP // spacing
    # Without the places in the margins.
    centres = np.arange(1, size // step - 1)[:, np.newaxis] * step
    total = np.zeros((len(centres), size))
    for period in range(-2, 3):
        away = (np.arange(size) - centres + period * size) * spacing
        total += np.exp(-(away**2) / (2 * width**2))
    return total * spacing / (sqrt(2 * pi) * width)
