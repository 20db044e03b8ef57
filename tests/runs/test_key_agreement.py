"""A server that takes a deployment for a simulation, through the real ClientApps.

Simulated nodes agree on keys with X25519 alone, and no node of a deployment does so because a
server would like it to.
"""

from dataclasses import replace

import pytest

from strategies.masked.config import SecAggConfig
from strategies.masked.messages import ADVERT, SHARE
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import (
    PUBLIC_KEY_BYTES,
    X25519_BYTES,
    Advert,
    AdvertReply,
    AdvertRequest,
    Roster,
    ShareRequest,
    ShareRow,
    SharesUpload,
)
from tests.kits.attacked_federation import Federation, Numbers, RefusedError

FIRST = AttemptId(1, 1, 0)


def classical(advert: Advert) -> Advert:
    """Return an advert without the hashes of its ML-KEM keys."""
    keys = {name: getattr(advert, name)[:X25519_BYTES] for name in ("mask_key", "share_key")}
    return replace(advert, **keys)


@pytest.mark.parametrize("rule", [True, False])
def test_a_node_of_a_deployment_shares_nothing_under_x25519_alone(tmp_path, monkeypatch, rule):
    """The server shows it the others' keys as those of simulated nodes."""
    if not rule:
        monkeypatch.setattr(SecAggConfig, "is_hybrid", lambda *_: False)
    world = Federation(tmp_path, monkeypatch, Numbers(4, 3, 3))
    replies = {n: world.ask(n, ADVERT, AdvertRequest(FIRST)) for n in world.ids}
    adverts = {n: Advert.decode(AdvertReply.decode(replies[n]).advert) for n in world.ids}
    sizes = {len(one.mask_key) for one in adverts.values()}
    assert sizes == {PUBLIC_KEY_BYTES if rule else X25519_BYTES}

    victim, shape = world.ids[0], world.parameters.shape(4)
    shown = [one if n == victim else classical(one) for n, one in adverts.items()]
    encoded = tuple(one.encode() for one in shown)
    roster = Roster(FIRST, shape.threshold, shape.num_neighbors, encoded)
    others = tuple((n, b"") for n in world.ids[1:])
    request = ShareRequest(FIRST, roster.encode(), others)
    if rule:
        with pytest.raises(RefusedError, match="secagg_bad_key"):
            world.ask(victim, SHARE, request)
    else:
        upload = SharesUpload.decode(world.ask(victim, SHARE, request))
        assert {ShareRow.decode(row).kem_text for _, row in upload.rows} == {b""}


@pytest.mark.parametrize("allowed", [False, True])
def test_a_policy_says_whether_a_run_may_do_without_ml_kem(tmp_path, monkeypatch, allowed):
    numbers = Numbers(4, 3, 3, more="aggregation.key_agreement=classical")
    world = Federation(tmp_path, monkeypatch, numbers, allow_classical_keys=allowed)
    if not allowed:
        with pytest.raises(RefusedError, match="policy_refused"):
            world.ask(world.ids[0], ADVERT, AdvertRequest(FIRST))
        return
    reply = AdvertReply.decode(world.ask(world.ids[0], ADVERT, AdvertRequest(FIRST)))
    assert len(Advert.decode(reply.advert).mask_key) == X25519_BYTES
