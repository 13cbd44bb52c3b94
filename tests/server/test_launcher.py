"""Workers that are stopped, killed, replaced and restarted while they carry transfers."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import MIB, content, session, sha256, upload, wire
from tests.server.conftest import LOOPS, RAW
from tests.server.fleet import Fleet, Traffic
from tests.server.raw_server import HEARD_AFTER
from tests.server_process import SERVE, WATCHED
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.client import HTTPResponse
    from pathlib import Path

    from tests.e2e.clients import Wire

    Launch = Callable[..., Fleet]

BYTES = content(16 * MIB)

#: A small window, so that most of a download is still to be sent.
WINDOW = 64 * 1024

#: Clients that come until a stop refuses them, where it does so too late.
MOST_COMING = 5000


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts launchers of a test's own."""
    fleets: list[Fleet] = []

    def launch_one(command: tuple[str, ...] = WATCHED, **settings: object) -> Fleet:
        directory = tmp_path / f"fleet-{len(fleets)}"
        fleets.append(Fleet(directory, settings, command=command))
        return fleets[-1].ready()

    yield launch_one
    for fleet in fleets:
        fleet.kill()


@pytest.fixture(scope="module")
def running_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    fleet = Fleet(directory, {"workers": 4})
    try:
        yield fleet.ready()
        fleet.stop()
    finally:
        fleet.kill()


@pytest.fixture
def fleet(running_fleet: Fleet) -> Iterator[Fleet]:
    """Four workers, which may be others afterwards, but four."""
    yield running_fleet
    eventually(lambda: len(running_fleet.workers()) == 4, what="four workers run")
    running_fleet.assert_settled()


class Transfers:
    """Uploads and downloads that have begun; each is to be completed."""

    def __init__(self, fleet: Fleet, stack: ExitStack, count: int) -> None:
        with session(fleet) as client:
            path = upload(client, BYTES)["url"]
        self._fleet = fleet
        self.uploads = [stack.enter_context(wire(fleet)) for _ in range(count)]
        self.downloads: list[tuple[Wire, HTTPResponse]] = []
        for sender in self.uploads:
            sender.request("POST /upload", f"Content-Length: {len(BYTES)}", body=BYTES[:MIB])
        for _ in range(count):
            reader = stack.enter_context(wire(fleet, WINDOW))
            reader.request(f"GET {path}")
            response = reader.response("GET")
            assert response.read(MIB) == BYTES[:MIB]
            self.downloads.append((reader, response))
        eventually(lambda: len(fleet.parts()) == count, what="the uploads begin")

    def complete(self) -> None:
        """All come to their ends, with the right bytes."""
        for client in self.uploads:
            client.send(BYTES[MIB:])
            response = client.response()
            assert response.status == 201
            assert json.loads(response.read())["files"][0]["sha256"] == sha256(BYTES)
        for _, response in self.downloads:
            assert response.read() == BYTES[MIB:]

    def without(self, worker: int) -> None:
        """Leaves out those that a worker has."""
        self.uploads = [c for c in self.uploads if self._fleet.worker_of(c.socket) != worker]
        self.downloads = [
            (c, r) for c, r in self.downloads if self._fleet.worker_of(c.socket) != worker
        ]


@contextmanager
def transfers(fleet: Fleet, count: int) -> Iterator[Transfers]:
    with ExitStack() as stack:
        yield Transfers(fleet, stack, count)


