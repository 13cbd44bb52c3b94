"""HTTP/2 frames that no window bounds: few in a turn, a rate a second, and honest clients go on."""

from __future__ import annotations

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingReceived, RequestReceived
from h2.exceptions import DenialOfServiceError
from hpack import Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from quart_app.server.http2_connection import IDLE_FRAMES, Http2Connection
from quart_app.server.http2_frames import TURN_FRAMES, Budget
from tests.e2e.clients import session
from tests.server.http2_client import KIB, http2

if TYPE_CHECKING:
    from tests.server.conftest import RawServer
    from tests.server.http2_client import Http2Client

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()

#: Frames of each flood, some ten times the burst that is allowed.
MANY = 10_000

#: Longest wait of a bystander during floods.
MOST_SECONDS = 3.0

DEADLINE_SECONDS = 30


def opened(path: str, stream: int = 1, *, end: bool = False) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", path)]
    flags = ["END_HEADERS", *["END_STREAM"] * end]
    return HeadersFrame(stream, encoder.encode(headers), flags=flags).serialize()


def unknown(size: int) -> bytes:
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", 99, 0, 0) + bytes(size)


def many(frame: Frame) -> bytes:
    return frame.serialize() * MANY


RESET = RstStreamFrame(1, 8)

FLOODS = {
    "PING (CVE-2019-9512)": many(PingFrame(0, bytes(8))),
    "acknowledgements of PING": many(PingFrame(0, bytes(8), flags=["ACK"])),
    "SETTINGS (CVE-2019-9515)": many(SettingsFrame(0, {4: 1000})),
    "acknowledgements of SETTINGS": many(SettingsFrame(0, flags=["ACK"])),
    "PRIORITY (CVE-2019-9513)": many(PriorityFrame(1, depends_on=3, stream_weight=1)),
    "unknown frames": unknown(0) * MANY,
    "WINDOW_UPDATE of the connection": many(WindowUpdateFrame(0, 1)),
    "window a byte at a time (CVE-2019-9511)": SettingsFrame(0, {4: 0}).serialize()
    + opened("/bytes?size=1000000", end=True)
    + many(WindowUpdateFrame(1, 1)),
    "RST_STREAM of a closed stream": opened("/hold") + many(RESET),
    "WINDOW_UPDATE of a closed stream": opened("/hold")
    + RESET.serialize()
    + many(WindowUpdateFrame(1, 1)),
    "DATA of a closed stream": opened("/hold") + RESET.serialize() + many(DataFrame(1, b"x")),
    "HEADERS of a closed stream": opened("/hold") + RESET.serialize() + opened("/hold") * MANY,
    "empty DATA (CVE-2019-9518)": opened("/hold") + many(DataFrame(1, b"")),
    "padded empty DATA": opened("/hold") + many(DataFrame(1, b"", pad_length=9, flags=["PADDED"])),
    "rapid reset (CVE-2023-44487)": b"".join(
        opened("/hold", number) + RstStreamFrame(number, 8).serialize()
        for number in range(1, 2000, 2)
    ),
    "made you reset (CVE-2025-8671)": b"".join(
        opened("/hold", number) + WindowUpdateFrame(number, 1).serialize()[:-4] + bytes(4)
        for number in range(1, 2000, 2)
    ),
    "malformed requests": opened("/hold")
    + b"".join(opened("", number) for number in range(3, 2000, 2)),
    "refused streams": b"".join(opened("/hold", number) for number in range(1, 2000, 2)),
}


def attack(server: RawServer, flood: bytes) -> int | None:
    """Sends all, and gives the code that the connection is ended with."""
    with closing(socket.create_connection((server.host, server.port))) as connection:
        connection.settimeout(DEADLINE_SECONDS)
        received = bytearray()
        try:
            connection.sendall(PREFACE + flood)
            while data := connection.recv(64 * KIB):
                received += data
        except ConnectionError:  # it was ended before all was sent
            pass
    return goaway(bytes(received))


def goaway(received: bytes) -> int | None:
    while len(received) >= 9:
        frame, length = Frame.parse_frame_header(memoryview(received[:9]))
        if isinstance(frame, GoAwayFrame) and len(received) >= 9 + length:
            frame.parse_body(memoryview(received[9 : 9 + length]))
            return int(frame.error_code)
        received = received[9 + length :]
    return None


def wait_for_an_answer(server: RawServer) -> float:
    started = time.monotonic()
    with session(server) as client:
        assert client.get("/state").status_code == 200
    return time.monotonic() - started


