"""The report of any run folder is a small, whole page that shows no markup of others."""

import json
import time
from math import inf, nan

import pytest
import yaml

from app.cli.main import main
from app.results.html.gather import NoRunError, gather
from app.results.html.page import write_page
from app.results.summary import take_lock
from tests.kits.pages import check, page_in, round_line, write_run

EVIL = "<script>alert('&\"1')</script>"


def draw(folder, rounds, **values):
    write_run(folder, rounds, **values)
    write_page(folder)
    return page_in(folder)


def curves(num_columns, num_bins, scores=("log-odds of yes",), name="column {}"):
    """Return the report of a boosted model with curves that go up and down."""
    names = [name.format(number) for number in range(num_columns)]
    rows = [
        {
            "column": one,
            "bin": "missing" if place == num_bins else f"bin {place}",
            "from": None if place in (0, num_bins) else place / 7,
            "to": None if place >= num_bins - 1 else (place + 1) / 7,
            **{score: ((place * 37 + k) % 101) / 50 - 1 for k, score in enumerate(scores)},
        }
        for one in names
        for place in range(num_bins + 1)
    ]
    importance = [
        {"column": one, "mean absolute score": 1 / (number + 1)}
        for number, one in enumerate(names)
    ]
    return {"title": "curves", "rows": importance, "tables": {"curves": rows}}


def test_what_others_write_is_text_and_never_markup(tmp_path):
    classes = [EVIL, "b"]
    evaluation = {
        "title": "evaluation",
        "positive class": EVIL,
        "rows": [
            {"class": one, "records": 9.0, "recall": 0.5, "precision": 0.5}
            | {f"predicted {other}": 4.5 for other in classes}
            for one in classes
        ],
    }
    page = draw(
        tmp_path / f"r{EVIL.replace('/', '')}",
        [round_line(1, failures={"1234567890123456789": EVIL}, metrics={EVIL: 0.5})],
        report=curves(2, 4, scores=(EVIL,), name=EVIL + "{}"),
        evaluation=evaluation,
        config={"task": {"name": EVIL}},
        reason=EVIL,
        metrics={EVIL: 0.25},
    )
    assert "<script" not in page.html
    assert page.text.count(EVIL) >= 8
    assert page.figure(EVIL + "1").alt.startswith(f"Score by {EVIL}1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["日本語 {}", "$x^2_{}$ \\frac", "a\n\tb\x07 {}", "🙂 {}", "x" * 200 + "{}"]
)
def test_names_in_any_script_are_drawn_as_they_are(tmp_path, name):
    page = draw(tmp_path, [round_line(1)], report=curves(2, 4, name=name.replace("{}", "{0}")))
    shown = " ".join(name.replace("{}", "0").split())[:27]
    texts = page.figure(name.replace("{}", "0")).texts
    assert any(text.startswith(shown) for text in texts), texts


def test_a_plan_that_was_tampered_with_is_text_too(tmp_path):
    folder = write_run(tmp_path, [round_line(1)])
    words = {
        "rows": [["bad server", EVIL]],
        "adversaries": [[EVIL, "1"]],
        "not_promised": [EVIL],
    }
    (folder / "plan.json").write_text(json.dumps(words))
    write_page(folder)
    assert page_in(folder).text.count(EVIL) == 3


def test_nodes_go_by_pseudonyms_that_are_the_same_in_every_drawing(tmp_path):
    first, second = 9_876_543_210_123, 1000
    rounds = [
        round_line(1, failures={str(first): "no_answer"}),
        round_line(2, failures={str(second): "data_refused", str(first): "no_answer"}),
        round_line(4, failures={str(first): "no_answer"}),
    ]
    reason = f"left out: client {second}: data_refused; client 77: no_answer; {first}"
    page = draw(tmp_path, rounds, status="failed", reason=reason)
    rows = page.table("node", "reason").rows
    assert rows == [
        ["node 1", "no_answer", "3", "1-2, 4"],
        ["node 2", "data_refused", "1", "2"],
    ]
    assert "left out: node 2: data_refused; node 3: no_answer; node 1" in page.text
    assert str(first) not in page.html
    assert "1000" not in page.text.replace("1000 MB", "").split("Configuration")[0]
    before = page.html
    write_page(tmp_path)
    assert (tmp_path / "report.html").read_text() == before


