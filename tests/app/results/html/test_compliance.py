"""The privacy record: what it says of a private run, and of one whose files say odd things."""

import json
import shutil

import pytest

from app.cli.main import main
from app.results.html.compliance import TO_FILL_IN, privacy_record
from app.results.html.gather import gather
from app.simulation.in_process import simulate

RUN = {
    "task": "breast_cancer",
    "privacy": "example_distributed",
    "algorithm": "ebm",
    "num-rounds": 6,
    "overrides": "aggregation.max_colluding=0 aggregation.min_survivors=3 privacy.epsilon=4"
    " privacy.delta=1e-4 privacy.population=3 privacy.sampling_rate=1"
    " privacy.expected_batch_size=455",
}
#: As an impact assessment asks: description, necessity, risks and measures.
ORDER = [
    "Processing",
    "Categories",
    "Necessity",
    "Differential",
    "trusted",
    "Risks",
    "Retention",
]


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record") / "run"
    simulate({**RUN, "output-dir": str(folder)}, 3, draws_page=True)
    return folder


@pytest.mark.slow
def test_the_record_says_what_was_promised(private):
    text = privacy_record(gather(private))
    spent = json.loads((private / "summary.json").read_text())["privacy"]
    for part in (
        f"**Epsilon, towards the server:** {spent['epsilon']:.4g}",
        f"**Unit:** {spent['unit']} ({spent['neighbours']})",
        "**Cap of the run:** epsilon 4",
        f"{spent['num_updates']} updates",
        "Robustness against poisoned updates",
        "6 of 6 rounds",
        "**Participants that answered in a round:** 3",
    ):
        assert part in text
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(heads) == len(ORDER) + 1
    assert all(word in head for word, head in zip(ORDER, heads, strict=False))
    for name in ("config.yaml", "model.safetensors"):
        assert gather(private).hashes[name] in text


def test_what_a_run_cannot_know_is_left_open(private):
    text = privacy_record(gather(private))
    for what in ("Purpose", "Legal basis", "Periods", "Special categories"):
        [line] = [line for line in text.splitlines() if f"**{what}" in line]
        assert line.endswith(TO_FILL_IN)


def test_without_privacy_it_says_so(tmp_path):
    folder = tmp_path / "run"
    simulate({"task": "breast_cancer", "num-rounds": 1, "output-dir": str(folder)}, 3)
    text = privacy_record(gather(folder))
    assert "is not bounded" in text
    assert "Epsilon" not in text
    assert "plan.json is missing" in text


def test_names_are_no_markup(private, tmp_path):
    folder = shutil.copytree(private, tmp_path / "copy")
    config = (folder / "config.yaml").read_text()
    named = "  name: breast_cancer\n"
    odd = "  numeric:\n    '<script>x</script> # head':\n      min: 0\n"
    (folder / "config.yaml").write_text(config.replace(named, named + odd))
    text = privacy_record(gather(folder))
    assert "<script>" not in text
    assert "\\<script\\>" in text


def test_the_command_writes_it_beside_the_run(private, tmp_path, capsys):
    assert main(["report", str(private), "--compliance"]) == 0
    assert str(private / "privacy-record.md") in capsys.readouterr().out
    other = tmp_path / "record.md"
    assert main(["report", str(private), "--compliance", "--output", str(other)]) == 0
    assert other.read_bytes() == (private / "privacy-record.md").read_bytes()
    capsys.readouterr()
    assert main(["report", str(private), str(private), "--compliance"]) == 2
    assert "of one run" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--compliance"]) == 2
    assert "run folder" in capsys.readouterr().err
