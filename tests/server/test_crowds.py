"""Many clients at once, and those that come to do harm: others are served all the same."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.deploy.programs import debian
from tests.e2e.clients import MIB, content, session, upload
from tests.server.conftest import LOOPS
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

KIB = 1024

#: What a crowd may cost for good, once the allocator has had its first one.
MOST_GROWTH = 16 * MIB

BODY = content(64 * KIB)

#: What a slow client may cost while it is there.
MOST_OF_A_CLIENT = 2 * MIB


@pytest.fixture(autouse=True)
def enough_descriptors() -> None:
    """For a crowd's own ends of its connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))


class TestRejections:
    """Early answers with bodies in flight leave nothing behind."""

    @pytest.mark.parametrize(("loop", "count"), [("uvloop", 10_000), ("asyncio", 1000)])
    def test_nothing_grows(self, shared_server: Servers, loop: str, count: int) -> None:
        server = shared_server(max_upload_size="4MiB", loop=loop)
        self.all_rejected(server, 500)
        before, first = self.held(server), server.memory("VmRSS")
        self.all_rejected(server, count)
        assert self.held(server) == before
        assert server.memory("VmRSS") - first < MOST_GROWTH

    def held(self, server: ServerProcess) -> tuple[list[str], int]:
        """Tasks and descriptors, once no client is there any more."""
        server.assert_settled()
        return server.state()["tasks"], len(server.descriptors())

    def all_rejected(self, server: ServerProcess, count: int) -> None:
        """So many, a hundred at a time."""

        async def hundred() -> list[int]:
            return await asyncio.gather(*(self.rejected(server, n) for n in range(100)))

        for _ in range(count // 100):
            assert asyncio.run(hundred()) == [413] * 100

    async def rejected(self, server: ServerProcess, number: int) -> int:
        """Some send nothing more, some all that is taken; half of them go without a farewell."""
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
            writer.write(BODY[: 8 * KIB * (number % 8)])
            line = await reader.readline()
            if number % 2:
                writer.transport.abort()
        finally:
            writer.close()
        return int(line.split()[1])


class Crowd:
    """Slow senders and slow readers, all moving, until they are told to go."""

    def __init__(self, server: ServerProcess, path: str, count: int) -> None:
        self.moved = 0
        self._server = server
        self._over = asyncio.Event()
        pairs = ((self._send(n / count), self._read(path, n / count)) for n in range(count))
        self._members = [member for pair in pairs for member in pair]

    async def during(self, work: Coroutine[object, object, None]) -> None:
        """Does something while all of them are there."""
        crowd = asyncio.gather(*self._members)
        try:
            async with asyncio.timeout(60):
                while self.moved < 3 * len(self._members):
                    await asyncio.sleep(0.05)
            await work
        finally:
            self._over.set()
            await crowd

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connected = socket.socket()
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(
            connected, (self._server.host, self._server.port)
        )
        return await asyncio.open_connection(sock=connected, limit=8 * KIB)

    async def _send(self, after: float) -> None:
        await asyncio.sleep(after)
        _, writer = await self._connected()
        writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        while not self._over.is_set():
            writer.write(BODY[:KIB])
            await self._pause()
        writer.transport.abort()

    async def _read(self, path: str, after: float) -> None:
        await asyncio.sleep(after)
        reader, writer = await self._connected()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while not self._over.is_set():
            assert await reader.read(4 * KIB)
            await self._pause()
        writer.transport.abort()

    async def _pause(self) -> None:
        self.moved += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), 1)


@pytest.mark.parametrize("loop", LOOPS)
def test_1000_slow_clients(shared_server: Servers, loop: str) -> None:
    server = shared_server(max_upload_size="1GiB", loop=loop)
    with session(server) as client:
        large, small = (str(upload(client, content(size))["url"]) for size in (16 * MIB, MIB))

    async def others_are_served() -> None:
        async with httpx.AsyncClient(base_url=server.base_url, timeout=60) as client:
            for _ in range(10):
                assert len((await client.get(small)).content) == MIB

    before = server.memory("VmRSS")
    asyncio.run(Crowd(server, large, 500).during(others_are_served()))
    assert server.memory() - before < 1000 * MOST_OF_A_CLIENT
    server.assert_settled()


@pytest.fixture(scope="session")
def slowhttptest() -> str:
    return str(debian("slowhttptest", "slowhttptest"))


class TestAttacks:
    def test_slowhttptest(self, shared_server: Servers, slowhttptest: str) -> None:
        """Slow heads, bodies and readers, and many ranges, 150 of each, all at once."""
        server = shared_server(stall_timeout=1, loop="uvloop")
        with session(server) as client:
            path = upload(client, content(MIB))["url"]
        file, many = server.base_url + path, ["-c", "150", "-r", "150", "-p", "30"]
        attacks = {  # until nothing is left of them, but for readers
            "heads": ["-H", "-l", "50", "-i", "1", "-u", f"{server.base_url}/healthz"],
            "bodies": [
                "-B",
                "-l",
                "50",
                "-i",
                "3",
                "-s",
                "100000",
                "-u",
                f"{server.base_url}/upload",
            ],
            "readers": ["-X", "-l", "7", "-u", file],
            "ranges": ["-R", "-l", "50", "-u", file],
        }

        def attack(arguments: list[str]) -> str:
            done = subprocess.run([slowhttptest, *arguments, *many], capture_output=True,
                                  text=True, timeout=60, cwd=server.directory)  # fmt: skip
            assert done.returncode == 0, done.stdout
            return re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", done.stdout)

        with ThreadPoolExecutor(len(attacks)) as pool:
            running = {name: pool.submit(attack, arguments) for name, arguments in attacks.items()}
            while not all(report.done() for report in running.values()):
                with session(server) as client:
                    assert client.get("/readyz").status_code == 200
                time.sleep(0.2)
            said = {name: report.result() for name, report in running.items()}
        assert {name for name, report in said.items() if "available:   NO" in report} == set()
        ended = {name for name, report in said.items() if "No open connections left" in report}
        assert ended >= {"heads", "bodies", "ranges"}  # who reads a little is no stranger
        server.assert_settled()

    def test_heads_a_byte_at_a_time(self, server: ServerProcess) -> None:
        """Bytes that come do not buy time: the head has to be there within the keep-alive time."""
        head = b"GET /healthz HTTP/1.1\r\nHost: test\r\nX: " + b"y" * 1000
        clients = [socket.create_connection((server.host, server.port)) for _ in range(30)]
        alive, sent = list(clients), 0

        def all_closed() -> bool:
            nonlocal sent
            for client in list(alive):
                client.settimeout(0.001)
                with suppress(TimeoutError):
                    try:
                        client.sendall(head[sent % len(head) : sent % len(head) + 1])
                        ended = client.recv(1) == b""
                    except ConnectionError:
                        ended = True
                    if ended:
                        alive.remove(client)
            sent += 1
            time.sleep(0.1)
            return not alive

        try:
            eventually(all_closed, seconds=15, what="the server closes all of them")
        finally:
            for client in clients:
                client.close()
        server.assert_settled()
