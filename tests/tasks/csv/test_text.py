"""Columns of free text: what becomes of a note, what a run learns from it, who takes none."""

import json
import shutil
import time
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

import app.config.load as loading
from app.builders.workload import build_workload
from app.config.load import load_config
from app.export.export import export
from app.prediction.saved_model import SavedModel
from app.preflight.data_check import check_data
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.csv.columns import TextConfig
from tasks.csv.encoding import encode
from tasks.csv.hashing import LONGEST_WORD, hashed
from tasks.records import DataError
from tests.kits.csv_kit import config_with, write

HEADER = "id,age,bmi,sex,ward,ill,notes"
NOTES = {"notes": {"buckets": 64}}


def dense(text: str, **keys) -> np.ndarray:
    column = TextConfig(**keys)
    found, vector = hashed(text, column), np.zeros(column.buckets)
    vector[found.places] = found.values
    return vector


def cosine(one: str, other: str, **keys) -> float:
    return float(dense(one, **keys) @ dense(other, **keys))


def test_a_note_is_the_same_vector_on_every_machine():
    """Of the words themselves: a hash of BLAKE2b, whose numbers no version changes."""
    found = hashed("Chest pain, pain", TextConfig(buckets=1000))
    # chest, pain, "chest pain", "pain pain": once each, however often.
    assert found.places.tolist() == [300, 660, 828, 925]
    assert np.sign(found.values).tolist() == [-1, 1, -1, 1]
    np.testing.assert_allclose(np.abs(found.values), 0.5)


def test_case_spaces_and_forms_of_letters_do_not_matter():
    assert cosine("Chest PAIN", "  chest\n pain.") == pytest.approx(1)
    assert cosine(
        "e\N{COMBINING ACUTE ACCENT}t\N{LATIN SMALL LETTER E WITH ACUTE}",
        "\N{LATIN SMALL LETTER E WITH ACUTE}te\N{COMBINING ACUTE ACCENT}",
    ) == (pytest.approx(1))


@pytest.mark.parametrize("keys", [{}, {"characters": 3}, {"words": 0, "characters": 4}])
@pytest.mark.parametrize(
    "text",
    [
        "a",
        "pain",
        "pain " * 400,
        "x" * 100_000,
        "no pain at all",
        "\udcff broken \udcff",
        "a b " * 9,
    ],
)
def test_every_text_has_a_norm_of_one_however_long_it_is(text, keys):
    for buckets in (2, 16, 1024):
        norm = np.linalg.norm(dense(text, buckets=buckets, **keys))
        # Or none, where all n-grams cancel in two buckets.
        assert norm == pytest.approx(1, abs=1e-6) or (buckets == 2 and norm == 0)
    assert not dense(" ... !").any()


def test_only_so_many_words_and_characters_are_looked_at():
    first = " ".join(f"word{n}" for n in range(50))
    long = hashed(first + " and more" * 10_000, TextConfig(max_words=50))
    same = hashed(first, TextConfig(max_words=50))
    assert long.is_cut
    assert not same.is_cut
    np.testing.assert_array_equal(long.places, same.places)
    assert len(hashed("z" * 10**6, TextConfig(characters=3)).places) <= 5
    other = "ab" * LONGEST_WORD
    assert cosine(other, other + "c") == pytest.approx(1)


@pytest.mark.parametrize("marks", ["\u0301\u0327", "\u0f73", "\uff9e\u0327"])
def test_marks_without_end_hold_no_node_up(marks):
    """Python orders the marks of a letter in quadratic time: of so many it takes long."""
    started = time.process_time()
    found = hashed("pain a" + marks * 2**14 + " rest", TextConfig())
    assert time.process_time() - started < 1
    assert len(found.places) >= 3
    # What anybody writes is what it was.
    few = "a" + "\u0301\u0327" * 15
    assert cosine(few + " b", normalize("NFKC", few) + " b") == pytest.approx(1)


def test_signed_hashing_keeps_inner_products_on_average():
    """Two texts of 40 words that share 10: 0.25, over many sets of words in few buckets."""
    found = []
    for number in range(400):
        words = [f"{number}w{place}" for place in range(70)]
        found.append(cosine(" ".join(words[:40]), " ".join(words[30:]), words=1, buckets=64))
    # Unsigned, the mean would be above 0.45.
    assert np.mean(found) == pytest.approx(0.25, abs=0.03)


