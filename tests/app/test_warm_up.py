"""What a node does before there is a message, in a process whose forks answer many."""

import subprocess
import sys

import pytest

from tests import ROOT

_PRIVATE = (
    "privacy=example_distributed privacy.epsilon=3 privacy.delta=1e-3 privacy.clip_norm=1"
    " privacy.population=3 privacy.sampling_rate=0.5 privacy.expected_batch_size=700"
    " aggregation.min_survivors=3 aggregation.identities=false"
)
CODE = """
import gc, os, sys, threading
import random
from app.approval import zygote
# Libraries draw for themselves, and are known to survive a fork.
zygote._preload()
import cryptography.hazmat.primitives.asymmetric.x25519
import cryptography.hazmat.primitives.ciphers.aead
import numpy as np
ours = ("app", "strategies", "workloads", "tasks", "privacy")
for name in [name for name in sys.modules if name.split(".")[0] in ours]:
    del sys.modules[name]

def refuse(*_arguments):
    raise AssertionError("it draws what all forks would share")

drawn, os.urandom = os.urandom, refuse
random._urandom = refuse
import app.client
app.client.app.warm_up({config!r})
os.urandom = random._urandom = drawn
found = [
    one for one in gc.get_objects()
    if isinstance(one, (np.random.Generator, np.random.BitGenerator, np.random.RandomState))
]
# numpy's own, which a fork seeds.
global_ = np.random.mtrand._rand
assert all(one in (global_, global_._bit_generator) for one in found), found
assert threading.active_count() == 1
# A fork cannot use a device that its parent uses.
assert "torch" not in sys.modules or not sys.modules["torch"].cuda.is_initialized()
print("ok")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        {"task": "digits", "aggregation": "secagg", "overrides": _PRIVATE},
        {"task": "heart", "algorithm": "gbdt", "aggregation": "secagg"},
        {"task": "digits", "algorithm": "gan"},
    ],
)
def test_it_draws_nothing_that_forks_would_share(config):
    code = CODE.format(config=config)
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.stdout == "ok\n", told.stderr


def test_a_configuration_that_cannot_be_is_named():
    from app.client import app
    from app.config.load import ConfigError

    with pytest.raises(ConfigError, match="no such option"):
        app.warm_up({"task": "digit"})
