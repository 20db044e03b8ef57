"""`docker compose up` ends with a trained, masked, private model; nothing leaks on the way."""

import csv
import json
import re
import time
from collections import Counter

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import (
    get_object_type_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from deploy.lock import LOCKS, entries, normal
from strategies.masked.messages import ADVERT, SHARE, UNMASK, unwrap
from strategies.secagg.messages import AdvertReply, MaskedInput, SharesUpload, UnmaskReply
from tests.docker.demo import HOSPITALS, PROJECT, SERVICES, Demo, output

pytestmark = [pytest.mark.docker, pytest.mark.timeout(5400)]

EPSILON, DELTA = 3.0, 1e-3
#: What a hospital sends under each of Flower's message types.
REPLIES = {ADVERT: AdvertReply, SHARE: SharesUpload, "train": MaskedInput, UNMASK: UnmaskReply}


# --- the run


def test_the_run_folder_is_on_the_host(demo: Demo):
    files = {file.name for file in demo.run_folder.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "model.safetensors", "summary.json"} <= files
    assert demo.summary["status"] == "completed"
    lines = (demo.run_folder / "metrics.jsonl").read_text().splitlines()
    rounds = [json.loads(line) for line in lines]
    assert len(rounds) == demo.summary["num_rounds"]
    assert all(line["num_replies"] == 4 for line in rounds)
    print("seconds:", demo.seconds, "rounds:", [round(line["seconds"], 1) for line in rounds])


def test_the_one_shot_service_ended_well_and_the_others_go_on(demo: Demo):
    states = {service: demo.inspect(service)["State"] for service in SERVICES}
    for service in ("setup", "register", "run"):
        assert states[service]["ExitCode"] == 0, demo.log(service)
    for service in ("superlink", *HOSPITALS):
        assert states[service]["Health"]["Status"] == "healthy", demo.log(service)


def test_the_model_is_good_on_all_records(demo: Demo, tmp_path):
    import torch

    from app.results.model_file import load_model
    from tasks.base import DataSource

    task, model = load_model(demo.run_folder / "model.safetensors")
    right, number = 0, 0
    for hospital in HOSPITALS:
        file = tmp_path / f"{hospital}.csv"
        file.write_text(demo.execute(hospital, "cat", "/node/records.csv"))
        data = task.load(DataSource(data_path=file))
        for part in (data.train, data.test):
            outputs = model(torch.as_tensor(part.inputs)).detach().numpy().ravel()
            right += int(((outputs > 0) == (part.targets == 1)).sum())
            number += len(part)
    print("accuracy:", right / number)
    assert number == 569
    assert right / number > 0.85


def test_epsilon_is_in_the_report_and_equal_in_each_hospitals_ledger(demo: Demo):
    told = demo.summary["privacy"]
    assert told["epsilon"] <= EPSILON
    assert told["delta"] == DELTA
    assert told["unit"] == "example"
    for hospital in HOSPITALS:
        show = ("tacet", "ledger", "show", "/node/state.sqlite")
        text = demo.execute(hospital, *show, "--json", "/tmp/ledger.json")
        ledger = json.loads(demo.execute(hospital, "cat", "/tmp/ledger.json"))
        assert ledger["epsilon"] == pytest.approx(told["epsilon"], rel=1e-9)
        assert ledger["delta"] == told["delta"]
        assert ledger["num_charges"] == demo.summary["num_rounds"]
        assert f"epsilon {told['epsilon']:.4g} at delta {DELTA:g}" in text
    print("epsilon:", told["epsilon"])


# --- the containers


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_do_little(demo: Demo, service):
    container = demo.inspect(service)
    host, config = container["HostConfig"], container["Config"]
    assert config["User"] not in ("", "0", "root")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["Privileged"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert not host["PortBindings"]
    one_shot = service in ("setup", "register", "run")
    assert host["RestartPolicy"]["Name"] == ("no" if one_shot else "unless-stopped")


@pytest.mark.parametrize("service", ["superlink", *HOSPITALS])
def test_processes_run_as_nobody_special_and_cannot_write_the_image(demo: Demo, service):
    assert demo.execute(service, "id", "-u").strip() != "0"
    script = "touch /app/x 2>/dev/null || touch /opt/tacet/x 2>/dev/null || echo no"
    assert demo.execute(service, "sh", "-c", script).strip() == "no"


def test_a_hospital_has_its_own_volume_and_nobody_elses(demo: Demo):
    for hospital in HOSPITALS:
        mounts = demo.inspect(hospital)["Mounts"]
        assert [mount["Name"] for mount in mounts] == [f"{PROJECT}_{hospital}"]
    of_superlink = {mount.get("Name") for mount in demo.inspect("superlink")["Mounts"]}
    assert of_superlink == {f"{PROJECT}_superlink", None}


def test_no_secret_is_in_an_image_or_an_environment_variable(demo: Demo):
    secrets = [demo.execute("superlink", "cat", "/superlink/tls/superlink.key")]
    for hospital in HOSPITALS:
        for name in ("identity", "flower-key"):
            secrets.append(demo.execute(hospital, "cat", f"/node/{name}"))
    assert all("PRIVATE KEY" in secret for secret in secrets)
    bodies = [line for secret in secrets for line in secret.splitlines() if len(line) > 30]
    image = demo.inspect("superlink")["Image"]
    told = output("docker", "history", "--no-trunc", image)
    told += output("docker", "image", "inspect", image)
    told += "".join(json.dumps(demo.inspect(service)) for service in SERVICES) + demo.logs()
    assert "PRIVATE KEY" not in told
    assert not [body for body in bodies if body in told]
    words = re.compile(r"pass|secret|token|private|credential", re.I)
    for service in SERVICES:
        names = [entry.partition("=")[0] for entry in demo.inspect(service)["Config"]["Env"]]
        assert not [name for name in names if words.search(name)]
    # Nor is a key lying in a layer: the image has none of the files that setup makes.
    find = "find /node /superlink /operator /hospitals -type f"
    assert not output("docker", "run", "--rm", "--network=none", image, "sh", "-c", find)


def test_no_compiler_is_left_in_the_image(demo: Demo):
    image = demo.inspect("superlink")["Image"]
    script = "command -v cc gcc g++ clang rustc cargo make || echo none"
    assert (
        output("docker", "run", "--rm", "--network=none", image, "sh", "-c", script) == "none\n"
    )


def test_the_image_holds_what_is_locked_and_lists_it(demo: Demo):
    script = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    found = json.loads(demo.execute("superlink", "python3", "-I", "-c", script))
    installed = {normal(name): version for name, version in found.items()}
    bill = json.loads(demo.execute("superlink", "cat", "/usr/share/tacet/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    listed = {normal(one["name"]): one for one in bill["components"]}
    assert {name: one["version"] for name, one in listed.items()} == installed
    for name in ("flwr", "torch", "opacus"):
        purl = f"pkg:pypi/{name}@{installed[name]}"
        assert listed[name]["purl"] == purl.replace("+", "%2B")
    locks = ((LOCKS / f"{name}.txt").read_text() for name in ("torch", "image"))
    locked = {name: one.version for text in locks for name, one in entries(text).items()}
    # pip is the base image's own. What builds and lists is not there.
    assert installed == locked | {name: installed[name] for name in ("pip", "tacet")}


# --- what the SuperLink stored


def _objects(demo: Demo) -> dict[str, bytes]:
    rows = [row for table, row in demo.stored if table == "objects" and row["content"]]
    return {row["object_id"]: row["content"] for row in rows}


def _replies(demo: Demo) -> list[tuple[str, RecordDict]]:
    """Return the contents of the hospitals' messages, each with its type."""
    objects = _objects(demo)
    kinds = {r["message_id"]: r["message_type"] for t, r in demo.stored if t == "message_res"}
    found = []
    for message_id, kind in kinds.items():
        message = inflate_object_from_contents(message_id, dict(objects))
        assert isinstance(message, Message)
        found.append((kind, message.content))
    return found


def test_all_a_hospital_sent_is_protocol_messages_and_nothing_else(demo: Demo):
    replies = _replies(demo)
    counts = Counter(kind for kind, _ in replies)
    print("replies that the database held:", dict(counts))
    # Every message is there: four hospitals in each round, and one keys phase or more.
    assert counts.keys() == REPLIES.keys()
    assert counts["train"] == counts[UNMASK] == 4 * demo.summary["num_rounds"]
    assert counts[ADVERT] == counts[SHARE] >= 4
    for kind, content in replies:
        assert {(name, key) for name, record in content.items() for key in record} == {
            ("secagg", "bytes")
        }
        data = bytes(unwrap(content))
        # Nothing hides beside the fields: they alone make the same bytes again.
        assert REPLIES[kind].decode(data).encode() == data


def test_no_object_that_was_ever_stored_holds_a_metric(demo: Demo):
    kinds = {
        get_object_type_from_object_content(content) for content in _objects(demo).values()
    }
    assert "Message" in kinds
    assert "MetricRecord" not in kinds


def test_an_update_in_the_database_is_uniform(demo: Demo):
    """Without its mask, nearly every word of a contribution lies near 0 modulo 2^32.

    The modulus fits eight standard deviations of the sum to either side, so a clear word is
    within an eighth of it nearly always, and a masked one with chance 1/4: six standard
    deviations from that are a false failure in 1e9 runs, and a clear update is far outside.
    """
    updates = [MaskedInput.decode(bytes(unwrap(c))) for k, c in _replies(demo) if k == "train"]
    assert all(update.modulus_bits == 32 for update in updates)
    for order in ("<u4", ">u4"):
        words = np.concatenate([np.frombuffer(bytes(u.update), order) for u in updates])
        near = np.minimum(words, 2**32 - words.astype(np.uint64)) < 2**29
        spread = 6 * np.sqrt(0.25 * 0.75 / len(words))
        assert abs(near.mean() - 0.25) < spread, (order, len(words), near.mean())
        assert len(words) >= 32


def _counts_of(demo: Demo, hospital: str) -> set[int]:
    """Return the numbers about a hospital's records that nobody else may know."""
    text = demo.execute(hospital, "cat", "/node/records.csv").splitlines()
    labels = Counter(row["diagnosis"] for row in csv.DictReader(text))
    return {sum(labels.values()), *labels.values()}


def test_neither_log_nor_database_holds_a_count_or_a_metric_of_a_hospital(demo: Demo):
    texts = [demo.execute("superlink", "cat", "/superlink/superlink.log")]
    texts += [demo.log("superlink"), demo.log("run")]
    # Messages are looked at above; of all other tables, each row that there ever was.
    texts += [
        value.decode(errors="replace") if isinstance(value, bytes) else value
        for table, row in demo.stored
        if table != "objects"
        for value in row.values()
        if isinstance(value, str | bytes)
    ]
    text = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.,+Z]*", "", "\n".join(texts))
    assert "run folder: /runs/" in text
    for hospital in HOSPITALS:
        for count in _counts_of(demo, hospital):
            # As a word of its own: not in an address, a decimal or an identifier.
            found = re.search(rf"(?<![\w.:/-]){count}(?![\w.:/-])(?! s )", text)
            assert found is None, text[max(found.start() - 200, 0) : found.end() + 50]
    for word in ("num-examples", "num_examples", "accuracy", "rows used", "records.csv"):
        assert word not in text
    assert '"metrics": {}' in (demo.run_folder / "metrics.jsonl").read_text()


def test_what_is_left_in_the_database_holds_no_message(demo: Demo):
    script = (
        "import sqlite3; c = sqlite3.connect('file:/superlink/state.sqlite?mode=ro', uri=True);"
        "print([c.execute(f'select count(*) from {t}').fetchone()[0]"
        " for t in ('message_ins', 'message_res', 'objects')])"
    )
    assert demo.execute("superlink", "python3", "-c", script).strip() == "[0, 0, 0]"


# --- afterwards


def test_a_second_run_is_refused_by_every_hospital_and_costs_nothing(demo: Demo):
    assert demo.run_folder.exists()
    show = ("tacet", "ledger", "show", "/node/state.sqlite")

    def spent() -> list[list[str]]:
        # Of the chain only the charges: each run's keys show a head.
        told = [demo.execute(hospital, *show).splitlines() for hospital in HOSPITALS]
        return [[line.partition(" charges, ")[0] for line in lines] for lines in told]

    before = spent()
    demo.compose("up", "--detach", "run")
    end = time.monotonic() + 900
    waiting = set(HOSPITALS)
    while waiting:
        assert time.monotonic() < end, demo.logs()
        time.sleep(2)
        waiting = {hospital for hospital in waiting if " refuses: " not in demo.log(hospital)}
    line = next(line for line in demo.log("hospital-a").splitlines() if " refuses: " in line)
    print(line)
    assert "epsilon" in line
    while demo.inspect("run")["State"]["Running"]:
        assert time.monotonic() < end, demo.logs()
        time.sleep(1)
    assert demo.inspect("run")["State"]["ExitCode"] == 1
    assert "budget_exhausted" in demo.log("run")
    assert spent() == before


def test_down_leaves_nothing(demo: Demo):
    demo.down()
    label = f"label=com.docker.compose.project={PROJECT}"
    for what in (("ps", "-a"), ("volume", "ls"), ("network", "ls")):
        assert output("docker", *what, "-q", "--filter", label) == "", what
    assert (demo.run_folder / "model.safetensors").exists()
