"""Poisson sampling of records from secret randomness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def poisson_sample(
    num_records: int, sampling_rate: float, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return the indices of the records drawn, each on its own with ``sampling_rate``.

    Parameters
    ----------
    num_records : int
        How many there are; may be 0.
    sampling_rate : float
        q in (0, 1]; 1 draws all.
    rng : numpy Generator
        A generator on the operating system's randomness: amplification by sampling holds
        only towards those who cannot foretell the draw.
    """
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate={sampling_rate}: must be in (0, 1]")
    # random() is in [0, 1), so that all are under 1.
    return np.flatnonzero(rng.random(num_records) < sampling_rate)
