"""Mistakes in a run config: what is said of them, and how it is mended."""

import pytest
from flwr.app import Context, RecordDict

import app.server
from app.config.load import ConfigError, load_config, load_given
from app.config.pairs import as_pairs, parse_pairs
from app.config.words import join_words, replaced, split_words
from app.simulation.in_process import InProcessGrid


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


_TWICE = {"overrides": "rounds.min_replies=3 rounds.min_clients=4 rounds.min_replies=2"}


def test_an_override_that_is_given_twice_is_named_with_both_values():
    told = "overrides: rounds.min_replies is given twice, as 3 and as 2; take one"
    with pytest.raises(ConfigError, match=told):
        load_given(_TWICE)
    # Of what code adds, the last wins.
    assert load_config(_TWICE).rounds.min_replies == 2


def test_a_run_refuses_it_too():
    context = Context(1, 1, {}, RecordDict(), dict(_TWICE))
    with pytest.raises(ConfigError, match="given twice"):
        app.server.main(InProcessGrid({}), context)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["task.hidden=[64,32]", "privacy.epsilon=1"],
        ["task.delimiter=';'"],
        ['task.delimiter="\\t"', "task.x='a b'"],
        ["task.x='ö\U0001f600'"],
    ],
)
def test_words_that_are_joined_and_written_are_read_again(words):
    text = as_pairs({"num-rounds": 60, "deterministic": True, "overrides": join_words(words)})
    # So that it can stand in a shell's.
    assert "'" not in text
    found = parse_pairs(text)
    assert (found["num-rounds"], found["deterministic"]) == (60, True)
    assert split_words(found["overrides"]) == words


def test_a_value_takes_the_place_of_all_that_a_key_has():
    given = {"num-rounds": 3, "overrides": "a.b=1 a.c=[1,2] a.b=2"}
    assert replaced(given, {"num-rounds": "60", "a.b": "4"}) == {
        "num-rounds": 60,
        "overrides": "a.c=[1,2] a.b=4",
    }
