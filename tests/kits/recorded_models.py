"""Models of short runs with everything random held still, for comparison across versions.

``python -m tests.kits.recorded_models`` records them anew: only where a change of an option's
meaning is intended.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

import privacy.noise.randomness as randomness
from app.simulation.in_process import simulate
from strategies.codec.private_codec import PrivateCodec
from tests.kits.private_kit import ADAPTIVE, LEGAL, overrides

FILE = Path(__file__).with_name("recorded_models.json")
_ALGORITHMS = ("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi")
_STEPS = "rounds.deadline_seconds=5 task.training.num_steps=3"


def _plain_cases() -> Iterator[tuple[str, dict]]:
    common = {"task": "breast_cancer", "overrides": _STEPS}
    for algorithm in _ALGORITHMS:
        yield f"secagg {algorithm}", common | {"aggregation": "secagg", "algorithm": algorithm}
        yield f"plain {algorithm}", common | {"aggregation": "plain", "algorithm": algorithm}
    codec = f"{_STEPS} aggregation.codec.modulus_bits=16 aggregation.codec.clip_range=1"
    yield "secagg 16 bits", common | {"aggregation": "secagg", "overrides": codec}
    yield "secagg adam", common | {"overrides": f"{_STEPS} task.training.optimizer=adam"}
    yield "secagg digits", {"task": "digits", "overrides": _STEPS}
    average = f"{_STEPS} algorithm.average_from=2"
    yield "secagg average", common | {"overrides": average}


def _private_cases() -> Iterator[tuple[str, dict]]:
    for option, aggregations in LEGAL.items():
        for aggregation in aggregations:
            free = _overrides(option, rate=0.5)
            yield f"{option} {aggregation}", _private(option, aggregation, free)
    for option in ("example_distributed", "client_distributed"):
        free = _overrides(option, noise="skellam")
        yield f"{option} skellam", _private(option, "secagg", free)
    laplace = f"{_overrides('client_local')} privacy.mechanism=laplace"
    yield "client_local laplace", _private("client_local", "secagg", laplace)
    adaptive = f"{_overrides('client_distributed')} {ADAPTIVE}"
    yield "client_distributed adaptive", _private("client_distributed", "secagg", adaptive)


def _overrides(option: str, **keys) -> str:
    # A busy machine must not make a dropout.
    return overrides(option, **keys).replace("deadline_seconds=0.3", "deadline_seconds=5")


def _private(option: str, aggregation: str, free: str) -> dict:
    return {
        "task": "breast_cancer",
        "aggregation": aggregation,
        "privacy": option,
        "overrides": free,
    }


CASES: dict[str, dict] = dict([*_plain_cases(), *_private_cases()])


@contextmanager
def still() -> Iterator[None]:
    """Give every generator of noise one known key, so that the order of its uses is nothing.

    All nodes draw the same noise then, which adds up as that of honest nodes never does.
    """
    cipher = randomness.ChaCha
    one_key = patch.object(
        randomness, "ChaCha", lambda key, rounds: cipher(key=1, rounds=rounds)
    )
    with one_key, patch.object(PrivateCodec, "objection", lambda *_: None):
        yield


def model_hash(run_config: dict) -> str:
    """Return SHA-256 of the last model of a run over four nodes, as 64 hexadecimal digits."""
    with tempfile.TemporaryDirectory() as folder, still():
        fixed = {"num-rounds": 3, "deterministic": True, "output-dir": f"{folder}/run"}
        arrays = simulate(run_config | fixed, 4).arrays
    digest = hashlib.sha256()
    for name, array in arrays.items():
        values = array.numpy()
        digest.update(f"{name}:{values.dtype}:{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def arithmetic() -> str:
    """Return a hash of what this machine's libraries compute, whatever Tacet does.

    Other processors and libraries round matrix products otherwise, and then the recorded
    models are other models.
    """
    numbers = np.random.default_rng(0).uniform(-1, 1, (64, 30))
    inputs = torch.from_numpy(numbers).float()
    weights = torch.from_numpy(numbers[:32]).float().requires_grad_()
    loss = torch.sigmoid(inputs @ weights.T).log().mean()
    loss.backward()
    digest = hashlib.sha256(loss.detach().numpy().tobytes())
    digest.update(weights.grad.numpy().tobytes())
    digest.update((numbers @ numbers.T).tobytes())
    digest.update(np.exp(numbers).tobytes())
    return digest.hexdigest()


def main() -> None:
    """Record all cases."""
    models = {name: model_hash(run_config) for name, run_config in CASES.items()}
    FILE.write_text(json.dumps({"arithmetic": arithmetic(), "models": models}, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
