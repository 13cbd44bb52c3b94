"""Threads that cannot be started, as under a container's limit: by the system's own limit."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import content, session, upload
from tests.e2e.limits import (
    as_somebody,
    let_threads_start,
    limit_threads,
    needs_somebody,
    place_of_somebody,
    with_limit,
)
from tests.server_process import SERVE, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["place_of_somebody"]

pytestmark = needs_somebody

#: Larger than what is read while it is opened, and than what a kernel takes at once.
SIZE = 300 * 1024

FILES = 40
CLIENTS = 60
DOWNLOADS = 40

#: So small that a download takes many jobs, each on the number of a descriptor.
WINDOW = 16 * 1024


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


class Crowd:
    """Clients that fetch files over kept connections, and compare each byte."""

    def __init__(self, server: ServerProcess, files: list[tuple[str, bytes]]) -> None:
        self.outcomes: Counter[str] = Counter()
        self._server = server
        self._files = files

    async def run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            flipping = asyncio.create_task(self._flip())
            for number in range(CLIENTS):
                clients.create_task(self._fetch(random.Random(number)))
        flipping.cancel()

    async def _flip(self) -> None:
        """Lets threads start for a moment, and then no more."""
        while True:
            await asyncio.to_thread(let_threads_start, self._server)
            await asyncio.to_thread(limit_threads, self._server, 1)

    async def _fetch(self, chance: random.Random) -> None:
        left = DOWNLOADS
        while left:
            reader, writer = await asyncio.open_connection(
                self._server.host, self._server.port, limit=WINDOW
            )
            try:
                while left:
                    left -= 1
                    self.outcomes[await self._one(reader, writer, *chance.choice(self._files))] += 1
            except (asyncio.IncompleteReadError, ConnectionError):
                self.outcomes["broken"] += 1
            finally:
                writer.close()

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, data: bytes
    ) -> str:
        writer.write(f"GET {url} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        status, body = await answer(reader)
        if status == 200:
            assert body == data, "another file's bytes"
        else:
            assert (status, json.loads(body)["code"]) == (503, "overloaded")
        return str(status)


@pytest.fixture
def server(place_of_somebody: Path, start: Callable[..., ServerProcess]) -> ServerProcess:
    return start(settings={"data": place_of_somebody}, wrapper=as_somebody())


def test_no_bytes_of_others(server: ServerProcess) -> None:
    """Thousands of downloads while most starts of threads fail; no descriptor is left open."""
    with session(server) as client:
        files = [content(SIZE, seed) for seed in range(FILES)]
        urls = [str(upload(client, data)["url"]) for data in files]
        limit_threads(server, 1)
        crowd = Crowd(server, list(zip(urls, files, strict=True)))
        asyncio.run(crowd.run())
        assert sum(crowd.outcomes.values()) >= CLIENTS * DOWNLOADS
        assert crowd.outcomes["200"] == CLIENTS * DOWNLOADS, crowd.outcomes
        let_threads_start(server)
        upload(client, b"more")
    said: list[dict[str, Any]] = [
        line for line in server.logs() if line.get("event") == "a thread cannot be started"
    ]
    assert 1 <= len(said) <= 5


def test_look_ups(server: ServerProcess) -> None:
    """Names are asked for though no thread starts; uvloop's own threads would end the process."""
    limit_threads(server, 1)
    with session(server) as client:
        refused = client.get("/http://localhost.localdomain.invalid/")
        assert refused.status_code == 502
        assert client.get("/healthz").status_code == 200
    # Nor does the launcher start one, so none can fail it when it replaces a worker.
    assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == 1


def test_start_without_threads(tmp_path: Path) -> None:
    """A service that could not work says so, and ends."""
    command = [*as_somebody(), *with_limit(nproc=5), *SERVE, "--port=0", f"--data={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot start threads: can't start new thread" in done.stderr
    assert "Traceback" not in done.stderr
