"""Known faults of Hypercorn: the behaviour of stock Hypercorn, and of the server layer.

Each scenario runs on both, so each is known to be able to fail. (7 is HTTP/3, which is not
offered; 9 is WSGI, which is not used.)
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any

import h11
import httpx
import psutil
import pytest
from hyperframe.frame import DataFrame

from tests.e2e.clients import MIB, session, wire
from tests.server.conftest import LOOPS, RAW, RawServer
from tests.server.fleet import Fleet, is_alive
from tests.server.http2_client import http2
from tests.waiting import comes_to_nothing, eventually, settled_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.clients import Wire
    from tests.server_process import ServerProcess

KIB = 1024

#: How long something that should come may take before it counts as never coming.
NEVER_SECONDS = 2

NOTHING = "nothing"


@dataclass(frozen=True)
class Fact:
    """A scenario, and what comes of it.

    Attributes:
        number: Number of the fault.
        tries: After how many, at most, stock Hypercorn shows it: more than one where it is a race.
    """

    number: int
    scenario: Callable[[RawServer], object]
    stock: object
    ours: object
    tries: int


FACTS: list[Fact] = []


def fact(
    number: int, *, stock: object, ours: object, tries: int = 1
) -> Callable[[Callable[[RawServer], object]], None]:
    def note(scenario: Callable[[RawServer], object]) -> None:
        FACTS.append(Fact(number, scenario, stock, ours, tries))

    return note


def state(server: RawServer) -> dict[str, Any]:
    with session(server) as client:
        found: dict[str, Any] = client.get("/state").json()
    return found


def running(server: RawServer) -> Counter[str]:
    """Applications that have not returned."""
    return Counter(state(server)["running"])


def running_in_the_end(server: RawServer, before: Counter[str]) -> list[str]:
    """Applications that run, and did not before, for as long as anybody looks."""
    with suppress(AssertionError):
        comes_to_nothing(lambda: running(server) - before, seconds=NEVER_SECONDS)
    return list(running(server) - before)


def statuses(client: Wire) -> list[int]:
    """All statuses of one answer, interim ones included."""
    connection = h11.Connection(h11.CLIENT)
    found: list[int] = []
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "test")]))
    connection.send(h11.EndOfMessage())
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if not (data := client.socket.recv(KIB)):
                return found
            connection.receive_data(data)
        elif isinstance(event, h11.InformationalResponse | h11.Response):
            found.append(event.status_code)
        else:
            return found


@fact(1, stock=["/refuse"], ours=[])
def applications_that_never_return(server: RawServer) -> object:
    """It has answered with the body on its way, and the client is gone."""
    before = running(server)
    with wire(server) as client:
        client.request("POST /refuse?after=0.5", f"Content-Length: {8 * MIB}", body=bytes(2 * MIB))
        client.socket.settimeout(NEVER_SECONDS)
        client.socket.recv(KIB)
    return running_in_the_end(server, before)


def _after_a_stalled_download(server: RawServer, *, aborted: bool) -> object:
    before = running(server)
    with http2(server) as client:
        stalled = client.request("GET", "/bytes?size=10000000")
        client.stalled.add(stalled)
        client.until(lambda: len(client.answers[stalled].body) == 65_535)
        if aborted:
            client.reset(stalled)
            return running_in_the_end(server, before)
    return running_in_the_end(server, before)


@fact(6, stock=["/bytes"], ours=[])
def applications_whose_stream_was_reset(server: RawServer) -> object:
    return _after_a_stalled_download(server, aborted=True)


@fact(6, stock=["/bytes"], ours=[])
def applications_whose_http2_connection_was_closed(server: RawServer) -> object:
    return _after_a_stalled_download(server, aborted=False)


@fact(2, stock="reset", ours=512 * KIB, tries=5)
def answer_to_a_client_that_sends_before_it_reads(server: RawServer) -> object:
    with wire(server, receive_buffer=16 * KIB) as client:
        client.request(f"POST /refuse?size={512 * KIB}", f"Content-Length: {4 * MIB}")
        try:
            for _ in range(64):
                client.send(bytes(64 * KIB))
            return len(client.response().read())
        except (ConnectionError, IncompleteRead):
            return "reset"


@fact(3, stock=[100, 413], ours=[413])
def answers_to_a_client_that_asks_first(server: RawServer) -> object:
    with wire(server) as client:
        client.request("POST /refuse", "Content-Length: 1000", "Expect: 100-continue")
        return statuses(client)


@fact(4, stock=[500], ours=[103, 201])
def early_hints_on_http1(server: RawServer) -> object:
    with wire(server) as client:
        client.request("GET /interim?status=103&hint=1")
        return statuses(client)


@fact(4, stock=[104], ours=[104, 201])
def interim_answer_on_http1(server: RawServer) -> object:
    with wire(server) as client:
        client.request("GET /interim?status=104")
        return statuses(client)


@fact(4, stock=[100, 104], ours=[104, 100, 201])
def interim_answer_to_a_client_that_asks_first(server: RawServer) -> object:
    with wire(server) as client:
        client.request("POST /interim?status=104", "Content-Length: 3", "Expect: 100-continue")
        client.send(b"abc")
        return statuses(client)


def _statuses_on_http2(server: RawServer, target: str, *headers: tuple[str, str]) -> object:
    with http2(server) as client:
        stream = client.request("POST", target, *headers, end=False)
        if headers and not client.until(lambda: 100 in client.answers[stream].statuses, 2):
            return client.answers[stream].statuses
        client.send(stream, b"abc", end=True)
        return client.answer(stream, NEVER_SECONDS).statuses


@fact(4, stock=[103, 201], ours=[103, 201])
def early_hints_on_http2(server: RawServer) -> object:
    return _statuses_on_http2(server, "/interim?status=103&hint=1")


@fact(4, stock=[104], ours=[104, 201])
def interim_answer_on_http2(server: RawServer) -> object:
    return _statuses_on_http2(server, "/interim?status=104")


@fact(4, stock=[104], ours=[104, 100, 201])
def interim_answer_on_http2_to_a_client_that_asks_first(server: RawServer) -> object:
    return _statuses_on_http2(server, "/interim?status=104", ("expect", "100-continue"))


@fact(4, stock=[], ours=[["x-sum", "5"], ["x-more", "6"]])
def trailers_on_http1(server: RawServer) -> object:
    with wire(server) as client:
        client.request("POST /read", "Transfer-Encoding: chunked")
        client.send(b"3\r\nabc\r\n0\r\nX-Sum: 5\r\nX-More: 6\r\n\r\n")
        return json.loads(client.response().read())["trailers"]


@fact(4, stock=[], ours=[["x-sum", "5"]])
def trailers_on_http2(server: RawServer) -> object:
    with http2(server) as client:
        stream = client.request("POST", "/read", end=False)
        client.send(stream, b"abc")
        client.h2.send_headers(stream, [("x-sum", "5")], end_stream=True)
        client.flush()
        return json.loads(client.answer(stream).body)["trailers"]


@fact(5, stock="cut", ours="whole")
def download_that_takes_longer_than_the_read_timeout(server: RawServer) -> object:
    """The servers run with `read_timeout = 1`."""
    with wire(server) as client:
        client.request("GET /drip?count=20&pause=0.1")
        try:
            return "whole" if client.response("GET").read().split()[-1] == b"19" else "cut"
        except IncompleteRead:
            return "cut"


@fact(6, stock=65_535, ours=1 * MIB)
def window_of_an_http2_stream(server: RawServer) -> object:
    with http2(server) as client:
        stream = client.request("POST", "/hold", end=False)
        return client.room(stream)


@fact(6, stock=(413, NOTHING), ours=(413, 200))
def data_for_a_stream_that_was_answered(server: RawServer) -> object:
    with http2(server) as client:
        stream = client.request("POST", "/refuse", end=False)
        refusal = client.answer(stream)
        late = DataFrame(stream, data=bytes(KIB))  # the client has not seen the answer yet
        client.frame(late, late, late)
        other = client.get("/state", NEVER_SECONDS)
        return refusal.status, other.status if other.statuses else NOTHING


def _other_stream(server: RawServer, *, aborted: bool) -> object:
    with http2(server) as client:
        stream = client.request("POST", "/hold", end=False)
        for _ in range(12):
            client.send(stream, b"x")
        if aborted:
            client.reset(stream)
        other = client.request("POST", "/read", end=False)
        client.send(other, bytes(100_000) if client.window > 65_535 else b"x", end=True)
        answer = client.answer(other, NEVER_SECONDS)
        return answer.status if answer.statuses else NOTHING


@fact(6, stock=NOTHING, ours=201)
def upload_beside_one_that_is_not_read(server: RawServer) -> object:
    return _other_stream(server, aborted=False)


@fact(6, stock=NOTHING, ours=201)
def upload_beside_one_that_was_aborted(server: RawServer) -> object:
    return _other_stream(server, aborted=True)


@fact(6, stock=200_000, ours=200_000)
def download_beside_one_that_is_not_read(server: RawServer) -> object:
    """Not even stock Hypercorn gets this wrong."""
    with http2(server) as client:
        stalled = client.request("GET", "/bytes?size=10000000")
        client.stalled.add(stalled)
        client.until(lambda: len(client.answers[stalled].body) == 65_535)
        length = len(client.get("/bytes?size=200000").body)
        client.reset(stalled)
        return length


@fact(6, stock=None, ours=2)  # INTERNAL_ERROR
def end_of_an_answer_whose_application_failed(server: RawServer) -> object:
    with http2(server) as client:
        failed = client.request("GET", "/fail?start=1")
        eventually(lambda: "failed" in state(server)["seen"])
        client.until(lambda: client.answers[failed].ended is not None, NEVER_SECONDS)
        return client.answers[failed].ended


BY_NAME = {f"{fact.number}-{fact.scenario.__name__}": fact for fact in FACTS}


@pytest.mark.parametrize("name", BY_NAME)
def test_stock(stock: RawServer, name: str) -> None:
    fact = BY_NAME[name]
    assert fact.stock in (fact.scenario(stock) for _ in range(fact.tries))


@pytest.mark.parametrize("name", BY_NAME)
def test_ours(ours: RawServer, name: str) -> None:
    fact = BY_NAME[name]
    assert fact.scenario(ours) == fact.ours


class TestTwoWorkers:
    """Fact 8: a worker that fails takes the server with it, and SIGTERM cuts every stream."""

    @pytest.fixture
    def stock_workers(self, tmp_path: Path) -> Iterator[RawServer]:
        command = (sys.executable, "-m", "hypercorn", "tests.server.raw_app:app", "--bind",
                   "127.0.0.1:0", "--workers", "2", "--graceful-timeout", "30")  # fmt: skip
        server = RawServer(tmp_path, command=command)
        yield server.ready()
        server.kill()

    @pytest.fixture(params=LOOPS)
    def our_workers(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
        server = Fleet(tmp_path, command=(*RAW, "launcher", "2", request.param))
        yield server.ready()
        server.kill()

    def lives_on_without_a_worker(self, server: ServerProcess) -> bool:
        """Whether it still serves, with as many workers, after one has failed."""

        def workers() -> set[int]:
            children = psutil.Process(server.process.pid).children(recursive=True)
            return {child.pid for child in children if is_alive(child.pid)}

        before = settled_value(workers)
        with session(server) as client, wire(server) as failing:
            failing.request("GET /exit?code=3")
            assert failing.socket.recv(KIB) == b""
            try:
                eventually(lambda: workers() != before)
                eventually(lambda: not server.running or len(workers()) == len(before))
                return client.get("/state").status_code == 200
            except (AssertionError, httpx.TransportError, psutil.NoSuchProcess):
                return False

    def lines_of_a_stream_that_outlives_sigterm(self, server: ServerProcess) -> int:
        with wire(server) as client:
            client.request("GET /drip?count=15&pause=0.1")
            response = client.response("GET")
            response.readline()
            server.process.send_signal(signal.SIGTERM)
            try:
                return 1 + len(response.read().split())
            except (ConnectionError, IncompleteRead):
                return 0

    def test_worker_fails_on_stock(self, stock_workers: RawServer) -> None:
        assert not self.lives_on_without_a_worker(stock_workers)

    def test_streams_end_on_stock(self, stock_workers: RawServer) -> None:
        assert self.lines_of_a_stream_that_outlives_sigterm(stock_workers) == 0

    def test_ours(self, our_workers: Fleet) -> None:
        assert self.lives_on_without_a_worker(our_workers)
        assert [line["code"] for line in our_workers.logged("worker died")] == [3]
        our_workers.expect_logged("worker died")
        assert self.lines_of_a_stream_that_outlives_sigterm(our_workers) == 15
        our_workers.assert_ends_well()


def test_no_http3(ours: RawServer) -> None:
    """Fact 7: it is not offered, nor announced."""
    with session(ours) as client:
        assert "alt-svc" not in client.get("/state").headers
    assert psutil.Process(ours.pid).net_connections("udp") == []