def test_characters_see_what_misspelt_words_have_in_common():
    assert cosine("hypertension", "hypertensoin") == 0
    assert cosine("hypertension", "hypertensoin", words=0, characters=3) > 0.5


def test_pairs_of_words_tell_texts_of_the_same_words_apart():
    one, other = "dog bites man", "man bites dog"
    assert cosine(one, other, words=1) == pytest.approx(1)
    assert cosine(one, other, words=2) < 0.8


def test_a_files_notes_stand_behind_the_other_inputs(tmp_path):
    rows = [
        '1,50,30,f,a,no,"chest pain, since\nyesterday"',
        "2,60,30,m,a,yes,NA",
        f"3,70,30,m,a,yes,{'pain ' * 300}",
    ]
    config = config_with(text=NOTES)
    examples, summary = encode(write(tmp_path, *rows, header=HEADER), config)
    assert examples.inputs.shape == (3, 7 + 64)
    assert examples.columns.shape == (3, 4)
    plain, _ = encode(
        write(
            tmp_path,
            *(
                f"{row.split(',')[0]},{age},30,{sex},a,no"
                for row, age, sex in zip(rows, (50, 60, 70), "fmm", strict=True)
            ),
            name="plain.csv",
        ),
        config_with(),
    )
    np.testing.assert_array_equal(examples.inputs[:, :7], plain.inputs)
    np.testing.assert_allclose(
        examples.inputs[0, 7:], dense("chest pain since yesterday", buckets=64), atol=1e-7
    )
    assert not examples.inputs[1, 7:].any()
    assert "missing, filled in: notes 1" in str(summary)
    assert "outside the bounds, clipped: notes 1" in str(summary)
    _, summary = encode(write(tmp_path, rows[0], header=HEADER), config)
    assert "clipped" not in str(summary)
    assert config.features()[7:9] == ["notes#0", "notes#1"]
    assert len(config.features()) == 7 + 64


def test_in_a_private_run_a_note_over_two_lines_is_left_out(tmp_path):
    rows = ['1,50,30,f,a,no,"two\nlines"', "2,60,30,m,a,yes,one line"]
    file = write(tmp_path, *rows, header=HEADER)
    examples, summary = encode(file, config_with(text=NOTES), by_line=True)
    assert len(examples) == 1
    assert summary.misfits.num_rows == 2
    with pytest.raises(DataError, match="column notes: it is missing"):
        encode(write(tmp_path, "1,50,30,f,a,no", name="other.csv"), config_with(text=NOTES))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ({"notes": {"buckets": 1}}, r"task\.text\.notes\.buckets=1: must be from 2 to 65536"),
        ({"notes": {"words": 4}}, "words=4: must be from 0 to 3"),
        ({"notes": {"words": 0}}, "nothing of the text would be looked at"),
        ({"notes": {"characters": 1}}, "single letters say nothing"),
        ({"notes": {"max_words": 0}}, "max_words=0: must be from 1"),
        (
            {"notes": {"buckets": 40_000}, "more": {"buckets": 30_000}},
            "'notes': 40000, 'more': 30000} are more than 65536 in all",
        ),
        ({"age": {}}, r"task\.text=age: must not be named again"),
    ],
)
def test_what_is_no_column_of_text_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        config_with(text=text)


YAML = """
defaults: [csv_schema, _self_]
label: {column: ill, classes: ["no", "yes"]}
numeric: {age: {min: 0, max: 100}}
text: {notes: {buckets: 256}}
training: {learning_rate: 1.0, momentum: 0.9, batch_size: 32, num_epochs: 3}
"""
ALIKE = [
    "seen in the ward",
    "stable",
    "family informed",
    "slept well",
    "blood taken",
    "fasting",
]
OF_ILL = ["chest pain", "short of breath", "pale and sweating", "in poor shape"]
OF_WELL = ["no complaints", "walks without help", "eats with appetite", "in good shape"]