def test_each_node_has_the_rounds_in_which_it_is_in_the_sum(tmp_path):
    one, two, three = 9_876_543_210_123, 1000, 77
    rounds = [
        round_line(1, took_part=[two, one], failures={str(three): "no_answer"}),
        # It failed after its contribution had come.
        round_line(2, took_part=[two, three], failures={str(two): "no_answer"}),
        round_line(3, took_part=[two]),
    ]
    page = draw(tmp_path, rounds)
    assert page.table("node", "rounds asked").rows == [
        ["node 1", "2", "1", "2"],
        ["node 2", "3", "3", "1-3"],
        ["node 3", "1", "1", "1"],
    ]
    assert str(one) not in page.html


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_numbers_that_are_none_are_told_and_not_drawn(tmp_path, number):
    rounds = [round_line(n, train_loss=number, metrics={"loss": number}) for n in (1, 2)]
    rounds[1]["metrics"]["accuracy"] = 0.5
    rounds[0]["privacy"] = {"epsilon": number}
    coefficients = [
        {"": "(Intercept)", "estimate": 1.0, "95 % from": 0.0, "95 % to": number},
        {"": "age", "estimate": number, "95 % from": 0.0, "95 % to": 1.0},
    ]
    page = draw(
        tmp_path,
        rounds,
        report={"title": "regression", "AIC": number, "rows": coefficients},
    )
    assert page.figures[0].title == "Accuracy"
    assert "Estimates" not in [one.title for one in page.figures]
    assert ("not a number" if number != number else "infinite") in page.text


def test_a_run_that_failed_before_its_first_round_has_a_report(tmp_path):
    page = draw(tmp_path, [], status="failed", reason="RunStoppedError: nobody came")
    assert "failed" in page.text
    assert "RunStoppedError: nobody came" in page.text
    assert "0 of 20 rounds" in page.text
    assert "No round has closed." in page.text
    assert page.figures == []


def test_one_round_is_drawn(tmp_path):
    page = draw(tmp_path, [round_line(1)], config={"num_rounds": 1})
    assert "1 of 1 round" in page.text
    assert page.figure("Participation").alt == (
        "Nodes by round: 5 asked, 5 in the sum, over 1 round"
    )


def test_a_thousand_rounds_are_a_small_page_in_seconds(tmp_path):
    spent = {"epsilon": 1.0, "epsilon_model_only": 0.5, "delta": 1e-5, "unit": "example"}
    failures = {str(10**12 + node): "no_answer" for node in range(40)}
    rounds = [
        round_line(n, privacy=spent | {"epsilon": n / 500}, failures=failures)
        for n in range(1, 1001)
    ]
    begun = time.process_time()
    page = draw(tmp_path, rounds, config={"num_rounds": 1000, "privacy": {"epsilon": 2.0}})
    assert time.process_time() - begun < 20
    assert len(page.html) < 300_000
    assert "epsilon 2" in page.text.lower()
    assert "0.001 at round 1,000" in page.figure("Loss").alt
    assert page.table("node", "which").rows[0][2:] == ["1,000", "1-1000"]


@pytest.mark.slow
def test_sixty_columns_of_many_bins_are_a_small_page(tmp_path):
    page = draw(tmp_path, [round_line(1)], report=curves(75, 256, ("a", "b", "c")))
    small = [one for one in page.figures if one.title.startswith("column ")]
    assert len(small) == 60
    assert "60 of 75 columns" in page.text
    # All on one scale.
    ticks = [[text for text in one.texts if text in ("-1", "0", "1")] for one in small]
    assert all(one == ticks[0] for one in ticks)


@pytest.mark.slow
def test_hundreds_of_classes_groups_and_columns_are_a_small_page(tmp_path):
    names = [f"class {number}" for number in range(300)]
    rows = [
        {"class": one, "records": 9.0, "recall": 0.5, "precision": 0.5}
        | dict.fromkeys((f"predicted {other}" for other in names), 1.2345)
        for one in names
    ]
    facts = {f"group={number}: median": number / 7 for number in range(3000)}
    page = draw(
        tmp_path,
        [round_line(1)],
        report=curves(60, 256, scores=names[:8]) | facts,
        evaluation={"title": "evaluation", "rows": rows},
        config={"task": {"name": "csv", "numeric": {f"c{n}" * 9: n for n in range(9000)}}},
    )
    assert "The first 150 of 300 rows; all are in evaluation.csv." in page.text
    assert "The first 40 of 304 columns; all are in evaluation.csv." in page.text
    assert "2,850 in report.json" in page.text
    assert "more in config.yaml" in page.text


