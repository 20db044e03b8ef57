"""A file of ratings: who rated what, what does not fit and how it is mended."""

import numpy as np
import pytest

from app.cli.main import main
from tasks.base import DataSource
from tasks.ratings.raters import NOT_RATED, Raters, hold_out
from tasks.ratings.reading import read_file
from tasks.ratings.schema import RatingsConfig
from tasks.ratings.task import Ratings
from tasks.records import DataError
from tests.kits import raters as kit

HEADER = "userId,movieId,rating,timestamp"
KEYS = {"user": "userId", "item": "movieId"}


def config(**keys) -> RatingsConfig:
    return RatingsConfig(**{"num_items": 9, "min_rating": 0.5, "max_rating": 5} | KEYS | keys)


def write(folder, *rows, header=HEADER):
    path = folder / "ratings.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def load(path, *, private=False, **keys):
    task = Ratings(config(**{"test_fraction": 0.0} | keys), seed=1)
    task.is_private = private
    return task.load(DataSource(data_path=path))


def test_a_user_is_a_record_with_a_place_for_each_item(tmp_path):
    path = write(tmp_path, "7,1,0.5,99", "ann,9,5,98", "7,3,2.75,97", "", "7,1,5,96")
    rated = read_file(path, config())
    assert rated.users == {"7": {0: 5.0, 2: 2.75}, "ann": {8: 5.0}}
    assert (rated.num_rows, rated.num_again, rated.num_misfits) == (4, 1, 0)
    records = load(path).train.inputs
    due = np.full((2, 9), NOT_RATED)
    due[0, 0], due[0, 2], due[1, 8] = 1, 0, 1
    np.testing.assert_array_equal(records, due.astype(np.float32))


def test_a_byte_order_mark_and_other_ends_of_lines_change_nothing(tmp_path):
    path = write(tmp_path, "7,1,0.5,99", '"a, b",9,5,98')
    due = load(path).train.inputs
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    np.testing.assert_array_equal(load(path).train.inputs, due)


def test_items_may_be_a_list_of_names(tmp_path):
    path = write(tmp_path, '1,"Alien, 1979",4,0', "1,heat,0.5,0")
    found = load(path, num_items=0, items=["heat", "Alien, 1979", "matrix"])
    np.testing.assert_array_equal((found.train.inputs[0] != NOT_RATED), [True, True, False])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1,10,3,0", "line 3: column movieId: '10' is none of 1 to task.num_items=9; mend it"),
        ("1,x,3,0", "column movieId: 'x' is none of"),
        ("1,2,5.5,0", "rating: 5.5 is beyond task.min_rating=0.5 and task.max_rating=5; mend"),
        ("1,2,good,0", "column rating: 'good' is no finite number; write it like 3.5"),
        ("1,2,nan,0", "column rating: 'nan' is no finite number"),
        ("1,2,1e400,0", "column rating: '1e400' is no finite number"),
        # Python reads it as 4.
        ("1,2,0_4,0", "column rating: '0_4' is no finite number"),
        ('1,2,"3,5",0', "column rating: '3,5' is no finite number: write it like 1234.5"),
        ("1,01,3,0", "column movieId: '01' is none of"),
        (",2,3,0", "column userId: it is empty; say whose rating it is"),
        ("1,2,3", "line 3: 3 fields where the header has 4"),
        ('1,2,"3,0', "line 3: unexpected end of data; mend its quotes"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_line_and_mend(tmp_path, row, says):
    path = write(tmp_path, "1,1,3,0", row, "2,3,4,0")
    with pytest.raises(DataError) as error:
        load(path)
    assert says in str(error.value)
    # Where records are protected it is left out, and no other user's record changes.
    found = load(path, private=True).train.inputs
    without = load(write(tmp_path, "1,1,3,0", "2,3,4,0"), private=True).train.inputs
    np.testing.assert_array_equal(found, without)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("userId,film,rating,timestamp", "line 1: column movieId is missing; there are userId"),
        ("", "the file is empty"),
        ("userId,movieId,rating,rating", "line 1: column rating is there twice; rename or"),
        ('userId,movieId,rating,"timestamp', "line 1: unexpected end of data; mend its quotes"),
    ],
)
def test_a_file_without_its_columns_is_refused(tmp_path, header, says):
    path = write(tmp_path, header=header)
    with pytest.raises(DataError, match=says):
        load(path)
    with pytest.raises(DataError, match="nothing is there"):
        load(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"num_items": 0}, "task.items has 0 names and task.num_items=0: give one of them"),
        ({"items": ["a"]}, "task.items has 1 names and task.num_items=9: give one"),
        ({"num_items": 2**20 + 1}, "must be from 1 to 1048576"),
        ({"num_items": 0, "items": ["a", "a"]}, "'a' must be a name without blanks around it"),
        ({"num_items": 0, "items": ["a", " b"]}, "' b' must be a name"),
        ({"min_rating": 5}, "min_rating=5, task.max_rating=5: must be the bounds"),
        ({"max_rating": float("inf")}, "must be the bounds of a rating"),
        ({"user": "movieId"}, "must be three columns"),
        ({"rating": ""}, "task.rating='': must be the name of a column"),
        ({"delimiter": ""}, "task.delimiter=''"),
        ({"width": 0}, "task.width=0: must be at least 1"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys, says):
    with pytest.raises(ValueError, match=says):
        config(**keys)


