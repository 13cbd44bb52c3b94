"""The benchmarks run, count what they should, and are not to be deceived."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.bars import Bar
from benchmarks.contenders import RAW, Contender
from benchmarks.results import Failure, Results, Sample, Series
from benchmarks.runner import Runner
from benchmarks.workloads.uploads import RawUpload
from benchmarks.workloads.workload import Plan

if TYPE_CHECKING:
    from pathlib import Path

LIAR = """
from http.server import HTTPServer
from benchmarks.servers import blocking_socket
from benchmarks.servers.store import FILES, Incoming

class Forgetful(Incoming):
    def keep(self, name, media_type):
        file = super().keep(name, media_type)
        (FILES / file["id"]).write_bytes(bytes(file["size"]))
        return file

blocking_socket.Handler.incoming = Forgetful
server = HTTPServer(("127.0.0.1", 0), blocking_socket.Handler)
print("serving on http://127.0.0.1:" + str(server.server_port), flush=True)
server.serve_forever()
"""


def test_a_run_gives_tables_and_every_sample(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--rounds=2", "--size=1MiB"]
    choice = ["--workload=raw-upload", "--workload=download", "--contender=blocking-socket"]
    places = [f"--data={tmp_path}", f"--output={tmp_path / 'out'}"]
    done = subprocess.run([*command, *choice, *places], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = (tmp_path / "out").glob("*.json")
    samples = json.loads(found.read_text())["samples"]
    assert [(each["workload"], each["round"]) for each in samples] == [
        ("raw-upload", 1),
        ("raw-upload", 2),
        ("download", 1),
        ("download", 2),
    ]
    assert all(each["figures"]["rate"] > 0 for each in samples)
    assert found.with_suffix(".md").read_text() in done.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def failures(tmp_path: Path, code: str) -> list[Failure]:
    results = Results()
    contender = Contender("it", "a broken server", ("-c", code), frozenset({RAW}))
    Runner(RawUpload(Plan(rounds=1, size=1024)), results).run([contender], tmp_path)
    assert results.samples == []
    assert list(tmp_path.iterdir()) == []
    return results.failures


def test_one_that_stores_other_bytes_than_it_says_has_failed(tmp_path: Path) -> None:
    (failure,) = failures(tmp_path, LIAR)
    assert "other bytes than were stored" in failure.reason


def test_one_that_does_not_start_has_failed(tmp_path: Path) -> None:
    (failure,) = failures(tmp_path, "raise SystemExit('no')")
    assert "did not start" in failure.reason


def results_of(**rates: list[float]) -> Results:
    samples = [
        Sample("raw-upload", name.replace("_", "-"), turn, {"rate": rate})
        for name, series in rates.items()
        for turn, rate in enumerate(series)
    ]
    return Results(samples)


def test_a_ratio_is_the_median_of_those_in_each_round() -> None:
    results = results_of(quart_app=[10, 40, 90], flask_sync=[5, 10, 30])
    ours, theirs = Series("raw-upload", "rate"), Series("raw-upload", "rate", "flask-sync")
    assert results.ratio(ours, theirs) == 3


def test_a_bar_is_judged_by_the_strongest_of_the_others() -> None:
    results = results_of(quart_app=[10], flask_sync=[4], flask_gthread=[5])
    ours = Series("raw-upload", "rate")
    theirs = tuple(Series("raw-upload", "rate", n) for n in ("flask-sync", "flask-gthread", "no"))
    verdicts = [Bar("it", ours, theirs, least=least).judged(results) for least in (2, 2.1)]
    assert [(each.figure, each.outcome) for each in verdicts] == [(2, "met"), (2, "missed")]