def note(rng: np.random.Generator, is_ill: bool) -> str:
    told = list(rng.choice(ALIKE, 3, replace=False))
    told += list(rng.choice(OF_ILL if is_ill else OF_WELL, 1))
    if rng.random() < 0.15:  # a sentence that speaks for the other
        told += list(rng.choice(OF_WELL if is_ill else OF_ILL, 1))
    return "; ".join(rng.permutation(told))


@pytest.fixture
def clinics(tmp_path, monkeypatch) -> Path:
    """Return a folder with the files of five clinics, and new rows; age says little."""
    conf = tmp_path / "conf"
    shutil.copytree(loading.CONF_DIR, conf)
    with_notes = conf / "task" / "noted.yaml"
    with_notes.write_text(YAML)
    without = YAML.replace("text: {notes: {buckets: 256}}", "drop: [notes]")
    (conf / "task" / "unnoted.yaml").write_text(without)
    monkeypatch.setattr(loading, "CONF_DIR", conf)
    rng = np.random.default_rng(0)
    for name in ("0", "1", "2", "3", "4", "new"):
        rows = []
        for _ in range(160):
            is_ill = bool(rng.integers(2))
            age = np.clip(rng.normal(55 if is_ill else 45, 20), 0, 100)
            rows.append(f"{age:.1f},{'yes' if is_ill else 'no'},{note(rng, is_ill)}")
        write(tmp_path, *rows, header="age,ill,notes", name=f"{name}.csv")
    nodes = [{"data-path": str(tmp_path / f"{n}.csv")} for n in range(5)]
    (tmp_path / "nodes.yaml").write_text(json.dumps(nodes))
    return tmp_path


def run(folder: Path, task: str, **keys) -> dict[str, float]:
    given = {
        "task": task,
        "num-rounds": 4,
        "simulation-nodes": str(folder / "nodes.yaml"),
        "output-dir": str(folder / f"run-{task}-{len(keys)}"),
    }
    return simulate(given | keys, 5).metrics


PRIVATE = {
    "privacy": "example_distributed",
    "num-rounds": 15,
    "overrides": "privacy.epsilon=4 privacy.delta=1e-3 privacy.population=5"
    " privacy.sampling_rate=0.3 privacy.expected_batch_size=190 privacy.clip_norm=0.7"
    " privacy.learning_rate=5 privacy.metrics.every=0"
    " aggregation.min_survivors=4",
}


@pytest.mark.slow
def test_notes_are_learnt_from_over_masked_clients(clinics):
    without = run(clinics, "unnoted")["accuracy"]
    assert 0.5 < without < 0.72
    assert run(clinics, "noted")["accuracy"] > without + 0.15


@pytest.mark.slow
def test_notes_are_learnt_from_under_example_privacy(clinics):
    run(clinics, "noted", **PRIVATE)
    found = SavedModel.load(clinics / "run-noted-3").predict(clinics / "new.csv")
    # Without notes it is under 0.72 even without privacy, see above.
    assert found.figures["accuracy"] > 0.8


def test_new_notes_are_predicted_and_a_network_says_what_is_outside_of_it(clinics):
    run(clinics, "noted")
    folder = clinics / "run-noted-0"
    status, lines = SavedModel.load(folder).predict_file(
        clinics / "new.csv", clinics / "out.csv"
    )
    assert status == 0, lines
    first = (clinics / "out.csv").read_text().splitlines()[:2]
    assert first[0] == "age,ill,notes,prediction,probability_no,probability_yes"
    told = export(folder, "onnx", clinics / "model.onnx")
    assert "of shape (n, 257): age, notes#0 to notes#255" in told[1]
    assert told[-1].startswith("not in the file: notes to numbers, by hashing")


def test_a_file_with_notes_is_checked(clinics):
    found = check_data("noted", DataSource(data_path=clinics / "0.csv"), is_private=True)
    assert found.objection == ""
    assert found.num_train + found.num_test == 160


@pytest.mark.parametrize("algorithm", ["ebm", "gbdt", "glm", "statistics", "tree"])
def test_workloads_of_tables_refuse_texts_with_the_mend(clinics, algorithm):
    with pytest.raises(ValueError, match=r"task\.text: notes: the workload .* list that"):
        build_workload(load_config({"task": "noted", "algorithm": algorithm}))
