"""Mistakes in a run config: what is said of them, and how it is mended."""

import pytest

from app.config.load import ConfigError, load_config
from app.config.pairs import parse_pairs


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("deterministic=True", "write deterministic=true, in small letters"),
        ("num-rounds=3 num-rounds=5", "num-rounds is given twice; take one of them out"),
        ("num-rounds=3,5", "num-rounds=3,5: several values, and a run takes one"),
        ("num-rounds=5,", "num-rounds=5,: pairs are separated by spaces, not by commas"),
        ('task="heart", num-rounds=5', "pairs are separated by spaces, not by commas"),
        ("task=heart", 'task=heart: text stands in double quotes: task="heart"'),
        ('task="heart', 'task="heart: the closing quote is missing'),
        ("num-rounds 5", "'num-rounds' is no key=value pair; give e.g."),
        ("num-rounds=5 seed", "'seed' is no key=value pair"),
        ("run.toml", "No such file or directory: 'run.toml'"),
    ],
)
def test_a_pair_that_is_wrong_is_named_with_its_mend(text, says):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as told:
        parse_pairs(text)
    assert says in str(told.value)


def test_pairs_that_are_right_are_read():
    text = """task="heart" num-rounds=5 deterministic=true overrides='task.x="a b" y=1'"""
    assert parse_pairs(text) == {
        "task": "heart",
        "num-rounds": 5,
        "deterministic": True,
        "overrides": 'task.x="a b" y=1',
    }
    assert parse_pairs("") == {}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("task.drop=[id, name]", "'task.drop=[id,' opens a bracket and does not close it"),
        ("task.drop=[id, name]", "write a list or a mapping without spaces: key=[one,two]"),
        ("task.label={column: ill}", "'task.label={column:' opens a bracket"),
        (
            "rounds.min_replies=3,rounds.min_clients=3",
            "overrides are separated by spaces, not by commas",
        ),
        (
            "task.training.learning_rate=0.1,0.2",
            "'task.training.learning_rate=0.1,0.2': several values, and a run takes one; start"
            " a run for each, or write a list in brackets",
        ),
        ("task.training.learning_rate=choice(0.1,0.2)", "several values"),
        ("task.delimiter=;", "'task.delimiter=;': ';' cannot be read; text with other"),
        ("task.delimiter=;", "stands in the YAML of its option (conf/task/)"),
        ("rounds.min_replies=3=4", "'3=4' cannot be read"),
    ],
)
def test_an_override_that_is_wrong_is_named_with_its_mend(overrides, says):
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as told:
        load_config({"task": "csv", "overrides": overrides})
    assert says in str(told.value)
    assert "hydra" not in str(told.value).lower()
    assert "Exception" not in str(told.value)


@pytest.mark.parametrize(
    ("word", "delimiter"),
    [
        ("task.delimiter=\"';'\"", ";"),
        ('task.delimiter="\\";\\""', ";"),
        ("task.delimiter=:", ":"),
    ],
)
def test_text_in_two_pairs_of_quotes_is_read(word, delimiter):
    config = load_config({"task": "csv_breast_cancer", "overrides": word})
    assert config.task.delimiter == delimiter
