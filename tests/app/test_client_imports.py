"""What a message makes a client import: in a deployment each one starts a new process."""

import builtins
import importlib
import subprocess
import sys

import pytest

from app.simulation.in_process import make_clients, simulate
from strategies.masked.messages import ADVERT, SHARE, UNMASK
from tests import ROOT

HEAVY = {"torch", "opacus", "sklearn", "scipy", "dp_accounting", "matplotlib"}
RUN_CONFIG = {
    "num-rounds": 1,
    "task": "digits",
    "overrides": "privacy=example_distributed aggregation.min_survivors=3"
    " aggregation.max_colluding=0 privacy.noise_multiplier=5 privacy.delta=1e-3"
    " privacy.clip_norm=0.25 privacy.population=3 privacy.sampling_rate=1"
    " privacy.expected_batch_size=1400",
}


def heavy(names: set[str]) -> set[str]:
    """Return what is heavy among modules, and what our own among them load in a new process."""
    ours = ("app.", "strategies.", "workloads.", "tasks.", "privacy.")
    modules = ["app.client", *sorted(name for name in names if name.startswith(ours))]
    code = (
        "import sys; from importlib import import_module as load;"
        f"[load(name) for name in {modules!r}]; load('app.config.load').load_config({{}});"
        " print(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return HEAVY & {name.partition(".")[0] for name in {*names, *result.stdout.split()}}


@pytest.mark.slow
def test_only_training_imports_anything_heavy(tmp_path, monkeypatch):
    """The module of the client is not enough of a test: a handler may import when called."""
    wanted: dict[str, set[str]] = {}
    kind = ""
    real_import, real_import_module = builtins.__import__, importlib.import_module

    def importing(name, globals=None, locals=None, fromlist=(), level=0):
        parts = {f"{name}.{item}" for item in fromlist or ()}
        wanted.setdefault(kind, set()).update({name, *parts & sys.modules.keys()})
        return real_import(name, globals, locals, fromlist, level)

    def importing_module(name, package=None):
        wanted.setdefault(kind, set()).add(name)
        return real_import_module(name, package)

    def watched(client):
        def answer(message):
            nonlocal kind
            kind = message.metadata.message_type
            with monkeypatch.context() as patch:
                patch.setattr(builtins, "__import__", importing)
                # Whoever has the function itself: `from importlib import import_module`.
                for module in list(sys.modules.values()):
                    if vars(module).get("import_module") is real_import_module:
                        patch.setattr(module, "import_module", importing_module)
                return client(message)

        return answer

    config = RUN_CONFIG | {"output-dir": str(tmp_path / "run")}
    clients = {node: watched(client) for node, client in make_clients(config, 3).items()}
    simulate(config, 3, clients)
    light = {ADVERT, SHARE, UNMASK}
    assert wanted.keys() >= {*light, "train"}
    assert heavy(wanted["train"]) >= {"torch", "opacus"}
    for message_type in light:
        assert not heavy(wanted[message_type]), message_type
