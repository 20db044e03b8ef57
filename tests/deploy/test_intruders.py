"""Who and what was not invited into a real federation, but comes in: nodes, and code.

`docs/deployment.md` states the outcomes that are asserted here.
"""

import shutil

from deploy.trial_home import ROOT
from tests.deploy.runs import lines, run_config, summary


def test_intruders_whose_flower_keys_are_registered_are_left_out(federation):
    """One has an identity that the peers do not know, one has that of the first node."""
    federation.tacet("keys", "new", "unknown-identity")
    stranger, twin = 5, 6
    identities = {
        stranger: federation.home / "unknown-identity",
        twin: federation.node_home(0) / "identity",
    }
    try:
        for number, identity in identities.items():
            federation.add_node(number, identity_key=str(identity))
        # Of five nodes, at T = 2, the server could learn both seeds of one.
        federation.run(run_config(federation, "intruders", 1, threshold=3))
        told = summary(federation, "intruders")
    finally:
        for number in identities.keys() & federation.nodes.keys():
            federation.stop_node(number)
    assert told["status"] == "completed"
    (line,) = lines(federation, "intruders")
    assert line["num_replies"] == 3
    failures = line["failures"]
    # The stranger's own check, and the server's of the second advert with one identity: either
    # may be the later, and in training another one than in the evaluation beside it.
    assert failures.pop(federation.node_id(stranger)) == "data_refused"
    assert failures
    assert failures.keys() <= {federation.node_id(0), federation.node_id(twin)}
    assert set(failures.values()) == {"malformed_reply"}


def test_an_altered_bundle_runs_nowhere(federation, tmp_path):
    altered = tmp_path / "app"
    ignore = shutil.ignore_patterns(".git", ".venv", "__pycache__", "wheels", "runs")
    shutil.copytree(ROOT, altered, ignore=ignore)
    with (altered / "strategies" / "masked" / "client.py").open("a") as file:
        file.write("# one refusal less\n")
    federation.run(run_config(federation, "altered", 1), app=altered)
    told = summary(federation, "altered")
    assert told["status"] == "failed"
    assert "policy_refused" in told["reason"]
    for number in range(3):
        assert "refused the bundle" in federation.log(f"node-{number}")
        assert not (federation.node_home(number) / "flower" / "apps").exists()
