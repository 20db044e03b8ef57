"""Heart: reading four hospitals' files, FLamby's features and split, and both scalings."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from tasks.base import DataSource
from tasks.heart import HOSPITALS, Heart, HeartConfig, Preprocessing, _read
from tasks.heart_split import flamby_split
from tasks.records import DataError, Examples
from tasks.schema import PartitionConfig, Scheme

# A complete record; the three columns that are dropped may be missing.
RECORD = {
    **{"age": 55, "sex": 1, "cp": 4, "trestbps": 135, "chol": 250, "fbs": 0, "restecg": 0},
    **{
        "thalach": 130,
        "exang": 1,
        "oldpeak": 2,
        "slope": "?",
        "ca": "?",
        "thal": "?",
        "num": 0,
    },
}


def line(**values: object) -> str:
    return ",".join(str(value) for value in (RECORD | values).values())


def write_hospital(directory: Path, name: str, lines: list[str]) -> None:
    (directory / f"processed.{name}.data").write_text("\n".join(lines) + "\n")


def write_all(directory: Path, sizes: tuple[int, ...] = (30, 20, 12, 16)) -> Path:
    """Write four files in which every age is unique, so that records can be told apart."""
    age = 31.0  # half years, so that none is clipped at 80
    for name, size in zip(HOSPITALS, sizes, strict=True):
        lines = [
            line(age=age + i / 2, num=i % 3, cp=1 + i % 4, restecg=i % 3) for i in range(size)
        ]
        write_hospital(directory, name, lines)
        age += size / 2
    return directory


def heart(preprocessing: str = "flamby", scheme: str = "natural", seed: int = 0) -> Heart:
    partition = PartitionConfig(scheme=Scheme(scheme), min_examples=5)
    config = HeartConfig(partition=partition, preprocessing=Preprocessing(preprocessing))
    return Heart(config, seed)


def both(task: Heart, partition_id: int, path: Path) -> Examples:
    data = task.load(DataSource(partition_id, 4, path))
    return Examples(
        np.concatenate([data.train.inputs, data.test.inputs]),
        np.concatenate([data.train.targets, data.test.targets]),
    )


def scaled(tmp_path: Path, **values: object) -> np.ndarray:
    """Return the public_bounds features of a record with these values."""
    write_all(tmp_path)
    write_hospital(tmp_path, "cleveland", [line(**values)] * 4)
    return both(heart("public_bounds"), 0, tmp_path).inputs[0]


def test_client_k_is_hospital_k(tmp_path):
    write_all(tmp_path)
    for partition_id, size in enumerate((30, 20, 12, 16)):
        assert len(both(heart(), partition_id, tmp_path)) == size


def test_natural_reads_its_own_file_only(tmp_path):
    write_hospital(tmp_path, "va", [line(num=i % 2) for i in range(10)])
    assert len(both(heart(), 3, tmp_path)) == 10
    with pytest.raises(DataError, match=r"processed\.cleveland\.data: there is no such file"):
        heart().load(DataSource(0, 4, tmp_path))


def test_features_by_public_bounds(tmp_path):
    values = scaled(
        tmp_path,
        **{"age": 80, "sex": 0, "cp": 3, "trestbps": 135, "chol": 400, "fbs": 1, "restecg": 2},
        **{"thalach": 60, "exang": 0, "oldpeak": 4},
    )
    # age sex thalach exang oldpeak, then cp 2 3 4, then whether cholesterol is unknown
    assert values.tolist() == [1, -1, -1, -1, 1, 0, 1, 0, 0]


def test_features_are_in_flambys_order(tmp_path):
    records = [line(age=30 + i, chol=200 + i, restecg=i % 3, num=i % 2) for i in range(12)]
    write_hospital(tmp_path, "cleveland", records)
    inputs = both(heart(), 0, tmp_path).inputs
    # age sex trestbps chol fbs thalach exang oldpeak, then cp 2 3 4, then restecg 1 2
    assert np.flatnonzero(np.ptp(inputs, axis=0)).tolist() == [0, 3, 11, 12]


def test_the_first_level_has_no_column(tmp_path):
    assert scaled(tmp_path, cp=1)[5:8].tolist() == [0] * 3


def test_bounds_clip(tmp_path):
    values = scaled(tmp_path, age=120, thalach=20, oldpeak=-3)
    assert values[[0, 2, 4]].tolist() == [1, -1, -1]


def test_zero_cholesterol_counts_as_unknown(tmp_path):
    assert scaled(tmp_path, chol=0)[8] == 1


def record_among(directory: Path, preprocessing: str, others_age: int) -> np.ndarray:
    """Return the features of the one diseased record; all others have this age."""
    path = directory / f"{preprocessing}{others_age}"
    path.mkdir()
    write_hospital(path, "cleveland", [line(num=1), *[line(age=others_age)] * 9])
    examples = both(heart(preprocessing), 0, path)
    return examples.inputs[examples.targets == 1][0]


def test_only_flamby_scaling_depends_on_other_records(tmp_path):
    for preprocessing, same in (("public_bounds", True), ("flamby", False)):
        first, second = (record_among(tmp_path, preprocessing, age) for age in (40, 70))
        assert np.array_equal(first, second) is same


def test_flamby_standardises_by_the_training_part(tmp_path):
    data = heart().load(DataSource(0, 4, write_all(tmp_path)))
    train = data.train.inputs.astype(np.float64)
    assert np.allclose(train.mean(axis=0), 0, atol=1e-5)
    deviation = train.std(axis=0, ddof=1)
    # Ages vary; sex is the same for all, and dividing by its deviation of 0 would give NaN.
    assert deviation[:2] == pytest.approx([1, 0], abs=1e-5)
    assert not np.allclose(data.test.inputs[:, 0].mean(), 0, atol=1e-3)


@pytest.mark.parametrize("preprocessing", ["flamby", "public_bounds"])
def test_the_split_is_the_same_whatever_the_seed(tmp_path, preprocessing):
    write_all(tmp_path)
    first, second = (
        heart(preprocessing, seed=seed).load(DataSource(0, 4, tmp_path)) for seed in (0, 1)
    )
    assert len(first.train) > len(first.test) > 0
    assert np.array_equal(first.train.inputs, second.train.inputs)
    # File order: ages were written in ascending order.
    assert (np.diff(first.train.inputs[:, 0]) >= 0).all()


def counted(examples: Examples) -> Counter[bytes]:
    rows = zip(examples.inputs, examples.targets, strict=True)
    return Counter(row.tobytes() + target.tobytes() for row, target in rows)


def test_one_record_more_moves_no_other_to_another_side(tmp_path):
    write_all(tmp_path)
    records = _read(tmp_path / "processed.cleveland.data")
    whole = flamby_split(records)
    for left_out in range(len(records)):
        # Another one in its place, and it twice.
        for others in ([left_out - 1], [left_out, left_out]):
            order = [*others, *(i for i in range(len(records)) if i != left_out)]
            split = flamby_split(records.take(np.array(order)))
            changes = [
                counted(one) - counted(other)
                for side in ("train", "test")
                for a, b in [(getattr(whole, side), getattr(split, side))]
                for one, other in ((a, b), (b, a))
            ]
            # One record less, or one more, or both: and nothing else anywhere.
            assert sum(change.total() for change in changes) <= 2


def test_about_a_third_is_held_out():
    # Fixed records, so it fails always or never; 5 standard deviations.
    inputs = np.arange(5000, dtype=np.float32)[:, np.newaxis]
    test = flamby_split(Examples(inputs, np.zeros(5000, np.int64))).test
    assert abs(len(test) - 1700) < 5 * np.sqrt(5000 * 0.34 * 0.66)


def test_of_equal_records_one_is_held_out():
    inputs = np.repeat(np.arange(50, dtype=np.float32), 3)[:, np.newaxis]
    data = flamby_split(Examples(inputs, np.zeros(150, np.int64)))
    held_out = set(data.test.inputs[:, 0])
    assert 5 < len(data.test) == len(held_out) < 30
    assert Counter(data.train.inputs[:, 0]) == {
        value: 2 if value in held_out else 3 for value in range(50)
    }


def test_any_degree_of_disease_is_one(tmp_path):
    write_all(tmp_path)
    write_hospital(tmp_path, "va", [line(num=i % 5) for i in range(20)])
    assert np.bincount(both(heart(), 3, tmp_path).targets).tolist() == [4, 16]


def test_incomplete_records_are_dropped(tmp_path):
    write_all(tmp_path)
    complete = [line(num=i % 2) for i in range(10)]
    lines = [*complete, line(chol="?"), line(num="?"), line(ca="unread")]
    write_hospital(tmp_path, "va", [*lines, ""])
    assert len(both(heart(), 3, tmp_path)) == 11


@pytest.mark.parametrize("preprocessing", ["flamby", "public_bounds"])
def test_other_schemes_pool_all_hospitals(tmp_path, preprocessing):
    write_all(tmp_path)
    task = heart(preprocessing, scheme="iid")
    task.check_population(3)
    sizes = []
    for partition_id in range(3):
        data = task.load(DataSource(partition_id, 3, tmp_path))
        sizes.append(len(data.train) + len(data.test))
        assert 0 < len(data.test) < len(data.train)
        if preprocessing == "flamby":
            assert np.allclose(data.train.inputs.mean(axis=0), 0, atol=1e-5)
    assert sizes == [26, 26, 26]


@pytest.mark.parametrize("preprocessing", ["flamby", "public_bounds"])
def test_a_node_may_have_no_record_to_train_on(tmp_path, preprocessing):
    write_all(tmp_path)
    task = heart(preprocessing, scheme="iid")
    task.config.test_fraction = 1 - 1e-12
    data = task.load(DataSource(0, 3, tmp_path))
    assert (len(data.train), len(data.test)) == (0, 26)
    assert np.isfinite(data.test.inputs).all()


@pytest.mark.parametrize("num_nodes", [1, 3, 5])
def test_natural_takes_four_nodes(tmp_path, num_nodes):
    heart().check_population(4)
    with pytest.raises(DataError, match=rf"{num_nodes} nodes; .*'num-supernodes=4' or .*=iid"):
        heart().check_population(num_nodes)
    with pytest.raises(DataError, match=f"{num_nodes} nodes"):
        heart().load(DataSource(0, num_nodes, write_all(tmp_path)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line() + ",9", r"line 2: 15 columns; there must be 14"),
        ("1,2,3", r"line 2: 3 columns"),
        (line(chol="12O"), r"line 2, column 5 \(chol\): '12O' is no number"),
        (line(age=""), r"line 2, column 1 \(age\): '' is no number"),
        (line(age="nan"), r"line 2, column 1 \(age\): 'nan' is no number"),
        (line(chol="2_10"), r"line 2, column 5 \(chol\): '2_10' is no number"),
        (line(oldpeak="-1e300"), r"line 2, column 10 \(oldpeak\): '-1e300' is no measurement"),
        (line(cp=5), r"line 2, column 3 \(cp\): '5' is none of the codes \(1, 2, 3, 4\)"),
        (line(num=-9), r"line 2, column 14 \(num\): '-9' is none of the codes"),
    ],
)
def test_malformed_lines_are_named(tmp_path, bad, message):
    write_all(tmp_path)
    write_hospital(tmp_path, "va", [line(), bad, line()])
    with pytest.raises(DataError, match=r"processed\.va\.data, " + message):
        heart().load(DataSource(3, 4, tmp_path))


def test_in_a_private_run_a_line_that_does_not_fit_is_left_out(tmp_path, logged):
    write_all(tmp_path)
    good = [line(num=i % 2, age=40 + i) for i in range(12)]
    bad = ['"' + line(), line(chol="12O"), line(cp=5), "1,2,3", line(age=b"\xe9")]
    write_hospital(tmp_path, "va", [*good[:6], *bad, *good[6:]])
    file = tmp_path / "processed.va.data"
    file.write_bytes(file.read_bytes() + b"\xff\n\0\n")
    task = heart("public_bounds")
    task.is_private = True
    assert len(both(task, 3, tmp_path)) == 12
    (record,) = logged
    assert record.levelname == "WARNING"
    assert "7 lines do not fit, the first: " in record.getMessage()
    assert f"{file}, line 7: unexpected end of data" in record.getMessage()
    # A refusal would tell that no record is complete.
    write_hospital(tmp_path, "switzerland", [line(age="?"), "x"])
    assert both(task, 2, tmp_path).inputs.shape == (0, 9)


@pytest.mark.parametrize("is_private", [False, True])
def test_a_byte_order_mark_is_no_part_of_the_first_age(tmp_path, is_private):
    write_all(tmp_path)
    file = tmp_path / "processed.va.data"
    before = both(heart("public_bounds"), 3, tmp_path)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    task = heart("public_bounds")
    task.is_private = is_private
    assert counted(both(task, 3, tmp_path)) == counted(before)


def test_a_file_that_was_replaced_is_read_again(tmp_path):
    write_all(tmp_path)
    assert len(both(heart(), 3, tmp_path)) == 16
    write_hospital(tmp_path, "va", [line(num=i % 2, age=40 + i) for i in range(10)])
    assert len(both(heart(), 3, tmp_path)) == 10


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfe", "byte 0xff is not UTF-8"),
        (f"{line()}\n{line(age='?')}".encode(), "1 of 2 records are comp"),
    ],
)
def test_unusable_files_are_named(tmp_path, data, message):
    (tmp_path / "processed.va.data").write_bytes(data)
    with pytest.raises(DataError, match=rf"processed\.va\.data.*: .*{message}"):
        heart().load(DataSource(3, 4, tmp_path))


def test_no_data_path_is_refused():
    with pytest.raises(DataError, match=r"no data-path: give a directory with processed\.clev"):
        heart().load(DataSource(0, 4))


def test_real_records_are_flambys(data_dir):
    parts = [heart().load(DataSource(k, 4, data_dir / "heart")) for k in range(4)]
    assert [len(part.train) for part in parts] == [199, 172, 30, 85]
    assert [len(part.test) for part in parts] == [104, 89, 16, 45]
    assert sum(len(part.train) + len(part.test) for part in parts) == 740
    assert {part.train.inputs.shape[1] for part in parts} == {13}


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_the_split_of_the_real_records_is_flambys(data_dir, hospital):
    """FLamby's own recipe: by class, a third, seed 43."""
    records = _read(data_dir / "heart" / f"processed.{hospital}.data")
    keys = {"test_size": 1 - 0.66, "train_size": 0.66, "random_state": 43, "shuffle": True}
    is_rare = (np.bincount(records.targets) <= 2).any()
    indices = train_test_split(
        np.arange(len(records)), stratify=None if is_rare else records.targets, **keys
    )
    data = flamby_split(records)
    for part, expected in zip((data.train, data.test), indices, strict=True):
        assert counted(part) == counted(records.take(expected))


def test_real_hospitals_have_all_public_codes_between_them(data_dir):
    # FLamby takes its one-hot levels from the records; ours are constants, so they must agree.
    raw = np.concatenate([_read(file).inputs for file in (data_dir / "heart").glob("*.data")])
    assert raw[:, 8:].max(axis=0).tolist() == [1] * 5
    assert (raw[:, 8:11].sum(axis=1) == 0).any()
    assert (raw[:, 11:].sum(axis=1) == 0).any()
    inputs = [both(heart("public_bounds"), k, data_dir / "heart").inputs for k in range(4)]
    assert np.abs(np.concatenate(inputs)).max() == 1
    assert [part[:, 8].mean() for part in inputs] == pytest.approx([0, 0, 1, 0], abs=0.4)