def test_floods_end_and_others_do_not_wait(ours: RawServer) -> None:
    """All kinds at once, each on a connection of its own."""
    with ThreadPoolExecutor(len(FLOODS)) as pool:
        ends = {name: pool.submit(attack, ours, flood) for name, flood in FLOODS.items()}
        waits = [wait_for_an_answer(ours)]
        while not all(end.done() for end in ends.values()):
            waits.append(wait_for_an_answer(ours))
    assert max(waits) < MOST_SECONDS
    codes = {name: end.result() for name, end in ends.items()}
    assert codes == dict.fromkeys(FLOODS, ErrorCodes.ENHANCE_YOUR_CALM)


class TestTurns:
    """What is handled before other connections have their turn."""

    def received(self, data: bytes) -> list[int]:
        """Gives the numbers of PING frames and requests in each turn."""
        connection, turns = Http2Connection(100), []
        connection.initiate_connection()
        connection.frames.begin_turn()
        data = PREFACE + data
        while data or connection.frames.turn_is_over:
            events, data = connection.receive_data(data), b""
            turns.append(sum(isinstance(e, PingReceived | RequestReceived) for e in events))
        return turns

    def test_frames_of_a_turn(self) -> None:
        turns = self.received(PingFrame(0, bytes(8)).serialize() * 500)
        assert (sum(turns), max(turns)) == (500, TURN_FRAMES)

    def test_requests_of_a_turn(self) -> None:
        turns = self.received(b"".join(opened("/", number) for number in range(1, 100, 2)))
        assert (sum(turns), max(turns)) == (50, 1)

    def test_settings_of_a_turn(self) -> None:
        pair = SettingsFrame(0, {1: 0}).serialize() + PingFrame(0, bytes(8)).serialize()
        turns = self.received(pair * 20)
        assert (sum(turns), max(turns)) == (20, 1)


class TestBudget:
    def test_a_rate_that_lasts(self) -> None:
        """However long the connection lives."""
        now = 0.0
        budget = Budget(10, 2, 10, clock=lambda: now)
        for _ in range(100_000):
            now += 0.5
            budget.spend()

    def test_more_than_the_rate(self) -> None:
        now = 0.0
        budget = Budget(10, 2, 10, clock=lambda: now)
        for _ in range(19):
            now += 0.25
            budget.spend()
        with pytest.raises(DenialOfServiceError):
            self.spend_for(budget, 3)

    def spend_for(self, budget: Budget, frames: int) -> None:
        for _ in range(frames):
            budget.spend()

    def test_earned_up_to_a_bound(self) -> None:
        budget = Budget(10, 0, 30, clock=lambda: 0.0)
        budget.earn(1000)
        self.spend_for(budget, 30)
        with pytest.raises(DenialOfServiceError):
            budget.spend()


def test_unknown_settings_are_not_kept() -> None:
    connection = Http2Connection(100)
    connection.initiate_connection()
    before = len(connection.remote_settings)
    connection.receive_data(PREFACE)
    for start in range(1000, 2000, 30):
        settings = b"".join(struct.pack(">HI", code, 1) for code in range(start, start + 30))
        connection.receive_data(struct.pack(">IBBI", len(settings), 4, 0, 0)[1:] + settings)
    assert len(connection.remote_settings) == before


class TestHonestClients:
    """Frames in proportion to useful work are no flood, however many come within a second."""

    @pytest.mark.parametrize(
        "target", [f"/bytes?size={32 * KIB * KIB}", "/drip?count=3000&pause=0"]
    )
    def test_acknowledges_every_frame_twice(self, ours: RawServer, target: str) -> None:
        with http2(ours, window=KIB * KIB) as client:
            stream = client.request("GET", target)
            client.stalled.add(stream)
            sent = self.acknowledge(client, stream)
            assert client.answers[stream].ended == "end"
            assert sent > 2 * IDLE_FRAMES
            assert client.get("/state").status == 200

    def acknowledge(self, client: Http2Client, stream: int) -> int:
        """Opens both windows for each frame received; gives the number of frames sent."""
        seen = sent = 0
        while client.answers[stream].ended is None and not client.closed:
            client.receive()
            new = [event for event in client.events[seen:] if isinstance(event, DataReceived)]
            seen = len(client.events)
            for size in [event.flow_controlled_length for event in new if event.data]:
                client.h2.increment_flow_control_window(size)
                if client.answers[stream].ended is None:
                    client.h2.increment_flow_control_window(size, stream)
                sent += 2
            client.h2.ping(bytes(8))
            client.flush()
        return sent

    def test_request_with_frames_of_its_own(self, ours: RawServer) -> None:
        """Some clients widen the window of each stream, and cancel now and then."""
        with http2(ours) as client:
            for number in range(1000):
                stream = client.request("GET", "/state")
                client.h2.increment_flow_control_window(KIB, stream)
                client.h2.prioritize(stream, weight=3)
                assert client.answer(stream).status == 200
                if number % 4 == 0:
                    client.reset(client.request("GET", "/hold"))