def test_hidden_counts_of_a_confusion_matrix_stay_hidden(tmp_path):
    rows = [
        {"class": "a", "records": 12.0, "recall": 0.9, "precision": 1.0}
        | {"predicted a": None, "predicted b": None, "predicted c": 0.0},
        {"class": "b", "records": 12.0, "recall": 1.0, "precision": 1.0}
        | {"predicted a": 0.0, "predicted b": 12.0, "predicted c": 0.0},
        {"class": "c", "records": 12.0, "recall": 1.0, "precision": 1.0}
        | {"predicted a": 0.0, "predicted b": 0.0, "predicted c": 12.0},
    ]
    page = draw(tmp_path, [round_line(1)], evaluation={"title": "evaluation", "rows": rows})
    texts = page.figure("Confusion matrix").texts
    assert (texts.count("–"), texts.count("12")) == (2, 2)  # noqa: RUF001
    assert "hidden" in page.text


def test_a_run_that_goes_on_shows_no_result_of_its_end_before(tmp_path):
    folder = write_run(tmp_path, [round_line(1)], status="running", report=curves(2, 4))
    (folder / "model.safetensors").write_bytes(b"changes in each round")
    with take_lock(folder):
        write_page(folder)
    page = page_in(folder)
    assert page.sections[0] == "rounds"
    assert "running" in page.text
    assert "SHA-256 of model" not in page.text


def test_a_round_whose_checkpoint_is_missing_does_not_count(tmp_path):
    folder = write_run(tmp_path, [round_line(n) for n in (1, 2)], status="failed", num_rounds=1)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"round": 3, "seco')
    assert [one["round"] for one in gather(folder).rounds] == [1]


def test_a_history_of_an_earlier_version_is_drawn(tmp_path):
    line = round_line(1)
    for name in ("bytes_down", "bytes_up", "stage_seconds"):
        del line[name]
    page = draw(tmp_path, [line])
    assert [one.title for one in page.figures][-2:] == ["Participation", "Time by stage"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", None),
        ("config.yaml", "- a list"),
        ("config.yaml", "a: [1"),
        ("summary.json", None),
        ("summary.json", "{"),
        ("summary.json", '{"num_rounds": 3}'),
    ],
)
def test_a_folder_without_a_run_is_named(tmp_path, file, content):
    write_run(tmp_path, [round_line(1)])
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(NoRunError, match=file) as told:
        write_page(tmp_path)
    assert str(tmp_path) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "report",
    [
        {"title": "curves", "rows": [], "tables": {"curves": ["x"]}},
        {"title": "curves", "rows": "x"},
        {"title": "regression", "rows": [{"term": 10**400}]},
        {"title": "statistics", "tables": {"crosstab": 3}},
    ],
)
def test_a_damaged_result_is_named(tmp_path, report, capsys):
    write_run(tmp_path, [round_line(1)])
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(NoRunError, match="a file is damaged") as told:
        write_page(tmp_path)
    assert str(tmp_path) in str(told.value)
    assert "\n" not in str(told.value)
    assert main(["report", str(tmp_path)]) == 2
    assert "a file is damaged" in capsys.readouterr().err


def test_a_configuration_of_thousands_of_columns_is_a_small_page(tmp_path):
    numeric = {f"column{n}": {"min": 0, "max": 1, "fill": 0.5} for n in range(1000)}
    page = draw(tmp_path, [round_line(1)], config={"task": {"name": "csv", "numeric": numeric}})
    assert "column999" in page.text
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["task"]["numeric"] == numeric


def test_what_a_checker_of_pages_must_notice():
    """The tests' own eyes: each of these is refused."""
    good = "<table><tr><th scope='col'>a</th></tr><tbody><tr><td>1</td></tr></tbody></table>"
    check(good)
    figure = (
        "<figure><figcaption>t</figcaption><svg role='img' aria-label='{}'>{}</svg></figure>"
    )
    texts = "<text>a</text>" * 4
    check(figure.format("a long description", texts))
    for bad in (
        "<img src='a.png'>",
        "<a href='https://example.org'>x</a>",
        "<script>1</script>",
        "<style>p { background: url(a.png) }</style>",
        "<p><b></p>",
        good.replace(" scope='col'", ""),
        figure.format("short", texts),
        figure.format("a long description", "<text>a</text>"),
        "<p id='a'></p><p id='a'></p>",
    ):
        with pytest.raises((AssertionError, IndexError)):
            check(bad)