class TestStop:
    @pytest.mark.parametrize(("workers", "loop"), [(1, "asyncio"), (4, "uvloop")])
    def test_transfers_end(self, launch: Launch, workers: int, loop: str) -> None:
        fleet = launch(workers=workers, loop=loop)
        with transfers(fleet, 4) as begun, wire(fleet) as idle:
            fleet.process.send_signal(signal.SIGTERM)
            eventually(lambda: not fleet.listening(), seconds=5, what="the listeners close")
            assert idle.socket.recv(1) == b""
            begun.complete()
        fleet.assert_ends_well()
        assert len(fleet.rows()) == len(fleet.blobs()) == 5

    @pytest.mark.parametrize("loop", LOOPS)
    def test_transfers_that_take_too_long_are_cut(self, launch: Launch, loop: str) -> None:
        fleet = launch(workers=2, drain=1, loop=loop)
        with transfers(fleet, 2):
            assert 1 <= fleet.stop() < 10
        assert len(fleet.rows()) == len(fleet.blobs()) == 1

    @pytest.mark.parametrize("loop", LOOPS)
    def test_clients_that_come_meanwhile(self, launch: Launch, loop: str) -> None:
        """None is let in and forgotten."""
        fleet = launch(SERVE, loop=loop)
        with transfers(fleet, 1) as begun, ExitStack() as stack:
            came: list[Wire] = []
            with ThreadPoolExecutor(2) as pool:
                pool.submit(fleet.process.send_signal, signal.SIGTERM)
                with suppress(OSError):
                    while len(came) < MOST_COMING:
                        came.append(stack.enter_context(wire(fleet)))
            for client in came:
                client.socket.settimeout(10)  # much less than the drain
                with suppress(ConnectionResetError):
                    assert client.socket.recv(1) == b""
            begun.complete()
        fleet.assert_ends_well()

    @pytest.mark.parametrize("loop", LOOPS)
    def test_signal_comes_while_threads_wake_the_loop(self, launch: Launch, loop: str) -> None:
        """It is not lost: the worker ends, and is replaced as nobody asked the launcher."""
        fleet = launch((*RAW, "launcher", "1", loop))
        with session(fleet) as client:
            assert client.get("/stop-when-busy").status_code == 200
        eventually(lambda: fleet.logged("worker died"), what="the worker ends")
        assert [line["code"] for line in fleet.logged("worker died")] == [0]
        fleet.expect_logged("worker died")
        fleet.stop()

    def test_while_a_worker_is_being_replaced(self, launch: Launch) -> None:
        """A worker that dies young is replaced after a pause: the stop comes into that."""
        fleet = launch(SERVE)
        os.kill(fleet.pid, signal.SIGKILL)
        eventually(lambda: fleet.logged("worker died"))
        fleet.expect_logged("worker died")
        assert fleet.stop() < 5
        fleet.assert_gone([fleet.pid])

    def test_as_a_new_worker_begins_to_serve(self, tmp_path: Path) -> None:
        """It has its drain too, though the launcher has not heard yet that it is there."""
        command = (*RAW, "launcher", "1", "uvloop")
        with Fleet(tmp_path, command=command, variables={HEARD_AFTER: "1"}) as fleet:
            os.kill(fleet.pid, signal.SIGKILL)
            with wire(fleet) as client:
                client.request("GET /drip?count=15&pause=0.1")
                response = client.response("GET")
                assert response.readline() == b"0\n"
                fleet.process.send_signal(signal.SIGTERM)
                assert len(response.read().split()) == 14
            fleet.expect_logged("worker died")
            fleet.assert_ends_well()

    def test_while_workers_are_restarted(self, launch: Launch) -> None:
        fleet = launch(SERVE, workers=2)
        before = fleet.workers()
        fleet.process.send_signal(signal.SIGHUP)
        eventually(lambda: set(fleet.workers()) - set(before), what="a restart begins")
        workers = fleet.workers()
        assert fleet.stop() < 10
        fleet.assert_gone(workers)

    def test_launcher_is_killed(self, launch: Launch) -> None:
        """Its workers go with it, whatever they are doing."""
        fleet = launch(SERVE, workers=2)
        workers = fleet.workers()
        with transfers(fleet, 2) as begun:
            os.kill(fleet.process.pid, signal.SIGKILL)
            fleet.assert_gone(workers)
            with pytest.raises((ConnectionError, HTTPException)):
                begun.complete()
        eventually(lambda: not fleet.listening(), what="the address is free")


