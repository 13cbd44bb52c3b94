"""HTTP/2 as clients speak it: many streams on a connection, none of which minds the others."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest
from h2.events import ConnectionTerminated
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, SettingsFrame

from tests.e2e.clients import MIB, content, session, sha256, upload
from tests.server.conftest import LOOPS
from tests.server.http2_client import CLIENT_SECONDS, KIB, http2
from tests.server.raw_server import KEEP_ALIVE_MAX_REQUESTS
from tests.waiting import comes_to_nothing, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Servers
    from tests.server.conftest import RawServer
    from tests.server_process import ServerProcess

    Start = Callable[..., ServerProcess]

BYTES = content(16 * MIB)

STALL_SECONDS = 1


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest, shared_server: Servers) -> ServerProcess:
    return shared_server(loop=request.param, max_upload_size="64MiB")


@pytest.fixture(params=LOOPS)
def impatient(request: pytest.FixtureRequest, shared_server: Servers) -> ServerProcess:
    return shared_server(loop=request.param, stall_timeout=STALL_SECONDS)


@pytest.fixture
def path(server: ServerProcess) -> str:
    with session(server) as client:
        return str(upload(client, BYTES)["url"])


class TestTransfers:
    def test_one_after_another(self, server: ServerProcess) -> None:
        with http2(server, window=MIB) as client:
            stream = client.request("POST", "/upload", end=False)
            client.send(stream, BYTES, end=True)
            answer = client.answer(stream)
            [file] = json.loads(answer.body)["files"]
            assert (answer.status, file["sha256"]) == (201, sha256(BYTES))
            assert client.get(file["url"]).body == BYTES

    def test_twenty_at_once(self, server: ServerProcess, path: str) -> None:
        """Uploads a piece at a time in turn, between downloads through small windows."""
        with http2(server) as client:
            downloads = [client.request("GET", path) for _ in range(10)]
            uploads = [client.request("POST", "/upload", end=False) for _ in range(10)]
            for start in range(0, 2 * MIB, MIB // 4):
                for stream in uploads:
                    client.send(stream, BYTES[start : start + MIB // 4])
            for stream in uploads:
                client.h2.end_stream(stream)
            client.flush()
            for stream in uploads:
                [file] = json.loads(client.answer(stream).body)["files"]
                assert file["sha256"] == sha256(BYTES[: 2 * MIB])
            assert all(client.answer(stream).body == BYTES for stream in downloads)

    def test_download_beside_a_thousand_requests(self, server: ServerProcess, path: str) -> None:
        """Stock Hypercorn ends a connection, and all on it, with the 1,001st."""
        with http2(server) as client:
            slow = client.request("GET", path)
            client.stalled.add(slow)
            for _ in range(1100):
                assert client.get("/healthz").status == 200
                client.h2.increment_flow_control_window(8192, slow)
                client.h2.increment_flow_control_window(8192)
            client.stalled.clear()
            client.h2.increment_flow_control_window(8 * MIB, slow)
            client.h2.increment_flow_control_window(8 * MIB)
            client.flush()
            assert client.answer(slow).body == BYTES

    def test_large_frame_comes_with_the_acknowledgement(self, ours: RawServer) -> None:
        """Of the settings that allow it, in one packet."""
        for _ in range(5):
            with http2(ours, acknowledge=False) as client:
                stream = client.request("POST", "/read", end=False)
                size = client.h2.max_outbound_frame_size
                assert size == 256 * 1024
                acknowledgement = SettingsFrame(0, flags=["ACK"])
                client.frame(acknowledgement, acknowledgement,
                             DataFrame(stream, bytes(size), flags=["END_STREAM"]))  # fmt: skip
                assert json.loads(client.answer(stream).body)["size"] == size

    def test_uploads_that_an_empty_frame_ends(self, ours: RawServer) -> None:
        """However many; and none leaves anything on the connection, which ends as configured."""
        with http2(ours) as client:
            for _ in range(KEEP_ALIVE_MAX_REQUESTS):
                stream = client.request("POST", "/read", end=False)
                client.h2.send_data(stream, b"abc")
                client.h2.end_stream(stream)
                client.flush()
                assert json.loads(client.answer(stream).body)["size"] == 3
            assert client.is_closed(CLIENT_SECONDS)
            [end] = [event for event in client.events if isinstance(event, ConnectionTerminated)]
            assert (end.error_code, end.last_stream_id) == (0, stream)

    def test_headers_remembered_are_few(self, ours: RawServer) -> None:
        """However many the client would remember; each is looked for among all of them."""
        with http2(ours) as client:
            client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: MIB})
            client.ping()
            assert client.get("/state").status == 200
            assert client.h2.decoder.max_allowed_table_size == MIB
            assert client.h2.decoder.header_table_size == 4 * KIB


class TestEarlyAnswers:
    def test_body_goes_on(self, server: ServerProcess) -> None:
        """The answer can be read whole, and the connection serves on."""
        with http2(server) as client:
            stream = client.request("POST", "/upload", ("content-length", str(65 * MIB)), end=False)
            client.send(stream, BYTES[: MIB // 2])
            answer = client.answer(stream)
            assert (answer.status, json.loads(answer.body)["code"]) == (413, "too_large")
            for _ in range(8):
                client.frame(DataFrame(stream, bytes(16_384)))
            assert client.get("/healthz").status == 200

    def test_client_that_asks_first_is_refused(self, server: ServerProcess) -> None:
        with http2(server) as client:
            headers = ("content-length", str(65 * MIB)), ("expect", "100-continue")
            answer = client.answer(client.request("POST", "/upload", *headers, end=False))
            assert answer.statuses == [413]
            assert client.get("/healthz").status == 200

    def test_client_that_asks_first_is_told_to_go_on(self, server: ServerProcess) -> None:
        with http2(server) as client:
            expect = ("expect", "100-continue")
            stream = client.request("POST", "/upload", expect, end=False)
            assert client.until(lambda: client.answers[stream].statuses == [100])
            client.send(stream, b"abc", end=True)
            assert client.answer(stream).statuses == [100, 201]


class TestBrokenStreams:
    """Only the stream suffers."""

    def test_aborted_upload(self, server: ServerProcess) -> None:
        before = server.rows().keys()
        with http2(server) as client:
            stream = client.request("POST", "/upload", end=False)
            client.send(stream, BYTES[: 3 * MIB])
            eventually(server.parts, what="the upload begins")
            client.reset(stream)
            comes_to_nothing(server.parts)
            assert client.get("/healthz").status == 200
        assert server.rows().keys() == before

    def test_aborted_download(self, server: ServerProcess, path: str) -> None:
        with http2(server) as client:
            stream = client.request("GET", path)
            client.until(lambda: len(client.answers[stream].body) > MIB)
            client.reset(stream)
            comes_to_nothing(server.blob_descriptors)
            assert client.get("/healthz").status == 200

    def test_reader_and_sender_that_stop(self, impatient: ServerProcess) -> None:
        with session(impatient) as client:
            path = str(upload(client, BYTES)["url"])
        with http2(impatient) as client:
            reading = client.request("GET", path)
            client.stalled.add(reading)
            sending = client.request("POST", "/upload", end=False)
            client.send(sending, BYTES[:MIB])
            answer = client.answer(sending, 10 * STALL_SECONDS)
            assert (answer.status, json.loads(answer.body)["code"]) == (408, "client_stalled")
            assert client.answer(reading, 10 * STALL_SECONDS).ended == 2  # INTERNAL_ERROR
            assert client.get("/healthz").status == 200

    def test_reader_that_stops_beside_one_that_does_not(self, impatient: ServerProcess) -> None:
        with session(impatient) as client:
            path = str(upload(client, BYTES)["url"])
        with http2(impatient) as client:
            stopped, crawling = client.request("GET", path), client.request("GET", path)
            client.stalled |= {stopped, crawling}
            deadline = time.monotonic() + 10 * STALL_SECONDS
            while client.answers[stopped].ended is None and time.monotonic() < deadline:
                client.h2.increment_flow_control_window(8192, crawling)
                client.h2.increment_flow_control_window(8192)
                client.ping()
                time.sleep(STALL_SECONDS / 20)
            assert client.answers[stopped].ended == 2  # INTERNAL_ERROR
            assert client.answers[crawling].ended is None

    def test_reader_that_is_slow_but_reads(self, impatient: ServerProcess) -> None:
        """Through a large window: what the kernel holds takes it longer than a stall may last."""
        with session(impatient) as client:
            path = str(upload(client, BYTES)["url"])
        with http2(impatient, window=len(BYTES), receive_buffer=16 * KIB) as client:
            reading = client.request("GET", path)
            deadline = time.monotonic() + 4 * STALL_SECONDS
            while time.monotonic() < deadline:
                client.receive(size=8 * KIB)
                time.sleep(STALL_SECONDS / 10)
            assert client.answer(reading).body == BYTES

    def test_window_that_opens_byte_by_byte(self, ours: RawServer) -> None:
        """What the application may be ahead of it is bounded."""
        with http2(ours, window=0) as client:
            client.stalled.add(client.request("GET", f"/bytes?size={64 * MIB}"))
            assert client.ping()
            before = ours.memory("VmRSS")
            for _ in range(300):
                client.h2.increment_flow_control_window(1, 1)
                assert client.ping()
            assert ours.memory("VmRSS") - before < 4 * MIB
            assert client.until(lambda: len(client.answers[1].body) == 300)

    @pytest.mark.parametrize(("loop", "stops"), [("uvloop", False), ("asyncio", True)])
    def test_reader_is_late(self, start: Start, loop: str, stops: bool) -> None:
        """All was sent long ago; what the client says meanwhile is no reason to reset it."""
        server = start(settings={"loop": loop})
        with session(server) as client:
            path = str(upload(client, BYTES)["url"])
        with http2(server, window=4 * MIB, receive_buffer=16 * KIB) as client:
            reading = client.request("GET", path)
            client.until(lambda: len(client.answers[reading].body) > 13 * MIB)
            if stops:
                server.process.send_signal(signal.SIGTERM)
            while client.answers[reading].ended is None:
                client.h2.increment_flow_control_window(1)
                client.receive(size=16 * KIB)
                time.sleep(16 * KIB / (0.4 * MIB))
            assert client.answers[reading].body == BYTES
        if stops:
            server.assert_ends_well()

    @pytest.mark.parametrize("streams", [1, 10])
    def test_client_is_gone(self, server: ServerProcess, path: str, streams: int) -> None:
        with http2(server) as client:
            for _ in range(streams):
                client.stalled.add(client.request("GET", path))
                client.send(client.request("POST", "/upload", end=False), BYTES[:MIB])
            eventually(lambda: len(server.parts()) == streams, what="the uploads begin")
        comes_to_nothing(server.leftovers, seconds=10)


def test_idle_connections_are_closed(shared_server: Servers) -> None:
    """With no request yet, and after one, whatever pings say."""
    server = shared_server(loop="uvloop", max_upload_size="64MiB")
    with http2(server) as unused, http2(server) as used, http2(server) as pinging:
        used.get("/healthz")

        def all_closed() -> bool:
            pinging.ping(0.5)
            return all(client.is_closed() for client in (unused, used, pinging))

        eventually(all_closed, seconds=15)


def test_transfers_end_before_the_server(start: Start) -> None:
    """New requests on the connection are answered meanwhile; it ends once it is idle."""
    server = start()
    with session(server) as client:
        path = str(upload(client, BYTES)["url"])
    with http2(server) as busy, http2(server) as idle:
        download = busy.request("GET", path)
        busy.stalled.add(download)
        sent = busy.request("POST", "/upload", end=False)
        busy.send(sent, BYTES[:MIB])
        eventually(server.parts)
        server.process.send_signal(signal.SIGTERM)
        assert idle.is_closed(10)
        answer = busy.get("/readyz")
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "draining")
        busy.send(sent, BYTES[MIB:], end=True)
        assert busy.answer(sent).status == 201
        busy.stalled.clear()
        size = len(busy.answers[download].body)
        busy.h2.increment_flow_control_window(size, download)
        busy.h2.increment_flow_control_window(size)
        busy.flush()
        assert busy.answer(download).body == BYTES
        assert busy.until(lambda: isinstance(busy.events[-1], ConnectionTerminated))
        assert busy.is_closed(30)  # a client that does not go by itself is given some time
    server.assert_ends_well()
