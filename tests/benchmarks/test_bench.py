"""``benchmarks.bench`` reads ratios from what other benchmarks write, and fails by them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bench, simulated_round
from benchmarks.secagg import CLASSICAL


def case(system, client, server):
    sizes = {"clients": 20, "parameters": 100_000, "dropouts": 2}
    measured = {"client": client, "server": server, "opening": server / 10}
    floors = {"client_floor": 1.0, "server_floor": 2.0}
    return {"system": system, "case": sizes, "measured": measured, **floors}


WRITTEN = {
    "benchmarks.secagg": {"rows": [case(bench.CLASSICAL, 7, 20), case(bench.SIGNED, 20, 40)]},
    "benchmarks.simulated_round": {"rows": [{"nodes": 10, "times_flower": 1.5}]},
}


@pytest.fixture
def written(monkeypatch):
    """Let each benchmark write these figures; None: it writes none."""
    found = json.loads(json.dumps(WRITTEN))

    def run(command, **options):
        figures = found[command[2]]
        assert command[:2] == [sys.executable, "-m"]
        if figures is not None:
            Path(command[-1]).write_text(json.dumps(figures))

    monkeypatch.setattr(subprocess, "run", run)
    return found


def test_ratios_are_told_and_written(written, tmp_path, capsys):
    file = tmp_path / "bench.json"
    assert bench.main(["--small", "--json", str(file)]) == 0
    ratios = json.loads(file.read_text())["ratios"]
    assert [one["value"] for one in ratios] == [7, 10, 20, 20, 1.5]
    lines = capsys.readouterr().out.splitlines()[2:7]
    assert [line.split()[-3:] for line in lines] == [
        [f"{one['value']:.3g}", f"{one['most']:g}", "PASS"] for one in ratios
    ]


def test_a_ratio_above_its_limit_fails(written, capsys):
    written["benchmarks.simulated_round"]["rows"][0]["times_flower"] = 3.0
    assert bench.main(["--small"]) == 1
    assert capsys.readouterr().out.count("FAIL") == 1


def test_a_benchmark_that_writes_nothing_fails_and_the_others_are_told(written, capsys):
    written["benchmarks.secagg"] = None
    assert bench.main(["--small"]) == 1
    told = capsys.readouterr().out
    assert "benchmarks.secagg --cases 20,100000,2 --repeats 3 wrote no figures" in told
    assert "round of 10 nodes" in told


def whole(module, option=""):
    (part,) = [p for p in bench.WHOLE if p.module == module and option in ("", *p.options)]
    return lambda figures: [one.value for one in part.ratios(figures)]


def test_the_whole_reads_what_the_benchmarks_write():
    ours, flower = case(bench.CLASSICAL, 1, 1), case("flower", 50, 100)
    assert whole("secagg", "--against")({"rows": [ours, flower]}) == [0.02, 0.01]
    rows = [
        {
            "system": system,
            "clients": n,
            "times_flower": times,
            "times_flower_cpu": 2 * times,
        }
        for n in (50, 100)
        for system, times in (("plain", 3.0), ("secagg", 0.8), ("hybrid", 0.9))
    ]
    assert whole("round_trip", "--clients")({"rows": rows}) == [0.8, 0.9, 1.6, 1.8]
    assert whole("round_trip", "--deployment")({"rows": rows[:2]}) == [0.8]
    own = {"parameters": 25_000_000, "clients": 4, "own_by_training": 0.5}
    assert whole("large_model")(own) == [0.5]


def test_the_whole_reads_dropouts_memory_and_bytes():
    rows = [case(bench.ENCRYPTED, 1, 2.0), case(bench.ENCRYPTED, 1, 1.5), case(CLASSICAL, 1, 6)]
    rows[0]["case"] = rows[0]["case"] | {"dropouts": 0}
    ratios = whole("secagg", "homomorphic")({"rows": rows})
    assert ratios == pytest.approx([0.2, 1.5, 0.15, 0.75, 6])
    peaks = {"peaks": [{"case": rows[1]["case"], "server": 2.5}]}
    assert whole("secagg", "--peaks")(peaks) == [2.5]
    sent = {"32 bits": (4.0, 97.0), "4 bits": (1.0, 96.9), "4 bits, 70 % kept": (0.7, 96.0)}
    figures = {
        "rows": [
            {"name": name, "bytes_each": size, "accuracies": [right - 1, right + 1]}
            for name, (size, right) in sent.items()
        ],
        "peers": {"Flower's SecAgg+": 8.0},
    }
    assert whole("compression")(figures) == pytest.approx([0.125, 0.1, 0.0875, 1.0])


def test_rounds_in_one_process_are_measured_for_both():
    for measure in (simulated_round.measure_flower, simulated_round.measure_many):
        seconds = measure(3, 2)
        assert len(seconds) == 2
        assert min(seconds) > 0