def test_a_ratings_side_follows_from_user_and_item_and_nothing_else():
    found = kit.ratings(200)
    raters = Raters([f"u{number}" for number in range(200)], kit.examples(found).inputs)
    split = hold_out(raters, 0.25, 7)
    num_held_out = np.count_nonzero(split.test.targets != NOT_RATED)
    assert num_held_out / np.count_nonzero(~np.isnan(found)) == pytest.approx(0.25, abs=0.03)
    # Each rating is on one side, and what is foreseen from is what is trained on.
    assert not ((split.test.inputs != NOT_RATED) & (split.test.targets != NOT_RATED)).any()
    np.testing.assert_array_equal(split.train.inputs, split.train.targets)
    # Of fewer users and fewer ratings of one the others stay where they are.
    fewer = raters.records[50:].copy()
    fewer[0, :20] = NOT_RATED
    again = hold_out(Raters(raters.users[50:], fewer), 0.25, 7)
    rows = {row.tobytes() for row in split.test.targets}
    assert sum(row.tobytes() in rows for row in again.test.targets) >= 140
    assert hold_out(raters, 0.0, 7).test.inputs.shape == (0, kit.NUM_ITEMS)


def test_a_line_has_a_say_in_its_own_users_record_alone(tmp_path):
    """Under privacy: one user more, with lines among the others', leaves them bit for bit."""
    rows = ["1,1,3,0", "2,3,4,0", "1,4,1,0", "3,3,2,0"]
    before = load(write(tmp_path, *rows), private=True, test_fraction=0.4)
    mixed = [rows[0], '9,"2,3,0', "9,1,3,0", rows[1], "9,99,3,0", *rows[2:], "9,3,1,0"]
    after = load(write(tmp_path, *mixed), private=True, test_fraction=0.4)
    for part in ("train", "test"):
        own = {row.tobytes() for row in getattr(after, part).inputs}
        assert {row.tobytes() for row in getattr(before, part).inputs} <= own


def test_an_inspection_tells_all_that_does_not_fit(tmp_path, own_conf, capsys):
    (own_conf / "task" / "films.yaml").write_text(kit.YAML)
    rows = [*(f"1,{item},3" for item in range(1, 9)), *["1,41,3"] * 25, "2,1,9"]
    path = write(tmp_path, *rows, header="user,item,rating")
    assert main(["data", "check", str(path), "--task", "films"]) == 1
    said = capsys.readouterr().out
    assert "34 ratings, 8 used, 26 left out" in said
    assert "line 10: column item: '41' is none of 1 to task.num_items=40" in said
    assert "and 6 more" in said
    good = kit.write(tmp_path / "good.csv", kit.ratings(20))
    assert main(["data", "check", str(good), "--task", "films"]) == 0
    assert "users: 20" in capsys.readouterr().out
