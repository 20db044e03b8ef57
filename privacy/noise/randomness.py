"""Randomness that an adversary cannot guess, behind numpy's Generator."""

from __future__ import annotations

import os
from typing import cast

import numpy as np
from randomgen import ChaCha  # pyright: ignore[reportMissingTypeStubs]

_KEY_BYTES = 32
# The number of rounds of the published cipher; fewer would be faster and less studied.
_ROUNDS = 20


def secure_generator() -> np.random.Generator:
    """Return a new generator: ChaCha20 under a 256-bit key from the operating system.

    The key is used as it is: the stream is ChaCha20's (D. J. Bernstein, "ChaCha, a variant of
    Salsa20", 2008) from block 0, which a test compares with the library ``cryptography``.
    numpy's own generators can be predicted from a few hundred outputs, and noise that can be
    predicted can be subtracted.

    Nothing is kept between calls. A process that forks copies a generator that it holds, and
    both then draw the same noise: take one for each contribution, use it, let it go.

    Returns
    -------
    np.random.Generator
        Its doubles have 53 bits; its integers are unbiased.
    """
    key = int.from_bytes(os.urandom(_KEY_BYTES), "little")
    # randomgen's annotations do not say that its bit generators are numpy's.
    cipher = cast(np.random.BitGenerator, ChaCha(key=key, rounds=_ROUNDS))
    return np.random.Generator(cipher)
