"""Adult: the forms of its files, what their columns become, and who is dealt which records."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from app.config.load import load_config
from app.node.settings import settings_of
from app.preflight.data_check import check_data
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tasks.adult import TEST_FILE, TRAIN_FILE, Adult, AdultConfig
from tasks.base import DataSource
from tasks.csv.schema import Model
from tasks.records import DataError, Examples
from tasks.schema import PartitionConfig, Scheme

RECORD = {
    "age": 39,
    "workclass": "State-gov",
    "fnlwgt": 77516,
    "education": "Bachelors",
    "education-num": 13,
    "marital-status": "Never-married",
    "occupation": "Adm-clerical",
    "relationship": "Not-in-family",
    "race": "White",
    "sex": "Male",
    "capital-gain": 2174,
    "capital-loss": 0,
    "hours-per-week": 40,
    "native-country": "United-States",
    "pay": "<=50K",
}
HEADER = ",".join(RECORD)
NUM_FEATURES = 51
_COUNTRIES = ("United-States", "?", "Cuba")


def line(**values: object) -> str:
    """Return a record's line, with underscores for the dashes in the columns' names."""
    given = {name.replace("_", "-"): value for name, value in values.items()}
    assert given.keys() <= RECORD.keys()
    return ",".join(str(value) for value in (RECORD | given).values())


def lines(count: int, first: int = 0, stop: str = "") -> list[str]:
    """Return different records of nobody, of whom those with more education earn more."""
    return [
        line(
            age=17 + i % 70,
            education_num=1 + i % 16,
            hours_per_week=20 + i // 16,
            sex=("Male", "Female")[i % 2],
            native_country=_COUNTRIES[i % 3],
            pay=("<=50K", ">50K")[i % 16 > 9] + stop,
        )
        for i in range(first, first + count)
    ]


def write(file: Path, rows: list[str]) -> Path:
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def write_folder(directory: Path, num_train: int = 200, num_test: int = 80) -> Path:
    """Write files of the form of the real ones, in which no two records are equal."""
    write(directory / TRAIN_FILE, [HEADER, *lines(num_train), ""])
    write(directory / TEST_FILE, [HEADER, *lines(num_test, num_train, "."), ""])
    return directory


def adult(
    scheme: str = "iid", seed: int = 0, is_private: bool = False, **keys: object
) -> Adult:
    partition = PartitionConfig(scheme=Scheme(scheme), min_examples=2)
    task = Adult(AdultConfig(partition=partition, **keys), seed)
    task.is_private = is_private
    return task


def both(file: Path, **keys: object) -> Examples:
    """Return all records of a node's own file, in some order."""
    data = adult(**keys).load(DataSource(data_path=file))
    return Examples(
        np.concatenate([data.train.inputs, data.test.inputs]),
        np.concatenate([data.train.targets, data.test.targets]),
    )


def counted(*parts: Examples) -> Counter[bytes]:
    return Counter(
        inputs.tobytes() + target.tobytes()
        for part in parts
        for inputs, target in zip(part.inputs, part.targets, strict=True)
    )


def features(tmp_path: Path, **values: object) -> dict[str, float]:
    (inputs,) = both(write(tmp_path / "own.csv", [line(**values)])).inputs
    return dict(zip(AdultConfig().features(), inputs.tolist(), strict=True))


def test_features_of_a_record(tmp_path):
    found = features(tmp_path, age=53, education_num=16, capital_gain=5000, hours_per_week=1)
    assert len(found) == NUM_FEATURES
    ones = {name for name, value in found.items() if value == 1}
    assert ones == {
        "education-num",
        "workclass=State-gov",
        "marital-status=Never-married",
        "occupation=Adm-clerical",
        "relationship=Not-in-family",
        "race=White",
        "sex=Male",
        "native-country=United-States",
    }
    numbers = found["age"], found["capital-gain"], found["capital-loss"]
    assert numbers == (0, 0, -1)
    assert found["hours-per-week"] == -1


def test_what_is_not_known_is_a_category(tmp_path):
    found = features(tmp_path, workclass="?", occupation="?", native_country="?")
    assert found["workclass=unknown"] == found["occupation=unknown"] == 1
    assert found["native-country=other"] == 1
    assert features(tmp_path, native_country="Holand-Netherlands")["native-country=other"] == 1


def test_gains_are_clipped(tmp_path):
    assert features(tmp_path, capital_gain=99999)["capital-gain"] == 1


def test_a_record_without_an_age_is_left_out(tmp_path):
    assert len(both(write(tmp_path / "own", [line(age="?"), line()]))) == 1


