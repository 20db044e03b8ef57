"""Scattering features: what they are, and that each image has its own."""

import numpy as np
import pytest

from tasks.scattering import NUM_MAPS, Scattering, num_features, scattering_features

SIDE = 8


def images(num: int, channels: int = 1, side: int = SIDE) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.uniform(0, 1, (num, channels, side, side)).astype(np.float32)


def wavelet(size: int, scale: int, number: int) -> np.ndarray:
    """Return a Morlet wavelet in space, as the literature writes it, of period ``size``."""
    width, frequency, angle = 0.8 * 2**scale, 0.75 * np.pi / 2**scale, (3 - number) * np.pi / 8
    found, bumps = np.zeros((2, size, size), complex)
    for x in range(size):
        for y in range(size):
            for shift in np.ndindex(5, 5):
                a, b = x + size * (shift[0] - 2), y + size * (shift[1] - 2)
                u = a * np.cos(angle) + b * np.sin(angle)
                v = -a * np.sin(angle) + b * np.cos(angle)
                bump = np.exp(-(u * u + v * v / 4) / (2 * width**2)) / (4 * np.pi * width**2)
                bumps[x, y] += bump
                found[x, y] += bump * np.exp(1j * frequency * u)
    return found - found.sum() / bumps.sum() * bumps


def mean(size: int) -> np.ndarray:
    row = sum(
        np.exp(-((np.arange(size) + period * size) ** 2) / (2 * 1.6**2))
        for period in range(-2, 3)
    )
    return np.outer(row, row) / (2 * np.pi * 1.6**2)


def convolved(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the circular convolution, by its definition."""
    found = np.zeros(image.shape, complex)
    for place in np.ndindex(*kernel.shape):
        found += kernel[place] * np.roll(image, place, axis=(0, 1))
    return found


def by_definition(image: np.ndarray) -> np.ndarray:
    """Return the maps without any Fourier transform, but for leaving out every other pixel."""
    padded = np.pad(image.astype(float), 4, mode="reflect")
    size = len(padded)
    first = [np.abs(convolved(padded, wavelet(size, 0, angle))) for angle in range(8)]
    second = [
        np.abs(convolved(padded, wavelet(size, 1, angle))[::2, ::2]) for angle in range(8)
    ]
    twice = [
        np.abs(convolved(one, wavelet(size, 1, angle))[::2, ::2])
        for one in first
        for angle in range(8)
    ]
    half = 4 * mean(size)[::2, ::2]
    fine = [convolved(one, mean(size))[4:-4:4, 4:-4:4] for one in (padded, *first)]
    coarse = [convolved(one, half)[2:-2:2, 2:-2:2] for one in (*second, *twice)]
    return np.real([*fine, *coarse]).reshape(NUM_MAPS, -1)


@pytest.mark.slow
def test_maps_are_those_of_the_definition():
    image = images(1)[0, 0]
    found = Scattering(SIDE).maps(image)
    assert found.shape == (81, 4)
    np.testing.assert_allclose(found, by_definition(image), rtol=0, atol=1e-12)


def test_features_depend_on_their_image_alone():
    """Bit for bit: whatever lies before and behind it, and wherever it lies in memory."""
    own = images(6, channels=3)
    alone = np.concatenate([scattering_features(one[np.newaxis]) for one in own])
    assert np.array_equal(scattering_features(own), alone)
    assert np.array_equal(scattering_features(own[::-1])[::-1], alone)
    others = np.concatenate([own[:2] * 1e6, own, np.zeros_like(own)])
    assert np.array_equal(scattering_features(others)[2:8], alone)
    moved = np.empty(own.size + 1, np.float32)[1:].reshape(own.shape)
    moved[:] = own
    assert np.array_equal(scattering_features(moved), alone)


def test_features_are_of_length_one_and_in_groups_of_mean_zero():
    found = scattering_features(images(5, channels=3, side=12))
    assert found.shape == (5, num_features(3, 12)) == (5, 3 * 81 * 9)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    groups = found.reshape(5, 81, -1)
    np.testing.assert_allclose(groups.mean(axis=2), 0, atol=1e-7)


def test_a_black_image_has_no_features():
    assert not scattering_features(np.zeros((1, 1, 28, 28), np.float32)).any()


@pytest.mark.parametrize("side", [4, 10, 30])
def test_sides_that_do_not_fit_are_refused(side):
    with pytest.raises(ValueError, match="must be a multiple of 4, at least 8"):
        Scattering(side)
