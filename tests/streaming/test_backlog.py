"""Memory of bounded queues that are filled with the smallest items."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypercorn.asyncio.worker_context import EventWrapper

from quart_app.server.http2 import STREAM_WINDOW, Buffer
from quart_app.server.inbox import INBOX_SIZE, Inbox
from quart_app.server.intake import INTAKE_SIZE, Intake
from quart_app.streaming import HAND_OVER_SIZE, Backlog, RequestBody
from quart_app.upstream.wire import READ_AHEAD_SIZE, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.typing import ASGIReceiveEvent

pytestmark = pytest.mark.asyncio(loop_scope="function")

KIB = 1024

#: Memory that is measured beside the items: the queue itself, and the measuring.
FIXED_SIZE = 32 * KIB


class Transport:
    """Counts nothing, and tells whether it was asked to stop reading."""

    def __init__(self) -> None:
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, **_: int) -> None: ...

    def set_protocol(self, _: object) -> None: ...

    def get_protocol(self) -> None: ...

    def is_closing(self) -> bool:
        return True


def memory_of(fill: Callable[[bytes], bool]) -> int:
    """The memory that a queue takes until it is full, of chunks of two bytes."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        number = 0
        while fill(b"%c%c" % (number & 255, number >> 8 & 255)):
            number += 1
            assert number < 1_000_000, "it is never full"
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def body_message(chunk: bytes) -> ASGIReceiveEvent:
    message = {"type": "http.request", "body": chunk, "more_body": True}
    return cast("ASGIReceiveEvent", message)


async def test_connection() -> None:
    """What the transport has read for the protocol."""
    transport, reader = Transport(), asyncio.StreamReader()
    writer = type("Writer", (), {"transport": transport})()
    intake = Intake(reader, writer)

    def fill(chunk: bytes) -> bool:
        intake.data_received(chunk)
        return transport.reading

    assert memory_of(fill) <= INTAKE_SIZE + FIXED_SIZE
    chunks = 1
    while not transport.reading:
        await intake.read()
        chunks += 1
    assert chunks < 10  # and it reads on at once


async def test_inbox() -> None:
    """What waits for the application, on HTTP/1."""
    inbox = Inbox()

    def fill(chunk: bytes) -> bool:
        putting = inbox.put(body_message(chunk))
        try:
            putting.send(None)
        except StopIteration:
            return True
        putting.close()
        return not inbox._messages.full

    assert memory_of(fill) <= 1.2 * INBOX_SIZE + FIXED_SIZE


async def test_inbox_of_a_window() -> None:
    """What waits for the application, on HTTP/2: less than the window is enough to see it."""
    inbox, count = Inbox(), iter(range(STREAM_WINDOW // 16))

    def fill(chunk: bytes) -> bool:
        inbox.push(body_message(chunk), 2)
        return next(count, None) is not None

    assert memory_of(fill) <= 1.2 * STREAM_WINDOW / 8 + FIXED_SIZE


async def test_inbox_of_messages_without_a_body() -> None:
    inbox = Inbox()

    def fill(_: bytes) -> bool:
        inbox.push(cast("ASGIReceiveEvent", {"type": "http.disconnect"}))
        return not inbox._messages.full

    assert memory_of(fill) <= INBOX_SIZE + FIXED_SIZE


async def test_request_body() -> None:
    """What waits for the handler."""
    body = RequestBody(None, None)

    def fill(chunk: bytes) -> bool:
        body.append(chunk)
        return not body._full()

    assert memory_of(fill) <= HAND_OVER_SIZE + FIXED_SIZE


async def test_request_body_that_is_read_whole() -> None:
    """Its chunks become one object as they are read."""
    body, size = RequestBody(None, None), 64 * KIB
    reading = asyncio.ensure_future(cast("Any", body))
    for _ in range(size // 2 // KIB):
        for _ in range(KIB):
            body.append(b"ab")
        await asyncio.sleep(0)
    assert isinstance(body._whole.unread, bytearray)
    body.set_complete()
    assert await reading == b"ab" * (size // 2)


async def test_buffer_of_a_stream() -> None:
    """What waits for a window of HTTP/2, of an application that sends bytes one by one."""
    buffer = Buffer(cast("Any", EventWrapper))

    def fill(chunk: bytes) -> bool:
        pushing = buffer.push(chunk)
        try:
            pushing.send(None)
        except StopIteration:
            return True
        pushing.close()
        return False

    assert memory_of(fill) <= 64 * KIB + FIXED_SIZE


async def test_upstream_connection() -> None:
    """What another server has sent ahead."""
    transport, (twin, other) = Transport(), socket.socketpair()
    with closing(twin), closing(other):
        wire = Wire(twin, 1, encrypted=False)
        wire.connection_made(cast("asyncio.BaseTransport", transport))

        def fill(chunk: bytes) -> bool:
            wire.data_received(chunk)
            return transport.reading

        assert memory_of(fill) <= READ_AHEAD_SIZE + FIXED_SIZE


async def test_backlog_counts_what_it_holds() -> None:
    backlog: Backlog[bytes] = Backlog(100, overhead=10)
    backlog.push(b"x" * 40)
    assert (backlog.held, backlog.full, backlog.last) == (50, False, b"x" * 40)
    backlog.push(b"y" * 40)
    assert (backlog.held, backlog.full, len(backlog)) == (100, True, 2)
    assert (backlog.pop(), backlog.held) == (b"x" * 40, 50)
    backlog.clear()
    assert (backlog.held, backlog.last, len(backlog)) == (0, None, 0)
