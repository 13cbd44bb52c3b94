"""The benchmarks run, count what they should, and are not to be deceived."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from benchmarks import slow_crowd
from benchmarks.bars import Bar
from benchmarks.client import UnfitError, discarded
from benchmarks.contenders import CONTENDERS, DISCARD, RAW, SUBJECT, Contender
from benchmarks.payload import Payload
from benchmarks.results import Failure, Results, Sample, Series
from benchmarks.runner import Runner
from benchmarks.server import Server
from benchmarks.wire import BITS_PER_SECOND, ROUND_TRIP_SECONDS, wire_to
from benchmarks.workloads import rejections
from benchmarks.workloads.discard import Discard
from benchmarks.workloads.long_wire import LongWire
from benchmarks.workloads.rejections import Rejections
from benchmarks.workloads.slow_clients import SlowClients
from benchmarks.workloads.uploads import RawUpload
from benchmarks.workloads.workload import Plan
from quart_app.models import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.workloads.workload import Workload

SMALL = Plan(
    rounds=1, size=MIB, slow_clients=20, slow_seconds=1, wire_size=256 * KIB, rejections=20
)
BY_NAME = {contender.name: contender for contender in CONTENDERS}

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
    contender = Contender("it", "", "a broken server", ("-c", code), frozenset({RAW}))
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


FORGETFUL = """
from benchmarks.servers import blocking_socket
from http.server import HTTPServer

class Forgetful(blocking_socket.Handler):
    def received(self, length):
        for chunk in super().received(length):
            yield chunk[1:]

server = HTTPServer(("127.0.0.1", 0), Forgetful)
print("serving on http://127.0.0.1:" + str(server.server_port), flush=True)
server.serve_forever()
"""


def test_one_that_drops_bytes_before_it_counts_them_has_failed(tmp_path: Path) -> None:
    contender = Contender("it", "", "a broken server", ("-c", FORGETFUL), frozenset({DISCARD}))
    with Server(contender, tmp_path) as server, pytest.raises(UnfitError, match="bytes it says"):
        discarded(server.address, Payload(MIB))


def figures(tmp_path: Path, workload: Workload, contender: str) -> Mapping[str, float]:
    results = Results()
    Runner(workload, results).run([BY_NAME[contender]], tmp_path)
    assert results.failures == []
    assert list(tmp_path.iterdir()) == []
    (sample,) = results.samples
    return sample.figures


@pytest.mark.parametrize("contender", ["layer", "hypercorn", "uvicorn", "blocking-socket"])
def test_a_discard_costs_something(tmp_path: Path, contender: str) -> None:
    assert figures(tmp_path, Discard(SMALL), contender)["cpu"] > 0


def test_all_slow_clients_of_the_service_are_served(tmp_path: Path) -> None:
    found = figures(tmp_path, SlowClients(SMALL), SUBJECT)
    assert found["served"] == 20
    assert 0 < found["median"] <= found["p99"]


def test_slow_clients_whom_nobody_serves_are_not_counted(tmp_path: Path) -> None:
    with Server(BY_NAME["flask-sync"], tmp_path) as server:
        assert slow_crowd.served(server.address, 3, 1) == 1


def test_the_wire_is_long_and_narrow(tmp_path: Path) -> None:
    payload = Payload(MIB)
    with (
        Server(BY_NAME["blocking-socket"], tmp_path) as server,
        wire_to(server.address) as address,
    ):
        start = time.perf_counter()
        discarded(address, payload)
        seconds = time.perf_counter() - start
    assert seconds > ROUND_TRIP_SECONDS + 8 * payload.length / BITS_PER_SECOND


def test_the_wire_carries_both_versions(tmp_path: Path) -> None:
    found = figures(tmp_path, LongWire(SMALL), SUBJECT)
    assert found["share"] == found["http2"] / found["http1"]


def test_rejections_leave_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "SETTLE_SECONDS", 1)
    assert figures(tmp_path, Rejections(SMALL), SUBJECT)["descriptors"] <= 0


def test_memory_is_that_of_the_processes_that_serve(tmp_path: Path) -> None:
    with Server(BY_NAME[f"{SUBJECT}-2"], tmp_path) as server:
        serving = server._serving()
        assert len(serving) == 2
        assert server._tree() == serving | {server.process.pid}


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
