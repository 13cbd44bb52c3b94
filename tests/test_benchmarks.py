"""The benchmarks run, count what they should, and are not to be deceived."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks import slow_crowd, slow_disk
from benchmarks.__main__ import partitioned
from benchmarks.bars import Bar
from benchmarks.client import UnfitError, discarded
from benchmarks.contenders import CONTENDERS, SUBJECT, Contender, Feature
from benchmarks.markdown import NAMED, page
from benchmarks.payload import Payload
from benchmarks.report import Report
from benchmarks.results import Failure, Results, Sample, Series
from benchmarks.runner import Runner
from benchmarks.server import Server
from benchmarks.wire import BITS_PER_SECOND, ROUND_TRIP_SECONDS, wire_to
from benchmarks.workloads import WORKLOADS, rejections
from benchmarks.workloads.discard import Discard
from benchmarks.workloads.downloads import RangedDownload
from benchmarks.workloads.long_wire import LongWire
from benchmarks.workloads.reading import ReadBytesIO, ReadMmap, ReadStringIO, ReadTempfile
from benchmarks.workloads.rejections import Rejections
from benchmarks.workloads.relays import Fetch, FormProxy, Proxy
from benchmarks.workloads.slow_clients import SlowClients
from benchmarks.workloads.stalls import SlowDestination, SlowDisk
from benchmarks.workloads.uploads import RawUpload
from benchmarks.workloads.workload import Plan, UnavailableError
from quart_app.models import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.workloads.workload import Workload

SMALL = Plan(
    rounds=1,
    size=2 * MIB + 1,
    small_count=20,
    memory_size=2 * MIB + 1,
    memory_reference_size=MIB + 1,
    read_size=MIB,
    slow_clients=20,
    stalled=4,
    slow_seconds=2,
    wire_size=256 * KIB,
    rejections=20,
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
    drawn = {path.name: path.read_bytes() for path in found.parent.glob("*.svg")}
    assert len(drawn) == 2  # CPU and memory: nothing to compare with, and no crowd
    again = [sys.executable, "-m", "benchmarks.plots", str(found), f"--output={tmp_path}"]
    subprocess.run(again, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")} == drawn


def failures(tmp_path: Path, code: str) -> list[Failure]:
    results = Results()
    contender = Contender("it", "", "a broken server", ("-c", code), frozenset({Feature.RAW}))
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
    contender = Contender(
        "it", "", "a broken server", ("-c", FORGETFUL), frozenset({Feature.DISCARD})
    )
    with Server(contender, tmp_path) as server, pytest.raises(UnfitError, match="bytes it says"):
        discarded(server.address, Payload(MIB))


def figures(tmp_path: Path, workload: Workload, contender: str) -> Mapping[str, float]:
    return taken(tmp_path, workload, BY_NAME[contender])


def taken(tmp_path: Path, workload: Workload, contender: Contender) -> Mapping[str, float]:
    results = Results()
    Runner(workload, results).run([contender], tmp_path)
    assert results.failures == []
    assert list(tmp_path.iterdir()) == []
    if workload.name in results.left_out:
        pytest.skip(results.left_out[workload.name])
    (sample,) = results.samples
    return sample.figures


#: The far end and the clients of a relay are what is tested here, whatever relays.
STAND_IN = """
from http.server import ThreadingHTTPServer
from benchmarks.servers.blocking_socket import Handler

class StandIn(Handler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if not self.path.startswith("/read_data"):
            return super().do_POST()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, len(body), dict())
        self.wfile.write(body)

    def received(self, length):
        yield from map(ALTERED, super().received(length))

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass

server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
server.handle_error = lambda *_: None
print("serving on http://127.0.0.1:" + str(server.server_port), flush=True)
server.serve_forever()
"""
EVERYTHING = frozenset(Feature)
HONEST = Contender("it", "", "it", ("-c", STAND_IN.replace("ALTERED", "bytes")), EVERYTHING)
APART = (Discard, SlowClients, LongWire, Rejections)
RELAYS = (Fetch, Proxy, FormProxy, SlowDestination)
READERS = (ReadBytesIO, ReadStringIO, ReadTempfile, ReadMmap)


@pytest.mark.parametrize("kind", [*RELAYS, *READERS], ids=lambda kind: kind.name)
def test_a_stand_in_is_measured(tmp_path: Path, kind: type[Workload]) -> None:
    found = taken(tmp_path, kind(SMALL), HONEST)
    assert found.keys() == {metric.name for metric in kind.metrics}
    assert found["cpu"] > 0


@pytest.mark.parametrize(
    "kind",
    [kind for kind in WORKLOADS if kind not in (*APART, *RELAYS, *READERS)],
    ids=lambda kind: kind.name,
)
def test_each_workload_measures_what_it_says(tmp_path: Path, kind: type[Workload]) -> None:
    found = figures(tmp_path, kind(SMALL), kind.subject)
    assert found.keys() == {metric.name for metric in kind.metrics}


@pytest.mark.parametrize("kind", [Proxy, FormProxy], ids=lambda kind: kind.name)
def test_one_that_relays_other_bytes_has_failed(tmp_path: Path, kind: type[Workload]) -> None:
    code = STAND_IN.replace("ALTERED", "lambda chunk: bytes(len(chunk))")
    results = Results()
    liar = Contender("it", "", "it", ("-c", code), EVERYTHING)
    Runner(kind(SMALL), results).run([liar], tmp_path)
    assert results.samples == []
    (failure,) = results.failures
    assert "proxy answered" in failure.reason


def test_nginx_serves_what_was_stored(tmp_path: Path) -> None:
    if BY_NAME["nginx"].is_absent:
        pytest.skip("nginx is not installed")
    assert figures(tmp_path, RangedDownload(SMALL), "nginx")["cpu"] > 0


def test_a_disk_that_is_slow_is_so_for_whoever_writes(tmp_path: Path) -> None:
    try:
        with slow_disk.mounted(tmp_path):
            start = time.perf_counter()
            (tmp_path / "file").write_bytes(bytes(slow_disk.BYTES_PER_SECOND))
            seconds = time.perf_counter() - start
    except UnavailableError as error:
        pytest.skip(str(error))
    assert seconds > 0.5
    assert list(tmp_path.iterdir()) == []


def test_a_workload_that_cannot_run_here_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_disk, "LIMIT", tmp_path / "none")
    results = Results()
    Runner(SlowDisk(SMALL), results).run([BY_NAME[SUBJECT]], tmp_path)
    assert "takes root" in results.left_out["slow-disk"]
    assert "Not measured: a slow disk takes root" in page(report(results, SlowDisk(SMALL)))


def report(results: Results, *workloads: Workload, absent: Sequence[Contender] = ()) -> Report:
    places = {workload.name: "memory" for workload in workloads}
    machine = {"commit": "0123456789", "dirty": False, "cpu": "", "cores": 1, "kernel": ""}
    known = {"python": "", "load": 0.5, "libraries": dict.fromkeys(NAMED)}
    return Report("", machine | known, SMALL, places, workloads, CONTENDERS, absent, results)


def test_who_is_not_installed_is_told_of() -> None:
    missing = Contender("rare", "", "it", (), frozenset({Feature.RAW}), program="no-such-program")
    present, absent = partitioned([missing, BY_NAME[SUBJECT]])
    assert (present, absent) == ([BY_NAME[SUBJECT]], [missing])
    assert "- `rare` is not installed" in page(report(Results(), absent=absent))


def test_losses_are_told_of() -> None:
    results = results_of(quart_app=[10, 10], aiohttp=[15, 15], starlette=[10.2, 10.2], nginx=[5, 5])
    found = page(report(results, RawUpload(SMALL)))
    assert "- raw-upload, MiB/s: `aiohttp` by 1.5\n" in found


def test_a_run_of_less_than_all_says_so_beside_the_bars() -> None:
    assert "did less" in page(report(Results()))
    assert "did less" not in page(replace(report(Results()), plan=Plan()))


def test_one_that_takes_long_takes_fewer_turns(tmp_path: Path) -> None:
    results = Results()
    patient = replace(BY_NAME["blocking-socket"], most_rounds=1)
    plan = replace(SMALL, rounds=2)
    Runner(RawUpload(plan), results).run([patient], tmp_path)
    assert [sample.round for sample in results.samples] == [1]


@pytest.mark.parametrize("contender", ["layer", "hypercorn", "uvicorn", "blocking-socket"])
def test_a_discard_costs_something(tmp_path: Path, contender: str) -> None:
    assert figures(tmp_path, Discard(SMALL), contender)["cpu"] > 0


def test_all_slow_clients_of_the_service_are_served(tmp_path: Path) -> None:
    found = figures(tmp_path, SlowClients(SMALL), SUBJECT)
    assert found["served"] == 20
    assert 0 < found["median"] <= found["p99"]


def test_slow_clients_whom_nobody_serves_are_not_counted(tmp_path: Path) -> None:
    with Server(BY_NAME["flask-sync"], tmp_path) as server:
        assert slow_crowd.served(server.address, 3, seconds=1) == 1


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
        Sample("raw-upload", name.replace("_", "-"), turn, {"rate": rate, "cpu": 1, "rss": 1})
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