def test_the_census_weight_and_the_name_of_the_education_are_not_read(tmp_path):
    other = features(tmp_path, fnlwgt="unread", education="unread")
    assert other == features(tmp_path)


def test_labels_may_end_in_a_full_stop(tmp_path):
    rows = [line(pay=pay) for pay in ("<=50K", ">50K", "<=50K.", ">50K.")]
    assert sorted(both(write(tmp_path / "own", rows)).targets) == [0, 0, 1, 1]


@pytest.mark.parametrize("is_private", [False, True])
@pytest.mark.parametrize(
    ("first", "separator"),
    [
        (HEADER, ","),
        (HEADER, ", "),
        ("\ufeff" + HEADER.replace("-", ".").replace(",pay", ",income").title(), ","),
        ("|1x3 Cross validator", ", "),
        ("", ", "),
    ],
    ids=["header", "spaces", "other names", "UCI's test file", "UCI's training file"],
)
def test_all_forms_of_the_file_are_read_alike(tmp_path, first, separator, is_private):
    records = [row.replace(",", separator) for row in lines(30)]
    file = write(tmp_path / "own", [*([first] if first else []), *records, ""])
    plain = write(tmp_path / "plain", lines(30))
    assert counted(both(file, is_private=is_private)) == counted(both(plain))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(age="old"), r"line 3, column age: 'old' is no finite number"),
        (line(pay=">60K."), r"line 3, column pay: '>60K' is none of the classes <=50K, >50K"),
        (line(sex="male"), r"line 3, column sex: 'male' .* upper and lower case"),
        (line(race="Martian"), r"line 3, column race: 'Martian' is none of the categories"),
        (line() + ",9", r"line 3: 16 fields, but the header has 15"),
        (HEADER.replace("race,sex", "sex,race"), r"line 3, column pay: 'pay' is none of"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, bad, message):
    file = write(tmp_path / "own", [HEADER, *lines(1), bad, *lines(9, 1)])
    with pytest.raises(DataError, match=rf"own, {message}"):
        both(file)
    assert counted(both(file, is_private=True)) == counted(
        both(write(tmp_path / "good", lines(10)))
    )


@pytest.mark.parametrize(
    "bad",
    ['"' + line(), line(age='"39'), HEADER, "|", "1,2", "x" * 2**21, line(age="\udcff"), "\0"],
    ids=["quote", "open", "header", "remark", "short", "long", "bytes", "nul"],
)
@pytest.mark.parametrize("place", [0, 7])
def test_in_a_private_run_one_line_changes_one_record(tmp_path, bad, place):
    rows = lines(12)
    whole = adult(is_private=True).load(DataSource(data_path=write(tmp_path / "whole", rows)))
    rows[place] = bad
    file = tmp_path / "other"
    file.write_text("\n".join(rows), encoding="utf-8", errors="surrogateescape")
    other = adult(is_private=True).load(DataSource(data_path=file))
    lost = counted(whole.train) - counted(other.train)
    lost += counted(whole.test) - counted(other.test)
    assert lost.total() == 1
    assert not counted(other.train) - counted(whole.train)
    assert not counted(other.test) - counted(whole.test)


@pytest.mark.parametrize("scheme", ["iid", "dirichlet", "size_skew"])
def test_a_folder_is_dealt_out(tmp_path, scheme):
    write_folder(tmp_path)
    parts = [adult(scheme).load(DataSource(k, 4, tmp_path)) for k in range(4)]
    whole = adult().load(DataSource(data_path=tmp_path))
    assert (len(whole.train), len(whole.test)) == (200, 80)
    for side in ("train", "test"):
        dealt = counted(*(getattr(part, side) for part in parts))
        assert dealt == counted(getattr(whole, side))
    assert [len(part.test) for part in parts] == [20] * 4
    sizes = [len(part.train) for part in parts]
    assert (sizes == [50] * 4) is (scheme == "iid")


def test_the_folder_of_a_small_node_need_not_be_split(tmp_path):
    write_folder(tmp_path, num_train=1, num_test=0)
    data = adult(is_private=True).load(DataSource(data_path=tmp_path))
    assert (len(data.train), len(data.test)) == (1, 0)


def test_a_file_is_not_split_over_nodes(tmp_path):
    file = write(tmp_path / "own", lines(50))
    data = [adult().load(DataSource(k, 4, file)) for k in (0, 3)]
    assert counted(data[0].train) == counted(data[1].train)
    assert len(data[0].train) + len(data[0].test) == 50
    assert 0 < len(data[0].test) < 25


