"""Connections are used again, but only where nothing can go wrong by it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import BlockedAddress, UpstreamFailed
from quart_app.protocol.addresses import AddressPolicy, Endpoint
from quart_app.upstream import Client, Connector, pool, tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.asyncio(loop_scope="function")

CONTEXT = tls_context()

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

EVERYTHING = AddressPolicy(everything=True)

WAIT_SECONDS = 30

#: First byte of whoever believes that this server speaks TLS.
TLS_HANDSHAKE = b"\x16"


class Origin:
    """Reads requests and gives the next answer to each, and the last one for ever.

    To a request with `X-Early` it answers without reading the body, and closes.

    Attributes:
        asked: The number of the connection on which each request came.
        alive: Connections that neither side has closed.
        closes_at: Requests, counted from 1, that find the connection closed.
        go_on: Answers wait for it.
    """

    port: int

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers or [OK])
        self.asked: list[int] = []
        self.alive: dict[int, asyncio.StreamWriter] = {}
        self.closes_at: set[int] = set()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._count = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._count = self._count, self._count + 1
        self.alive[number] = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._answer(number, reader, writer):
                pass
        del self.alive[number]
        writer.close()

    async def _answer(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        first = await reader.readexactly(1)
        if first == TLS_HANDSHAKE:
            return False
        head = first + await reader.readuntil(b"\r\n\r\n")
        self.asked.append(number)
        if len(self.asked) in self.closes_at:
            return False
        early = b"X-Early" in head
        if b"content-length: 4" in head.lower() and not early:
            await reader.readexactly(4)
        await self.go_on.wait()
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        await writer.drain()
        return not early

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def drop(self) -> None:
        """Closes what is open, as a server that is tired of waiting."""
        for writer in self.alive.values():
            writer.close()
        await come_true(lambda: not self.alive)


async def come_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


def tasks() -> set[asyncio.Task[object]]:
    """Tasks of others than the origin."""
    return {task for task in asyncio.all_tasks() if "Origin" not in repr(task.get_coro())}


@asynccontextmanager
async def served(origin: Origin) -> AsyncIterator[Origin]:
    running = await asyncio.start_server(origin, "127.0.0.1", 0)
    origin.port = running.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        running.close()
        for writer in origin.alive.values():
            writer.close()
        await running.wait_closed()


@asynccontextmanager
async def asking(policy: AddressPolicy = EVERYTHING) -> AsyncIterator[Client]:
    client = Client(Connector(policy, CONTEXT, stall_timeout=20))
    try:
        yield client
    finally:
        await client.close()


async def get(client: Client, url: str, *fields: tuple[str, str], method: str = "GET") -> bytes:
    async with client.ask(method, url, list(fields)) as answer:
        return b"".join([chunk async for chunk in answer.chunks])


async def post(client: Client, url: str, *fields: tuple[str, str]) -> int:
    async def body() -> AsyncIterator[bytes]:
        yield b"body"

    length = ("Content-Length", "4")
    async with client.ask("POST", url, [length, *fields], body()) as answer:
        async for _ in answer.chunks:
            pass
        return answer.status


async def test_used_again() -> None:
    async with served(Origin()) as origin, asking() as client:
        for _ in range(5):
            assert await get(client, origin.url) == b"ok"
        assert origin.asked == [0] * 5


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
    ],
)
async def test_whatever_ends_by_itself(answer: bytes) -> None:
    async with served(Origin(answer)) as origin, asking() as client:
        for _ in range(2):
            await get(client, origin.url)
        assert origin.asked == [0, 0]


async def test_head_that_nobody_reads_on() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    async with served(Origin(answer)) as origin, asking() as client:
        for _ in range(2):
            async with client.ask("HEAD", origin.url, []) as told:
                assert told.status == 200
        assert origin.asked == [0, 0]


async def test_bodies_use_what_has_proven_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what a server may be about to close after its first answer."""
    monkeypatch.setattr(pool, "PROBATION", 3600)
    async with served(Origin()) as origin, asking() as client:
        await post(client, origin.url)
        await post(client, origin.url)
        assert origin.asked == [0, 1]
        await get(client, origin.url)
        await post(client, origin.url)
        assert origin.asked == [0, 1, 1, 1]
        monkeypatch.setattr(pool, "PROBATION", 0)
        await asyncio.gather(post(client, origin.url), post(client, origin.url))
        assert sorted(origin.asked[4:]) == [0, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"more",
        OK + OK,
    ],
    ids=["close", "HTTP/1.0", "more than was asked for", "two answers"],
)
async def test_never_after(answer: bytes) -> None:
    async with served(Origin(answer)) as origin, asking() as client:
        for _ in range(2):
            assert await get(client, origin.url) == b"ok"
        assert origin.asked == [0, 1]


async def test_never_after_a_request_that_closes_or_binds() -> None:
    async with served(Origin()) as origin, asking() as client:
        await get(client, origin.url, ("Connection", "close"))
        await get(client, origin.url, ("Authorization", "NTLM abc"))
        await get(client, origin.url, ("Authorization", "Basic abc"))
        await get(client, origin.url)
        assert origin.asked == [0, 1, 2, 2]


async def test_never_after_an_answer_that_is_not_read() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"
    async with served(Origin(answer, OK)) as origin, asking() as client:
        async with client.ask("GET", origin.url, []):
            pass
        await get(client, origin.url)
        assert origin.asked == [0, 1]


async def test_never_after_an_early_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PROBATION", 0)
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
    hold = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"b"
        await hold.wait()

    async with served(Origin(refusal, OK)) as origin, asking() as client:
        fields = [("Content-Length", "4"), ("X-Early", "1")]
        async with client.ask("POST", origin.url, fields, body()) as answer:
            assert [chunk async for chunk in answer.chunks] == []
        await get(client, origin.url)
        assert origin.asked == [0, 1]


