"""The commands and the code of docs/tables.md, as they stand there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from app.cli.main import main
from app.export.export import FORMATS
from app.results.model_file import load_model
from tests import ROOT
from tests.app.export.test_command import run
from workloads.histograms.ebm import Ebm

PAGE = (ROOT / "docs" / "tables.md").read_text()


def block(language: str) -> str:
    section = PAGE.split("## Take the model elsewhere", 1)[1].split("\n## ", 1)[0]
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return found


@pytest.mark.slow
def test_the_page_works(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "my-run", "ebm")
    written = []
    for line in block("bash").splitlines():
        command, *words = (str(Path(word).expanduser()) for word in shlex.split(line))
        assert (command, main(words)) == ("tacet", 0), capsys.readouterr().err
        written.append(words[words.index("--format") + 1])
    assert sorted(written) == sorted(n for n, one in FORMATS.items() if one.serves(Ebm))

    _, model = load_model(tmp_path / "my-run" / "model.safetensors")
    found = {"rows": model.workload.table.made_up(100)}
    exec(block("python"), found)
    due = model.predict(found["rows"])
    np.testing.assert_allclose(found["by_lightgbm"], due[:, 1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(found["probabilities"], due, rtol=0, atol=2e-7)
    names = np.array(model.workload.table.classes)
    assert found["label"].tolist() == names[due.argmax(axis=1)].tolist()
    # What the page says of rounding is what these tests hold.
    assert "at most 1e-14 with LightGBM and 2e-7 with" in PAGE