class TestReplacement:
    def test_worker_is_killed_under_load(self, fleet: Fleet) -> None:
        """What it was carrying is lost, and nothing else."""
        with transfers(fleet, 6) as begun, Traffic(fleet) as traffic:
            killed = fleet.worker_of(begun.uploads[0].socket)
            begun.without(killed)
            os.kill(killed, signal.SIGKILL)
            traffic.flows()
            begun.complete()
            eventually(lambda: len(fleet.workers()) == 4, what="it is replaced")
            assert killed not in fleet.workers()
            traffic.flows()
        assert not any("Refused" in failure for failure in traffic.failures)
        assert len(traffic.failures) <= 2, traffic.failures  # those it was answering
        fleet.expect_logged("worker died")

    def test_hangup_sent_to_all_processes(self, fleet: Fleet) -> None:
        """As a closed terminal does, and `systemctl kill`."""
        before, died = set(fleet.workers()), len(fleet.logged("worker died"))
        with transfers(fleet, 4) as begun:
            os.killpg(fleet.process.pid, signal.SIGHUP)
            eventually(lambda: len(set(fleet.workers()) - before) == 4, what="all are replaced")
            begun.complete()
        eventually(lambda: not before & set(fleet.workers()), what="the old ones end")
        assert len(fleet.logged("worker died")) == died

    def test_rolling_restart(self, fleet: Fleet) -> None:
        before = set(fleet.workers())
        with transfers(fleet, 4) as begun, Traffic(fleet) as traffic:
            fleet.process.send_signal(signal.SIGHUP)
            eventually(lambda: len(set(fleet.workers()) - before) == 4, what="all are replaced")
            traffic.flows()
            begun.complete()
            eventually(lambda: not before & set(fleet.workers()), what="the old ones end")
            traffic.flows()
        assert traffic.failures == []

    @pytest.mark.parametrize("loop", LOOPS)
    def test_rolling_restart_in_a_crowd(self, launch: Launch, loop: str) -> None:
        fleet = launch(SERVE, workers=1, loop=loop)
        with ExitStack() as stack:
            crowd = [
                stack.enter_context(Traffic(fleet, pause=0, http2=http2)) for http2 in (False, True)
            ]
            for _ in range(3):
                old = fleet.workers()[0]
                fleet.process.send_signal(signal.SIGHUP)
                fleet.assert_gone([old], seconds=30)
        assert [failure for traffic in crowd for failure in traffic.failures] == []
        fleet.stop()

    def test_new_workers_that_cannot_start(self, launch: Launch, tmp_path: Path) -> None:
        """The old ones go on; once the trouble is over, a restart replaces them."""
        config = tmp_path / "own.toml"
        config.write_text("")
        fleet = launch(SERVE, config=config)
        before = fleet.workers()
        config.write_text("max_form_parts = 'nonsense'")
        with Traffic(fleet) as traffic:
            fleet.process.send_signal(signal.SIGHUP)
            given_up = "restart given up; the old workers go on"
            eventually(lambda: fleet.logged(given_up))
            assert fleet.workers() == before
            assert "quart-app: max_form_parts (file " in fleet.err.read_text()
            fleet.expect_logged(given_up)
            traffic.flows()
            config.write_text("")
            fleet.process.send_signal(signal.SIGHUP)
            eventually(lambda: not set(before) & set(fleet.workers()), what="the old one ends")
        assert traffic.failures == []
        fleet.stop()


#: A worker is frozen after this, in seconds.
TIMEOUT = 3


class TestFrozen:
    """A worker that is alive, and does nothing."""

    def test_is_replaced(self, launch: Launch) -> None:
        """Its connections end, and those that wait at its socket are served; others go on."""
        fleet = launch(SERVE, workers=2, worker_timeout=TIMEOUT)
        with transfers(fleet, 4) as begun:
            frozen = fleet.worker_of(begun.uploads[0].socket)
            held = begun.uploads[0]
            begun.without(frozen)
            os.kill(frozen, signal.SIGSTOP)
            with ExitStack() as stack:
                late = [stack.enter_context(wire(fleet)) for _ in range(8)]
                for client in late:
                    client.request("GET /healthz")
                assert [client.response("GET").status for client in late] == [200] * 8
            with pytest.raises((ConnectionError, HTTPException)):
                held.response()
            begun.complete()
        fleet.assert_gone([frozen])
        assert [line["pid"] for line in fleet.logged("worker frozen")] == [frozen]
        fleet.expect_logged("worker died")
        fleet.stop()

    @pytest.mark.parametrize("loop", LOOPS)
    def test_blocked_loop(self, launch: Launch, loop: str) -> None:
        """Threads that still run make no difference."""
        fleet = launch((*RAW, "launcher", "1", loop), worker_timeout=TIMEOUT)
        blocked = fleet.pid
        with wire(fleet) as client:
            client.request("GET /block?seconds=600")
            fleet.assert_gone([blocked])
        eventually(fleet.workers, what="it is replaced")
        with session(fleet) as other:
            assert other.get("/release").status_code == 200
        fleet.expect_logged("worker frozen")
        fleet.stop()

    def test_while_draining(self, launch: Launch) -> None:
        """It does not hold up the stop until the drain is over, and others drain."""
        fleet = launch(SERVE, workers=2, worker_timeout=TIMEOUT, drain=600)
        with transfers(fleet, 4) as begun:
            frozen = fleet.worker_of(begun.uploads[0].socket)
            begun.without(frozen)
            os.kill(frozen, signal.SIGSTOP)
            fleet.process.send_signal(signal.SIGTERM)
            fleet.assert_gone([frozen])
            begun.complete()
        assert fleet.process.wait(20) == 1  # a worker was killed
        fleet.expect_logged("worker frozen")

    def test_whole_service_is_stopped(self, launch: Launch) -> None:
        """As by Ctrl-Z, a frozen container or a suspended computer: all go on afterwards."""
        fleet = launch(SERVE, workers=2, worker_timeout=TIMEOUT)
        workers = fleet.workers()
        with transfers(fleet, 2) as begun:
            for _ in range(2):
                os.killpg(fleet.process.pid, signal.SIGSTOP)
                time.sleep(1.5 * TIMEOUT)  # the passing of time is the fault
                os.killpg(fleet.process.pid, signal.SIGCONT)
                with session(fleet) as client:
                    assert client.get("/healthz").status_code == 200
            begun.complete()
        assert fleet.workers() == workers
        assert fleet.logged("worker frozen") == []
        fleet.stop()

    def test_launcher_is_stopped(self, launch: Launch) -> None:
        """Workers beat into a pipe that nobody reads, and serve on."""
        fleet = launch(SERVE, worker_timeout=TIMEOUT)
        workers = fleet.workers()
        os.kill(fleet.process.pid, signal.SIGSTOP)
        time.sleep(1.5 * TIMEOUT)
        with session(fleet) as client:
            assert client.get("/healthz").status_code == 200
        os.kill(fleet.process.pid, signal.SIGCONT)
        fleet.stop()
        fleet.assert_gone(workers)
        assert fleet.logged("worker frozen") == []


