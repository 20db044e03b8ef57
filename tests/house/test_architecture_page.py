"""``docs/architecture.md`` says what the code and its import contracts say."""

import re
import tomllib

import pytest

from strategies.refusals import Reason
from tests import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS = {
    one["containers"][0]: one["layers"] for one in LINTER["contracts"] if "containers" in one
}


def listed() -> dict[str, list[list[str]]]:
    """Return the names in each line of the layout, by package."""
    layout = PAGE.split("points down this list", 1)[1].split("```", 2)[1]
    found: dict[str, list[list[str]]] = {}
    for line in layout.splitlines():
        if package := re.match(r"(\w+)/", line):
            found[package[1]] = []
        elif names := re.match(r"  ((?:\w+(?:/|\.py),? )+) ", line):
            found[[*found][-1]].append(re.findall(r"\w+(?=/|\.py)", names[1]))
    return found


def test_the_packages_stand_in_the_order_of_their_contract():
    assert [*listed()] == LINTER["root_packages"]


@pytest.mark.parametrize("package", ["app", "strategies", "privacy"])
def test_a_package_lists_all_that_its_contract_lists(package):
    in_contract = {name for layer in LAYERS[package] for name in layer.split(" | ")}
    assert {name for names in listed()[package] for name in names} == in_contract


@pytest.mark.parametrize("package", ["app", "strategies", "tasks", "privacy"])
def test_the_layout_goes_down_the_layers(package):
    depth = {
        name: number
        for number, layer in enumerate(LAYERS[package])
        for name in layer.split(" | ")
    }
    depths = [depth[name] for names in listed()[package] for name in names if name in depth]
    assert depths == sorted(depths)


def test_the_table_of_reasons_is_the_enumeration():
    rows = re.findall(r"^\| `(\w+)(?:\.\.\.)?` \| (client|server) \|", PAGE, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted([*Reason, "secagg_"])
