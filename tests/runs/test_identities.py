"""Whole runs in which nodes trust nobody but their pinned peers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

import app.node.settings
from app.config.load import ConfigError, load_config
from app.node.identity import new_key, peers_of, read_peers, write_peers
from app.preflight.run_plan import plan_run
from app.server import run
from app.simulation.in_process import InProcessGrid, make_clients, simulate
from strategies.masked.messages import unwrap, wrap
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.transport import PollingGrid
from strategies.secagg.crypto.keys import KeyPair, commit
from strategies.secagg.messages import Advert, AdvertReply, Roster, ShareRequest

NUM_NODES = 4


@pytest.fixture
def run_config(tmp_path) -> dict:
    """Return a run in which each of four simulated nodes has a key and knows the others."""
    named = {f"n{i}": new_key(tmp_path / f"{i}.key") for i in range(NUM_NODES)}
    write_peers(tmp_path / "peers.yaml", named)
    nodes = [{"identity-key": f"{i}.key", "peers-file": "peers.yaml"} for i in range(NUM_NODES)]
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))
    return {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": 2,
        "deterministic": True,
        "output-dir": str(tmp_path / "run"),
        "simulation-nodes": str(tmp_path / "nodes.yaml"),
        "overrides": f"{FAST} {SIGNED} aggregation.peers_file={tmp_path}/peers.yaml",
    }


FAST = "rounds.deadline_seconds=0.3 task.training.num_steps=3"
HYBRID = "aggregation.key_agreement=hybrid"
SIGNED = f"aggregation.identities=true aggregation.min_survivors=3 {HYBRID}"


class Watched:
    """Runs over a grid that notes each message and its reply; `fault` stands between them."""

    def __init__(self, run_config: dict, fault=lambda message, real: real(message)) -> None:
        app.node.settings.simulate_in_this_process()
        self.replies: list[tuple[str, int, object]] = []

        def watch(message, real):
            reply = fault(message, real)
            meta = message.metadata
            self.replies.append((meta.message_type, meta.dst_node_id, reply))
            return reply

        real_clients = make_clients(run_config, NUM_NODES)
        clients = {n: lambda m, real=c: watch(m, real) for n, c in real_clients.items()}
        self._grid = PollingGrid(InProcessGrid(clients))
        self._config = load_config(run_config)

    def run(self):
        return run(self._grid, self._config, run_id=1, simulated=True)

    def kinds(self) -> set[str]:
        return {kind for kind, _, _ in self.replies}

    def reasons(self, kind: str) -> dict[int, str]:
        return {n: r.error.reason for k, n, r in self.replies if k == kind and r.has_error()}


@pytest.mark.slow
@pytest.mark.parametrize("silent", [None, 1003])
def test_signed_the_model_is_the_same(run_config, tmp_path, silent):
    """A node that drops out costs the trip in which the others sign their view."""
    plain = {**run_config, "overrides": FAST, "output-dir": str(tmp_path / "off")}

    def fault(message, real):
        meta = message.metadata
        gone = meta.dst_node_id == silent and meta.message_type == "train"
        return None if gone else real(message)

    plain_clients = {
        n: lambda m, real=c: fault(m, real) for n, c in make_clients(plain, NUM_NODES).items()
    }
    off = simulate(plain, NUM_NODES, plain_clients)
    watched = Watched(run_config, fault)
    on = watched.run()
    assert ("train.confirm" in watched.kinds()) == (silent is not None)
    if silent is None:
        planned = plan_run(load_config(run_config)).num_trips
        assert len(watched.replies) == planned * NUM_NODES
    adverts = [
        Advert.decode(AdvertReply.decode(unwrap(reply.content)).advert)
        for kind, _, reply in watched.replies
        if kind == "train.advert"
    ]
    assert {advert.identity for advert in adverts} == set(peers_of(tmp_path / "peers.yaml"))
    for name in off.arrays:
        np.testing.assert_array_equal(on.arrays[name].numpy(), off.arrays[name].numpy())


def test_identities_need_the_peers_file_on_the_server(run_config):
    run_config["overrides"] = f"{FAST} {SIGNED}"
    with pytest.raises(ConfigError, match=r"aggregation\.peers_file"):
        Watched(run_config).run()


def make_a_stranger(tmp_path: Path) -> None:
    """Give node 3 a key that only its own peers file lists."""
    named = read_peers(tmp_path / "peers.yaml")
    key = new_key(tmp_path / "stranger.key")
    write_peers(tmp_path / "strangers.yaml", {**named, "stranger": key})
    nodes = yaml.safe_load((tmp_path / "nodes.yaml").read_text())
    nodes[3] = {"identity-key": "stranger.key", "peers-file": "strangers.yaml"}
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))


def test_a_stranger_is_refused_by_the_others(run_config, tmp_path):
    make_a_stranger(tmp_path)
    run_config["overrides"] = run_config["overrides"].replace("peers.yaml", "strangers.yaml")
    watched = Watched(run_config)
    with pytest.raises(RunStoppedError, match="secagg_unknown_identity"):
        watched.run()
    told = watched.reasons("train.share")
    assert told == dict.fromkeys((1000, 1001, 1002), "secagg_unknown_identity")
    assert watched.kinds() == {"train.advert", "train.share"}


def test_a_server_that_knows_the_peers_goes_on_without_a_stranger(run_config, tmp_path):
    make_a_stranger(tmp_path)
    watched = Watched(run_config)
    assert watched.run().num_rounds == 2
    trained = {node for kind, node, _ in watched.replies if kind == "train"}
    assert trained == {1000, 1001, 1002}


VICTIM = 1002


def swap_advert(request: ShareRequest) -> ShareRequest:
    """Put the server's own keys in the place of the victim's."""
    seed, roster = bytes([7] * 32), Roster.decode(request.roster)
    own = KeyPair(seed, hybrid=True), KeyPair(bytes([8] * 32), hybrid=True)

    def forged(data: bytes) -> bytes:
        advert = Advert.decode(data)
        if advert.node_id != VICTIM:
            return data
        keys = {
            "mask_key": own[0].public,
            "share_key": own[1].public,
        }
        return dataclasses.replace(advert, **keys, commitment=commit(seed)).encode()

    shown = dataclasses.replace(roster, adverts=tuple(forged(a) for a in roster.adverts))
    kem_keys = dict(request.kem_keys)
    if VICTIM in kem_keys:
        whole = own[1].kem_public + own[0].kem_public
        kem_keys[VICTIM] = whole[: len(kem_keys[VICTIM])]
    return dataclasses.replace(request, roster=shown.encode(), kem_keys=tuple(kem_keys.items()))


@pytest.mark.parametrize("to_whom", ["all", "others"])
def test_a_server_that_swaps_an_advert_for_its_own_hears_nothing(run_config, to_whom):
    def swap(message, real):
        meta = message.metadata
        told = to_whom == "all" or meta.dst_node_id != VICTIM
        if meta.message_type == "train.share" and told:
            message.content = wrap(swap_advert(ShareRequest.decode(unwrap(message.content))))
        return real(message)

    watched = Watched(run_config, swap)
    with pytest.raises(RunStoppedError, match="secagg_bad_signature"):
        watched.run()
    reasons = dict.fromkeys((1000, 1001, 1003), "secagg_bad_signature")
    if to_whom == "all":
        reasons[VICTIM] = "secagg_own_advert_wrong"
    assert watched.reasons("train.share") == reasons
    assert watched.kinds() == {"train.advert", "train.share"}


def test_without_identities_the_swap_goes_unseen_by_the_others(run_config):
    """What identities are for: here the victim alone notices."""

    def swap(message, real):
        if message.metadata.message_type == "train.share":
            message.content = wrap(swap_advert(ShareRequest.decode(unwrap(message.content))))
        return real(message)

    run_config |= {"overrides": f"{FAST} {HYBRID}", "simulation-nodes": ""}
    watched = Watched(run_config, swap)
    # This honest server knows the true adverts, so its plan is another one.
    with pytest.raises(RunStoppedError, match="secagg_plan_mismatch"):
        watched.run()
    assert set(watched.reasons("train.share")) == {VICTIM}
