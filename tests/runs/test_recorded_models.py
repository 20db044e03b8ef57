"""Every option that kept its meaning still gives the model that it gave, bit for bit."""

import json

import pytest

from tests.kits.recorded_models import CASES, FILE, arithmetic, model_hash

RECORDED = json.loads(FILE.read_text())


def test_every_case_is_recorded():
    assert RECORDED["models"].keys() == CASES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_model_is_as_it_was(name):
    if arithmetic() != RECORDED["arithmetic"]:
        pytest.skip("recorded on a machine whose libraries round otherwise")
    assert model_hash(CASES[name]) == RECORDED["models"][name]
