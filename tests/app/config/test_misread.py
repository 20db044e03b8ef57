"""Names that YAML takes for something else are told with their line and the mend."""

import shutil
from pathlib import Path

import pytest

from app.config.load import ConfigError, load_config
from tests import ROOT

YAML = """\
defaults:
  - csv_schema
  - _self_
label: {{column: {label}, classes: [{classes}]}}
numeric:
  {key}: {{min: 0, max: 1}}
categorical:
  ward: {{categories: [{categories}], fill: {fill}}}
drop: [{drop}]
"""
PLAIN = {
    "label": "ill",
    "classes": "well, sick",
    "key": "age",
    "categories": "a, b",
    "fill": "a",
    "drop": "id",
}


@pytest.fixture
def load(tmp_path, monkeypatch):
    folder = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", folder)
    monkeypatch.setattr("app.config.load.CONF_DIR", folder)

    def load(overrides: str = "", **changes: str):
        file: Path = folder / "task" / "own.yaml"
        file.write_text(YAML.format(**PLAIN | changes))
        return load_config({"task": "own", "overrides": overrides}).task

    return load


MISREAD = [
    ("no", "the truth value False"),
    ("true", "the truth value True"),
    ("on", "the truth value True"),
    ("010", "the number 8"),
    ("12:30", "the number 750"),
    ("1e3", "the number 1000.0"),
    ("1_000", "the number 1000"),
    ("null", "nothing"),
    ("~", "nothing"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seen"), [*MISREAD, ("2020", "the number 2020")])
def test_a_column_that_yaml_misreads(load, name, seen):
    with pytest.raises(ConfigError) as caught:
        load(key=name)
    assert str(caught.value) == (
        f"conf/task/own.yaml, line 6: YAML reads {name} as {seen}; put a name that looks like"
        f' this in quotes: "{name}"'
    )
    assert list(load(key=f'"{name}"').numeric) == [name]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seen"), MISREAD)
@pytest.mark.parametrize(
    ("key", "line", "text"),
    [("categories", 8, "a, {}"), ("classes", 4, "{}, well"), ("drop", 9, "{}")],
)
def test_a_category_that_yaml_misreads(load, name, seen, key, line, text):
    with pytest.raises(ConfigError) as caught:
        load(**{key: text.format(name)})
    assert str(caught.value).startswith(
        f"conf/task/own.yaml, line {line}: YAML reads {name} as {seen};"
    )
    if name != "null":  # which stands for a missing value, and so for no category
        load(**{key: text.format(f'"{name}"')})


def test_names_that_stay_what_they_are_need_no_quotes(load):
    config = load(label="2020-01-02", classes="0, 1", categories="1.5, a, b, 2020-01-03, True")
    assert config.label.column == "2020-01-02"
    assert config.label.classes == ["0", "1"]
    assert config.categorical["ward"].categories == ["1.5", "a", "b", "2020-01-03", "True"]


def test_a_single_name_is_looked_at_too(load):
    with pytest.raises(ConfigError, match=r"line 4: YAML reads off as the truth value False"):
        load(label="off")


def test_what_an_override_puts_there_is_not_the_yamls(load):
    assert load("task.drop=[x,y]", drop="010, z").drop == ["x", "y"]


@pytest.mark.parametrize("text", ["", "seed: 3\n", "label: {column: ill}\n"])
def test_a_yaml_without_the_schema_of_a_task_says_what_it_lacks(tmp_path, monkeypatch, text):
    folder = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", folder)
    monkeypatch.setattr("app.config.load.CONF_DIR", folder)
    (folder / "task" / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"defaults: \[.*_schema, _self_\]"):
        load_config({"task": "own"})
