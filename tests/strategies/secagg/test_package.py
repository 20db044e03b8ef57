"""The package as a whole: what it imports, and that no bytes make a handler raise."""

import ast
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import Refusal
from strategies.secagg.reasons import RefusalReason
from tests import ROOT
from tests.strategies.secagg.world import World, attempt, binding_for, ok

PACKAGE = ROOT / "strategies" / "secagg"
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def test_the_protocol_knows_neither_flower_nor_torch():
    modules = (name.removesuffix(".py").replace("/", ".") for name in FILES)
    names = ", ".join(f"strategies.secagg.{name}" for name in modules)
    code = (
        f"import sys, {names}; "
        "bad = {'flwr', 'torch', 'scipy', 'privacy', 'tasks', 'workloads', 'app'}"
        " & set(sys.modules); "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", FILES)
def test_imports_are_numpy_cryptography_and_the_standard_library(name):
    tree = ast.parse((PACKAGE / name).read_text())
    found = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for module in found:
        top = module.partition(".")[0]
        known = top in sys.stdlib_module_names or top in ("numpy", "cryptography")
        assert known or f"{module}.".startswith("strategies.secagg.")


@pytest.mark.parametrize("name", FILES)
def test_no_randomness_but_that_of_the_argument(name):
    text = (PACKAGE / name).read_text()
    for word in ("np.random", "import random", "import secrets", "default_rng"):
        assert word not in text
    assert text.count("os.urandom") == (1 if name == "client/role.py" else 0)


class Prepared:
    """One node of an attempt at each stage, and a good request for every handler."""

    def __init__(self) -> None:
        self.world = World(ProtocolParameters(min_survivors=4, max_colluding=1), 5)
        world, server = self.world, self.world.server(attempt())
        requests = {"advertise": server.advert_request().encode()}
        roster = world.bootstrap(server)
        requests["share"] = world.told(world.ids[0], roster)
        world.share(server, roster, world.ids)
        server.bind_masks(binding_for())
        requests["open_train"] = server.train_request(world.ids[0]).encode()
        world.train(server, world.ids, binding_for())
        server.close_masked()
        requests["unmask"] = server.unmask_request(world.requests[world.ids[0]]).encode()
        self.requests = requests


PREPARED = Prepared()


def call(method: str, data: bytes) -> object:
    world = World(ProtocolParameters(min_survivors=4, max_colluding=1), 5)
    role = world.roles[world.ids[0]]
    if method != "advertise":
        world.bootstrap(world.server(attempt()))
    return (
        role.open_train(data, binding_for())
        if method == "open_train"
        else getattr(role, method)(data)
    )


@settings(max_examples=150)
@given(st.sampled_from(sorted(PREPARED.requests)), st.data())
def test_damaged_requests_are_answered_with_a_refusal_or_are_good(method, data):
    raw = bytearray(PREPARED.requests[method])
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    reply = call(method, bytes(raw))
    if isinstance(reply, Refusal):
        assert RefusalReason(reply.reason) is not RefusalReason.INTERNAL
        assert Refusal.decode(reply.encode()) == reply
    else:
        assert method in ("advertise", "share")


@given(st.binary(max_size=300), st.sampled_from(["advertise", "share", "open_train", "unmask"]))
def test_random_requests_are_malformed(data, method):
    reply = call(method, data)
    assert isinstance(reply, Refusal)
    assert reply.reason == RefusalReason.MALFORMED


def test_a_broken_store_gives_an_internal_refusal_without_its_text():
    world = World(ProtocolParameters(min_survivors=4, max_colluding=1), 5)
    node = world.ids[0]

    def broken(*_):
        raise OSError("/secret/path is full")

    world.stores[node].expire = broken
    world.stores[node].records = broken
    reply = world.roles[node].advertise(world.server(attempt()).advert_request().encode())
    assert isinstance(reply, Refusal)
    assert reply.reason == RefusalReason.INTERNAL
    assert b"secret" not in reply.encode()


def test_the_prepared_requests_are_good():
    world = World(ProtocolParameters(min_survivors=4, max_colluding=1), 5)
    for node in world.ids:
        ok(world.roles[node].advertise(PREPARED.requests["advertise"]))
    ok(world.roles[world.ids[0]].share(PREPARED.requests["share"]))