def test_too_few_records_for_the_nodes_are_refused(tmp_path):
    write_folder(tmp_path, num_train=5)
    with pytest.raises(DataError, match="5 records cannot give each of 4 clients"):
        adult().load(DataSource(0, 4, tmp_path))
    found = adult().inspect(DataSource(0, 4, tmp_path))
    assert found.objection.startswith("5 records cannot")
    assert found.lines[0].endswith("5 rows, 5 used, 0 left out")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no data-path: give a folder with adult\.data and"):
        adult().load(DataSource())
    (write_folder(tmp_path) / TEST_FILE).unlink()
    with pytest.raises(DataError, match=r"adult\.test: there is no such file"):
        adult().load(DataSource(data_path=tmp_path))


def test_both_files_of_a_folder_are_checked(tmp_path):
    write_folder(tmp_path)
    write(tmp_path / TEST_FILE, [*lines(9), line(sex="?"), line(age="old")])
    found = check_data("adult", DataSource(data_path=tmp_path), is_private=False)
    assert found.lines[0].endswith("adult.data: 200 rows, 200 used, 0 left out")
    assert any(told.endswith("adult.test: 11 rows, 9 used, 2 left out") for told in found.lines)
    assert found.lines[-1].startswith("misfit: column age: 1 row, first in line 11: 'old'")
    assert found.objection.startswith("1 of 11 rows do not fit")
    found = check_data("adult", DataSource(data_path=tmp_path), is_private=True)
    assert (found.num_train, found.num_test, found.objection) == (200, 9, "")


@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_made_up_records_have_the_form_of_real_ones(tmp_path, model):
    write_folder(tmp_path)
    task = adult(model=Model(model))
    real, made_up = task.load(DataSource(data_path=tmp_path)).train, task.made_up(5)
    assert task.input_shape == real.inputs.shape[1:] == made_up.inputs.shape[1:]
    assert task.build_model()(torch.from_numpy(made_up.inputs)).shape == (5, 1)
    assert (made_up.inputs.dtype, made_up.targets.dtype) == (np.float32, np.int64)


def test_every_category_of_the_real_records_is_known(data_dir):
    data = adult().load(DataSource(data_path=data_dir / "adult"))
    assert (len(data.train), len(data.test)) == (32561, 16281)
    assert [int(part.targets.sum()) for part in (data.train, data.test)] == [7841, 3846]
    # And no category is there in vain: each is somebody's.
    inputs = np.concatenate([data.train.inputs, data.test.inputs])
    num_numeric = len(AdultConfig().numeric)
    assert inputs[:, num_numeric:].max(axis=0).tolist() == [1] * (NUM_FEATURES - num_numeric)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_four_nodes_learn_from_the_real_records(data_dir, tmp_path, model):
    """Always guessing the larger class is right for 0.764 of the test records."""
    run = {"task": "adult", "data-dir": str(data_dir / "adult"), "num-rounds": 3}
    run |= {"output-dir": str(tmp_path / "run"), "overrides": f"task.model={model}"}
    outcome = simulate(run, num_nodes=4)
    assert outcome.metrics["accuracy"] > 0.84
    # As a benchmark scores the model, on the whole test set at once.
    task, trained = load_model(tmp_path / "run" / "model.safetensors")
    test = task.load(DataSource(data_path=data_dir / "adult")).test
    with torch.inference_mode():
        logits = trained(torch.from_numpy(test.inputs)).squeeze(1).numpy()
    accuracy = float(((logits > 0) == test.targets).mean())
    assert accuracy == pytest.approx(outcome.metrics["accuracy"], abs=1e-6)
    order = np.argsort(logits)
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    ones = test.targets == 1
    num_ones, num_zeros = ones.sum(), (~ones).sum()
    area = (ranks[ones].sum() - num_ones * (num_ones + 1) / 2) / (num_ones * num_zeros)
    assert area > 0.89


def test_a_simulation_may_say_how_the_folder_is_dealt_out():
    overrides = "task.partition.scheme=dirichlet task.partition.alpha=1"
    config = load_config({"task": "adult", "overrides": overrides})
    assert config.task.partition.scheme is Scheme.dirichlet


def test_a_real_node_needs_its_data_path_only(tmp_path):
    node_config = {"data-path": str(write(tmp_path / "own", lines(9)))}
    settings = settings_of(node_config, load_config({"task": "adult"}), simulated=False)
    assert settings.source == DataSource(data_path=tmp_path / "own")
