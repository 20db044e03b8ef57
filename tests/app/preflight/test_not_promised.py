"""What the report says is not promised is what the pages say."""

import json

import pytest

from app.config.load import load_config
from app.preflight.not_promised import not_promised
from app.preflight.plan_file import plan_text
from app.preflight.plan_words import NO_GUARANTEE
from tests import ROOT

PAGE = " ".join((ROOT / "docs" / "secure-aggregation.md").read_text().replace("*", "").split())
PRIVATE = (
    "privacy=client_distributed aggregation.min_survivors=4 privacy.epsilon=1"
    " privacy.delta=1e-3 privacy.population=6"
)


@pytest.mark.parametrize(
    ("run_config", "has"),
    [
        ({}, "sums reveal nothing"),
        ({}, "poisoned updates"),
        ({"aggregation": "plain"}, "sums reveal nothing"),
        ({"overrides": PRIVATE}, "poisoned updates"),
    ],
)
def test_each_sentence_is_one_of_the_page(run_config, has):
    found = not_promised(load_config(run_config))
    assert any(has in words for words in found)
    for words in found:
        assert words.removesuffix(".") in PAGE


def test_what_privacy_and_masks_give_is_not_said_to_be_missing():
    assert not any(
        "sums reveal" in one for one in not_promised(load_config({"overrides": PRIVATE}))
    )
    plain = not_promised(load_config({"aggregation": "plain"}))
    assert not any("poisoned" in one or "cohort" in one for one in plain)


def test_the_file_has_the_words_of_the_command():
    words = json.loads(plan_text(load_config({})))
    rows = dict(words["rows"])
    assert rows["guarantee"] == NO_GUARANTEE
    assert "can open single inputs" in rows["bad server"]
    assert words["adversaries"] == []
    assert len(words["not_promised"]) == 5