class TestOneDirectory:
    """Workers share the data."""

    def test_uploads_to_all(self, fleet: Fleet) -> None:
        before = len(fleet.rows())

        def upload_some(number: int) -> list[dict[str, Any]]:
            found = []
            for part in range(5):
                with session(fleet) as client:
                    found.append(upload(client, content(200_000, 100 * number + part)))
            return found

        with ThreadPoolExecutor(8) as pool:
            stored = [file for files in pool.map(upload_some, range(8)) for file in files]
        for _ in range(8):  # whichever worker answers
            with session(fleet) as client:
                listed = client.get("/files", headers={"Accept": "application/json"}).json()
                assert {file["id"] for file in stored} <= {file["id"] for file in listed["files"]}
                file = stored[7 * _ % len(stored)]
                assert sha256(client.get(file["url"]).content) == file["sha256"]
        assert len(fleet.rows()) == len(fleet.blobs()) == before + 40

    def test_sweep_of_one_worker_leaves_uploads_of_others(self, launch: Launch) -> None:
        """That they sweep at their start too, a restart shows."""
        fleet = launch(workers=2, sweep_interval=0.2)
        with transfers(fleet, 4) as begun:
            seen = len(fleet.logged("swept"))
            eventually(lambda: len(fleet.logged("swept")) > seen + 8)
            begun.complete()
        fleet.stop()


def test_ready_turns_503_while_draining(launch: Launch) -> None:
    """A balancer that keeps its connection sees it there."""
    fleet = launch(SERVE)
    with wire(fleet) as probe, wire(fleet) as busy:
        probe.request("GET /readyz")
        response = probe.response("GET")
        assert (response.status, json.loads(response.read())) == (200, {"status": "ready"})
        busy.request("POST /upload", f"Content-Length: {len(BYTES)}", body=BYTES[:MIB])
        eventually(fleet.parts)
        fleet.process.send_signal(signal.SIGTERM)
        eventually(lambda: not fleet.listening())
        probe.request("GET /readyz")
        assert probe.problem() == (503, "draining")
        busy.send(BYTES[MIB:])
        assert busy.response().status == 201
    fleet.assert_ends_well()


def test_backlog_of_a_worker_that_is_gone(launch: Launch) -> None:
    """Connections wait for its replacement."""
    fleet = launch(SERVE)
    os.kill(fleet.pid, signal.SIGSTOP)
    with wire(fleet) as early:
        early.request("GET /healthz")
        os.kill(fleet.pid, signal.SIGKILL)
        with wire(fleet) as late:
            late.request("GET /healthz")
            started = time.monotonic()
            assert [c.response("GET").status for c in (early, late)] == [200, 200]
            assert time.monotonic() - started < 30


def test_port_of_several_workers_is_nobody_elses(fleet: Fleet, tmp_path: Path) -> None:
    """They share it among themselves only."""
    second = Fleet(tmp_path, {"port": fleet.port, "workers": 2}, command=SERVE)
    assert second.process.wait(30) == 1
    said = f"quart-app: cannot listen on 127.0.0.1 port {fleet.port}: Address already in use\n"
    assert second.err.read_text() == said