class TestClosedByTheServer:
    async def test_at_rest(self) -> None:
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            await origin.drop()
            assert await post(client, origin.url) == 200
            assert origin.asked == [0, 1]

    @pytest.mark.parametrize("said", [b"", OK])
    async def test_at_rest_and_only_the_kernel_knows(
        self, monkeypatch: pytest.MonkeyPatch, said: bytes
    ) -> None:
        monkeypatch.setattr(pool, "PROBATION", 0)
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            raw = origin.alive[0].get_extra_info("socket").dup()
            raw.sendall(said) if said else raw.shutdown(socket.SHUT_WR)
            raw.close()
            assert await post(client, origin.url) == 200  # nothing lets the loop look before
            assert origin.asked == [0, 1]

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_under_a_request_without_a_body(self, method: str) -> None:
        """It is sent once more, on a new connection."""
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            origin.closes_at = {2}
            assert await get(client, origin.url, method=method) in {b"ok", b""}
            assert origin.asked == [0, 0, 1]

    async def test_once_more_is_not_twice_more(self) -> None:
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            origin.closes_at = {2, 3}
            with pytest.raises(UpstreamFailed):
                await get(client, origin.url)
            assert origin.asked == [0, 0, 1]

    async def test_within_the_answer(self) -> None:
        async with served(Origin(OK, b"HTTP/1.1 200 OK\r\nX: ")) as origin, asking() as client:
            await get(client, origin.url)
            with pytest.raises(UpstreamFailed):
                await get(client, origin.url, ("X-Early", "1"))
            assert origin.asked == [0, 0]

    @pytest.mark.parametrize("way", ["POST", "DELETE"])
    async def test_under_a_request_that_cannot_be_repeated(
        self, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        monkeypatch.setattr(pool, "PROBATION", 0)
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            origin.closes_at = {2}
            with pytest.raises(UpstreamFailed):
                await (
                    post(client, origin.url)
                    if way == "POST"
                    else get(client, origin.url, method=way)
                )
            assert origin.asked == [0, 0]

    async def test_says_something_unasked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "IDLE_TIME", 3600)
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            origin.alive[0].write(OK)
            await come_true(lambda: not origin.alive)  # the pool has closed it
            await get(client, origin.url)
            assert origin.asked == [0, 1]


async def crowd(client: Client, origin: Origin, kept: int) -> None:
    """More requests at once than connections are kept."""
    origin.go_on.clear()
    asked = [asyncio.create_task(get(client, origin.url)) for _ in range(kept + 5)]
    await come_true(lambda: len(origin.asked) == kept + 5)
    origin.go_on.set()
    await asyncio.gather(*asked)
    await come_true(lambda: len(origin.alive) == kept)


class TestBounds:
    async def test_rest_is_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "IDLE_TIME", 0.05)
        async with served(Origin()) as origin, asking() as client:
            before = tasks()
            await get(client, origin.url)
            assert tasks() == before
            await come_true(lambda: not origin.alive)  # without another request
            await get(client, origin.url)
            assert origin.asked == [0, 1]
            await come_true(lambda: not origin.alive)

    async def test_timer_that_is_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            monkeypatch.setattr(pool, "IDLE_TIME", 0)
            await get(client, origin.url)
            assert origin.asked == [0, 1]

    async def test_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A request never waits; what is too many is closed, the longest at rest first."""
        monkeypatch.setattr(pool, "IDLE_TIME", 3600)
        monkeypatch.setattr(pool, "MOST_IDLE", pool.MOST_IDLE_EACH + 2)
        each = pool.MOST_IDLE_EACH
        async with served(Origin()) as one, served(Origin()) as other, asking() as client:
            await crowd(client, one, each)
            await crowd(client, other, each)
            await come_true(lambda: len(one.alive) == 2)

    async def test_closed_with_the_client(self) -> None:
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            origin.go_on.clear()
            late = [asyncio.create_task(get(client, origin.url)) for _ in range(2)]
            await come_true(lambda: len(origin.asked) == 3)
            await client.close()
            origin.go_on.set()
            assert await asyncio.gather(*late) == [b"ok", b"ok"]
            await come_true(lambda: not origin.alive)


class TestPolicy:
    """A connection at rest leads no request where policy would not."""

    async def test_other_client(self) -> None:
        """What the operator's destinations may do, URLs of clients may not."""
        async with served(Origin()) as origin, asking() as free, asking(AddressPolicy()) as strict:
            await get(free, origin.url)
            with pytest.raises(BlockedAddress):
                await get(strict, origin.url)
            allowed = AddressPolicy(frozenset({Endpoint("127.0.0.1", origin.port)}))
            async with asking(allowed) as other:
                await get(other, origin.url)
            assert origin.asked == [0, 1]

    async def test_other_spelling(self) -> None:
        """An exception holds for the host as it is spelt, at rest too."""
        async with served(Origin()) as origin:
            policy = AddressPolicy(frozenset({Endpoint("127.0.0.1", origin.port)}))
            async with asking(policy) as client:
                await get(client, origin.url)
                with pytest.raises(BlockedAddress):
                    await get(client, f"http://localhost:{origin.port}/")
                assert origin.asked == [0]

    async def test_other_name_or_scheme(self) -> None:
        async with served(Origin()) as origin, asking() as client:
            await get(client, origin.url)
            await get(client, f"http://localhost:{origin.port}/")
            assert origin.asked == [0, 1]
            with pytest.raises(UpstreamFailed):
                await get(client, f"https://127.0.0.1:{origin.port}/")
