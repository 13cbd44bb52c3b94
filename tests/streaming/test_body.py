"""The hand-over between server and handler: bounded, counted, and failing where it should."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from quart_app.errors import (
    BodyError,
    BodyTooShort,
    ClientDisconnected,
    ClientStalled,
    TooLarge,
)
from quart_app.streaming import HAND_OVER_SIZE, RequestBody

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.asyncio(loop_scope="function")

KIB = 1024

#: Long enough for any task that can go on to do so.
TURNS = 50


async def others_go_on() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def arrived(chunks: Iterable[bytes], *, declared: int | None = None) -> RequestBody:
    body = RequestBody(declared, None)
    for chunk in chunks:
        body.append(chunk)
    return body


async def read(body: RequestBody) -> tuple[bytes, type[BodyError] | None]:
    """What a handler reads, and what ends it."""
    got = b""
    try:
        async for chunk in body:
            got += chunk
    except BodyError as error:
        return got, cast("type[BodyError]", type(error).__mro__[1])  # without Werkzeug's class
    return got, None


class TestReading:
    async def test_chunks_as_they_came(self) -> None:
        body = arrived([b"ab", b"", b"c"])
        body.set_complete()
        assert [chunk async for chunk in body] == [b"ab", b"c"]

    async def test_after_the_end(self) -> None:
        body = arrived([])
        body.set_complete()
        assert [await read(body) for _ in range(2)] == [(b"", None)] * 2

    async def test_waits_for_what_comes(self) -> None:
        body = arrived([])
        reading = asyncio.ensure_future(read(body))
        for chunk in (b"a", b"b"):
            await others_go_on()
            assert not reading.done()
            await body.put(chunk)
        body.set_complete()
        assert await reading == (b"ab", None)

    async def test_whole_may_be_asked_for_again(self) -> None:
        body = arrived([b"a", b"b"])
        body.set_complete()
        assert [await body, await body] == [b"ab", b"ab"]
        body.clear()
        assert await body == b""


class TestBackpressure:
    async def test_server_waits_while_much_is_held(self) -> None:
        body = arrived([bytes(HAND_OVER_SIZE)])
        putting = asyncio.ensure_future(body.put(b"x"))
        await others_go_on()
        assert not putting.done()
        assert len(await anext(body)) == HAND_OVER_SIZE
        await putting

    async def test_tiny_chunks_count_for_more_than_their_bytes(self) -> None:
        body = arrived([])
        count = 0
        while not body._full():
            body.append(b"x")
            count += 1
        assert count < HAND_OVER_SIZE / 32

    @pytest.mark.parametrize("end", ["abandon", "set_complete", "clear"])
    async def test_waiting_server_is_let_go(self, end: str) -> None:
        body = arrived([bytes(HAND_OVER_SIZE)])
        putting = asyncio.ensure_future(body.put(b"x"))
        await others_go_on()
        getattr(body, end)()
        await putting

    async def test_waiting_server_is_let_go_by_the_end_of_the_client(self) -> None:
        body = arrived([bytes(HAND_OVER_SIZE)])
        putting = asyncio.ensure_future(body.put(b"x"))
        await others_go_on()
        body.fail(ClientDisconnected())
        await putting
        assert await read(body) == (bytes(HAND_OVER_SIZE) + b"x", ClientDisconnected)


class TestErrors:
    async def test_come_after_the_bytes_before(self) -> None:
        body = arrived([b"ab", b"c"])
        body.fail(ClientDisconnected())
        assert await read(body) == (b"abc", ClientDisconnected)
        assert body.cut

    async def test_are_raised_again(self) -> None:
        body = arrived([])
        body.fail(ClientDisconnected())
        assert [await read(body) for _ in range(2)] == [(b"", ClientDisconnected)] * 2

    async def test_first_one_counts(self) -> None:
        body = arrived([b"abc"])
        body.limit_to(2)
        body.fail(ClientDisconnected())
        assert await read(body) == (b"abc", TooLarge)
        assert not body.cut

    async def test_nothing_fails_a_complete_body(self) -> None:
        body = arrived([b"abc"], declared=3)
        body.set_complete()
        body.fail(ClientDisconnected())
        assert (await read(body), body.cut) == ((b"abc", None), False)

    @pytest.mark.parametrize(("declared", "ends"), [(4, BodyTooShort), (3, None), (None, None)])
    async def test_declared_length(
        self, declared: int | None, ends: type[BodyError] | None
    ) -> None:
        body = arrived([b"abc"], declared=declared)
        body.set_complete()
        assert await read(body) == (b"abc", ends)

    async def test_stall(self) -> None:
        body = arrived([b"a"])
        body.stall_timeout = 0.01
        assert await read(body) == (b"a", ClientStalled)

    async def test_stall_counts_from_the_last_chunk(self) -> None:
        body = arrived([])
        body.stall_timeout = 0.2
        reading = asyncio.ensure_future(read(body))
        for _ in range(10):
            await asyncio.sleep(0.05)
            body.append(b"x")
        body.set_complete()
        assert await reading == (b"x" * 10, None)

    async def test_time_of_the_handler_is_no_stall(self) -> None:
        body = arrived([b"a"])
        body.stall_timeout = 0.02
        await anext(body)
        await asyncio.sleep(0.06)
        body.append(b"b")
        assert await anext(body) == b"b"


class TestLimit:
    @pytest.mark.parametrize(
        ("limit", "got", "ends"),
        [(None, b"abcd", None), (4, b"abcd", None), (3, b"ab", TooLarge), (1, b"", TooLarge)],
    )
    async def test_what_streams_is_counted(
        self, limit: int | None, got: bytes, ends: type[BodyError] | None
    ) -> None:
        body = RequestBody(None, limit)
        for chunk in (b"ab", b"cd"):
            body.append(chunk)
        body.set_complete()
        assert await read(body) == (got, ends)

    async def test_declared_length_fails_the_first_read(self) -> None:
        body = RequestBody(5, 4)
        with pytest.raises(TooLarge):
            await anext(body)

    async def test_may_be_set_later(self) -> None:
        body = arrived([b"abc"])
        body.limit_to(4)
        body.append(b"de")
        assert await read(body) == (b"abc", TooLarge)

    async def test_what_is_too_much_is_not_held(self) -> None:
        body = arrived([b"abc"])
        body.limit_to(4)
        for _ in range(1000):
            body.append(bytes(KIB))
        assert body._waiting.held < KIB


class TestDiscard:
    async def test_until_the_end(self) -> None:
        body = arrived([b"abc"])
        discarding = asyncio.ensure_future(body.discard(1000, 60))
        for _ in range(5):
            await body.put(b"x" * 100)
        body.set_complete()
        await discarding
        assert (body._waiting.held, body.received) == (0, 503)

    async def test_waiting_server_goes_on(self) -> None:
        body = arrived([bytes(HAND_OVER_SIZE)])
        putting = asyncio.ensure_future(body.put(b"x"))
        await others_go_on()
        discarding = asyncio.ensure_future(body.discard(1000, 60))
        await putting
        body.set_complete()
        await discarding

    async def test_bounded_in_bytes(self) -> None:
        body = arrived([])
        discarding = asyncio.ensure_future(body.discard(10, 60))
        await others_go_on()
        await body.put(b"x" * 10)
        await others_go_on()
        assert not discarding.done()
        await body.put(b"x")
        await discarding
        assert body._ended

    async def test_bounded_in_time(self) -> None:
        body = arrived([])
        await body.discard(1000, 0.01)
        assert body._ended
        await body.put(b"x" * HAND_OVER_SIZE)

    async def test_of_a_complete_body_is_done_at_once(self) -> None:
        body = arrived([b"abc"])
        body.set_complete()
        await body.discard(0, 60)
